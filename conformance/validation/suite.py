"""Where the tests come from: a built checkout of runtime-tools, or Debian's source package, built here.

Debian packages the suite's libraries but not its tests, and not the tap-go that they import: the directory tap has ours.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

SOURCE = "golang-github-opencontainers-runtime-tools"
IMPORT = "github.com/opencontainers/runtime-tools"
SUITES = ("trixie", "sid")
"""The release of bookworm has the tests in a form that its own libraries do not fit any more."""
PACKAGES = (
    "golang-go",
    "golang-github-blang-semver-dev",
    "golang-github-google-uuid-dev",
    "golang-github-hashicorp-go-multierror-dev",
    "golang-github-mrunalp-fileutils-dev",
    "golang-github-opencontainers-selinux-dev",
    "golang-github-opencontainers-specs-dev",
    "golang-github-sirupsen-logrus-dev",
    "golang-github-urfave-cli-dev",
    "golang-github-xeipuuv-gojsonschema-dev",
    "golang-gocapability-dev",
    "golang-golang-x-sys-dev",
)


class Suite:
    """A directory as runtime-tools' Makefile leaves it. Raises FileNotFoundError when it is not built."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.programs = {path.stem: path for path in sorted(directory.glob("validation/**/*.t")) if os.access(path, os.X_OK)}
        if not self.programs or not (directory / "runtimetest").exists():
            raise FileNotFoundError(f"{directory}: no built tests: make runtimetest validation-executables")


def from_debian(place: Path) -> Suite:
    """Built in `place`, or what was built there before. Raises FileNotFoundError without the packages, CalledProcessError."""
    tree = place / "src" / IMPORT
    try:
        return Suite(tree)
    except FileNotFoundError:
        pass
    if missing := [name for name in PACKAGES if not _installed(name)]:
        raise FileNotFoundError(f"needs Debian's packages: apt-get install --no-install-recommends {' '.join(missing)}")
    shutil.rmtree(place, ignore_errors=True)
    tree.mkdir(parents=True)
    tar = ["tar", "--extract", "--no-same-owner", "--strip-components=1", "--directory", str(tree), "--file"]
    subprocess.run([*tar, str(_download(place / "apt"))], check=True)
    shutil.copytree(Path(__file__).parent / "tap", place / "src/github.com/mndrix/tap-go")
    _build(place, tree)
    return Suite(tree)


def _installed(package: str) -> bool:
    query = ["dpkg-query", "--show", "--showformat=${db:Status-Status}", package]
    try:
        return subprocess.run(query, capture_output=True, text=True).stdout == "installed"
    except FileNotFoundError as error:
        raise FileNotFoundError("not a Debian: name a built checkout") from error


def _download(place: Path) -> Path:
    """The source's tar file, by an apt that has its own list of sources: the mirror's that is configured, other suites'."""
    query = ["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages"]
    told = subprocess.run(query, capture_output=True, text=True).stdout
    sites = [site for site in told.split() if "security" not in site]
    if not sites:
        raise FileNotFoundError("apt has no source of packages: apt-get update")
    (place / "lists/partial").mkdir(parents=True)
    (place / "sources.list").write_text("".join(f"deb-src {sites[0]} {suite} main\n" for suite in SUITES))
    own = {
        "APT::Sandbox::User": "root",
        "Dir::Cache": place,
        "Dir::Etc::sourcelist": place / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": place / "lists",
    }
    apt = ["apt-get", "-q", *(f"-o{key}={value}" for key, value in own.items())]
    for words in (["update"], ["source", "--download-only", "--tar-only", SOURCE]):
        subprocess.run([*apt, *words], check=True, cwd=place, stdout=subprocess.DEVNULL, timeout=300)
    return next(place.glob(f"{SOURCE}*.orig.tar.*"))


def _build(place: Path, tree: Path) -> None:
    """By Debian's Go without modules: what is not below `place` is in /usr/share/gocode."""
    programs = sorted(path.parent.relative_to(tree) for path in tree.glob("validation/*/*.go") if path.parent.name != "util")
    env = {
        "PATH": os.environ["PATH"],
        "GO111MODULE": "off",
        "GOPATH": f"{place}:/usr/share/gocode",
        "GOCACHE": str(place / "cache"),
        "GOFLAGS": "-ldflags=-s",
        "CGO_ENABLED": "0",
    }
    binaries = place / "bin"
    binaries.mkdir()
    words = ["go", "build", "-o", f"{binaries}/", "./cmd/runtimetest", *(f"./{path}" for path in dict.fromkeys(programs))]
    subprocess.run(words, check=True, cwd=tree, env=env, timeout=1800)
    for path in dict.fromkeys(programs):
        os.rename(binaries / path.name, tree / path / f"{path.name}.t")
    os.rename(binaries / "runtimetest", tree / "runtimetest")
    for name in ("apt", "bin", "cache"):
        shutil.rmtree(place / name)
