"""pyrunc-init, built twice: as it is shipped, and with the sanitisers; and a root file system for it to work in."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.native.plan_harness import Op, Outcome, run, seal

SOURCES = sorted((Path(__file__).resolve().parents[2] / "native/init").glob("*.c"))
WARNINGS = ["-std=gnu11", "-ffreestanding", "-Wall", "-Wextra", "-Werror"]
SHIPPED = ["-Os", "-nostdlib", "-static", "-fno-pie", "-no-pie", "-fno-stack-protector", "-fno-asynchronous-unwind-tables"]
SANITISED = ["-DHOSTED", "-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]


def build(directory: Path, flags: list[str]) -> bytes:
    compiler = shutil.which("gcc")
    if not compiler:
        pytest.skip("gcc is missing")
    output = directory / "pyrunc-init"
    subprocess.run([compiler, *WARNINGS, *flags, "-o", output, *SOURCES], check=True)
    return output.read_bytes()


@pytest.fixture(scope="session")
def init(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The program as it is shipped, in a sealed memfd."""
    fd = seal("pyrunc-init", build(tmp_path_factory.mktemp("init"), SHIPPED))
    yield fd
    os.close(fd)


@pytest.fixture(scope="session")
def sanitised(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The program with AddressSanitizer and UndefinedBehaviorSanitizer, in a sealed memfd."""
    fd = seal("pyrunc-init", build(tmp_path_factory.mktemp("sanitised"), SANITISED))
    yield fd
    os.close(fd)


@pytest.fixture
def go(init: int) -> Callable[..., Outcome]:
    """Runs a plan: ``go(ops)``, with what `run` of the harness takes."""

    def start(ops: list[Op], **options: Any) -> Outcome:
        return run(init, ops, **options)

    return start


APPLETS = "cat cut echo env false find grep head hostname id kill ls md5sum od ping pwd readlink rm sh sleep stat stty test touch"
APPLETS += " true tty umount wc yes"


@pytest.fixture
def rootfs(busybox_rootfs: Path, session_dir: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A small root file system of busybox for one test. It may be written to, its program may not: it is a link."""
    path = session_dir / f"native-{abs(hash(request.node.nodeid))}"
    for name in ("bin", "dev", "etc", "proc", "root", "run", "sys", "tmp", "var"):
        (path / name).mkdir(parents=True)
    os.link(busybox_rootfs / "bin/busybox", path / "bin/busybox")
    for applet in APPLETS.split():
        (path / "bin" / applet).symlink_to("busybox")
    for name in ("passwd", "group"):
        shutil.copy(busybox_rootfs / "etc" / name, path / "etc" / name)
    yield path
    shutil.rmtree(path)


@pytest.fixture(autouse=True)
def nothing_mounted(session_dir: Path) -> Iterator[None]:
    """No test may leave a mount in the namespace that it was started in."""
    yield
    with open("/proc/self/mountinfo") as lines:
        assert not [line for line in lines if str(session_dir) in line]
