"""Man pages and completions: whole, in step with the option tables, and accepted by those who read them."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import manual
from manual import completions, pages
from pyrunc.cli.main import COMMANDS, command_module
from pyrunc.cli.options import Option

TABLES = dict(completions.tables())
PAGES = pages.pages()


def tool(name: str) -> str:
    found = shutil.which(name)
    if not found:
        pytest.skip(f"{name} is missing: apt-get install {name}")
    return found


def mandoc(page: str, *flags: str) -> str:
    return subprocess.run([tool("mandoc"), *flags], input=page, capture_output=True, text=True, timeout=60).stdout


def test_what_is_installed() -> None:
    assert {f"share/man/man8/pyrunc-{name}.8" for name in COMMANDS} < manual.files().keys()
    assert len(manual.files()) == len(COMMANDS) + 1 + 3
    assert all(text.endswith("\n") and not re.search("@[A-Z_]+@", text) for text in manual.files().values())


@pytest.mark.parametrize("name", PAGES)
def test_mandoc_finds_no_fault_in_a_page(name: str) -> None:
    said = mandoc(PAGES[name], "-Tlint", "-W", "style")
    faults = [line for line in said.splitlines() if "referenced manual not found" not in line]
    assert faults == []


@pytest.mark.parametrize("name", PAGES)
def test_a_page_says_what_help_says(name: str) -> None:
    text = " ".join(re.sub(r".\x08", "", mandoc(PAGES[name], "-Tascii", "-Owidth=1000")).split())
    command = name.removeprefix("pyrunc").removeprefix("-")
    for option in TABLES[command]:
        value = f" {option.metavar}" if option.metavar else ""
        assert ", ".join(spelling + value for spelling in completions.spellings(option)) in text
        assert option.help[1:] in text
    if command:
        table = command_module(command).COMMAND
        assert f"pyrunc-{command} - {table.summary}" in text
        assert all(line.strip() in text for line in table.about.splitlines())
    else:
        assert all(f"pyrunc-{other}(8)" in text for other in COMMANDS)


def test_the_date_of_a_page_can_be_fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert pages.pages()["pyrunc-run"].startswith(".TH PYRUNC-RUN 8 1970-01-02 ")


def test_text_is_no_roff() -> None:
    hard = ".TH x\n'br\na\\fBb -c 'd' ~^`"
    shown = mandoc(f".TH A 8 2020-01-01\n.SH B\n.nf\n{pages.escape(hard)}\n", "-Tascii")
    body = re.sub(r".\x08", "", shown).partition("\nB\n")[2]
    assert [line.strip() for line in body.splitlines() if line.startswith("     ")][:3] == hard.split("\n")


@pytest.fixture
def stub(tmp_path: Path) -> Path:
    """A ``pyrunc`` that notes how it was called and lists two containers."""
    program = tmp_path / "bin/pyrunc"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$*" >>{tmp_path}/calls\nprintf "alpha\\nbeta\\n"\n')
    program.chmod(0o755)
    return program


CASES = {
    "pyrunc st": "start state",
    "pyrunc --ro": "--root --rootless",
    "pyrunc --root {tmp}/di": "{tmp}/directory",
    "pyrunc --root={tmp}/di": "{tmp}/directory",
    "pyrunc --log {tmp}/": "{tmp}/bin {tmp}/directory {tmp}/file",
    "pyrunc --log-format j": "json",
    "pyrunc --log-format=j": "json",
    "pyrunc -log-format=": "json text",
    "pyrunc state ": "alpha beta",
    "pyrunc --debug delete --force b": "beta",
    "pyrunc create ": "",
    "pyrunc create -b {tmp}/di": "{tmp}/directory",
    "pyrunc run --no-": "--no-new-keyring --no-pivot --no-subreaper",
    "pyrunc kill alpha T": "TERM TSTP",
    "pyrunc kill --all alpha KI": "KILL",
    "pyrunc exec --env A=1 al": "alpha",
    "pyrunc exec -e A al": "alpha",
    "pyrunc exec --us": "--user",
    "pyrunc exec alpha --us": "",
    "pyrunc list --format ": "json table",
    "pyrunc list -f t": "table",
    "pyrunc help sp": "spec",
    "pyrunc nonsense --": "",
    "pyrunc spec ": "",
}


def place(text: str, tmp_path: Path) -> str:
    for name, make in (("directory", Path.mkdir), ("file", Path.touch)):
        if not (tmp_path / name).exists():
            make(tmp_path / name)
    return text.replace("{tmp}", str(tmp_path))


@pytest.mark.parametrize("line", CASES)
def test_bash_completes(line: str, stub: Path, tmp_path: Path) -> None:
    """As bash calls it, which takes a word apart at each of its COMP_WORDBREAKS."""
    words = [part for word in place(line, tmp_path).split(" ") for part in (re.findall("=|[^=]+", word) or [""])]
    script = f'{completions.bash()}COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))\n_pyrunc\nprintf "%s\\n" "${{COMPREPLY[@]}}"'
    path = f"{stub.parent}:{os.environ['PATH']}"
    done = subprocess.run([tool("bash"), "-c", script, "bash", *words], capture_output=True, text=True,
                          env={"PATH": path}, timeout=60)  # fmt: skip
    assert (sorted(done.stdout.split()), done.stderr) == (place(CASES[line], tmp_path).split(), "")


def test_bash_asks_for_the_containers_under_the_root_that_is_given(stub: Path, tmp_path: Path) -> None:
    for words in ("pyrunc --root /a state", "pyrunc --root = /b state", "pyrunc -root /c --debug state", "pyrunc state"):
        script = f'{completions.bash()}COMP_WORDS=({words} "") COMP_CWORD={len(words.split())}; _pyrunc'
        subprocess.run([tool("bash"), "-c", script], env={"PATH": f"{stub.parent}:{os.environ['PATH']}"}, check=True, timeout=60)
    expected = ["--root /a list --quiet", "--root=/b list --quiet", "--root /c list --quiet", "list --quiet"]
    assert (tmp_path / "calls").read_text().splitlines() == expected


class Shell:
    """An interactive shell on a terminal of its own."""

    def __init__(self, *argv: str, env: dict[str, str]) -> None:
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True)
        os.close(slave)
        self.seen = b""

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def expect(self, text: str) -> None:
        end = time.monotonic() + 60
        while text.encode() not in self.seen:
            assert select.select([self.master], [], [], max(0, end - time.monotonic()))[0], self.seen
            self.seen += os.read(self.master, 4096)
        self.seen = self.seen.partition(text.encode())[2]


@pytest.fixture
def bash(stub: Path, tmp_path: Path) -> Iterator[Shell]:
    (tmp_path / "completion").write_text(completions.bash())
    env = {"PATH": f"{stub.parent}:{os.environ['PATH']}", "TERM": "dumb", "HOME": str(tmp_path), "INPUTRC": "/dev/null"}
    shell = Shell(tool("bash"), "--norc", "--noprofile", "-i", env=env)
    yield shell
    os.close(shell.master)
    shell.process.kill()
    shell.process.wait()


def test_bash_completes_when_tab_is_typed(bash: Shell, tmp_path: Path) -> None:
    """Readline's own part: a single answer is inserted, with the blank after it; also behind an "="."""
    bash.type(f". {tmp_path}/completion; echo loa'ded'\n")
    bash.expect("loaded")
    bash.type("pyrunc stat\t")
    bash.expect("pyrunc state ")
    bash.type("be\t")
    bash.expect("beta ")
    bash.type("\x15pyrunc --log-format=j\t")
    bash.expect("--log-format=json ")


def test_zsh_reads_it(tmp_path: Path) -> None:
    (tmp_path / "_pyrunc").write_text(completions.zsh())
    done = subprocess.run([tool("zsh"), "-f", "-n", tmp_path / "_pyrunc"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "line, expected",
    [
        ("pyrunc st", "start state"),
        ("pyrunc --root /x state ", "alpha beta"),
        ("pyrunc list -f ", "json table"),
        ("pyrunc kill alpha T", "TERM TSTP"),
        ("pyrunc exec --us", "--user"),
    ],
)
def test_fish_completes(line: str, expected: str, stub: Path, tmp_path: Path) -> None:
    (tmp_path / "pyrunc.fish").write_text(completions.fish())
    script = f"source {tmp_path}/pyrunc.fish; complete -C '{line}'"
    env = {"PATH": f"{stub.parent}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    done = subprocess.run([tool("fish"), "-N", "-c", script], capture_output=True, text=True, env=env, timeout=60)
    assert [row.split("\t")[0] for row in done.stdout.splitlines()] == expected.split()


@pytest.mark.parametrize("command", TABLES)
def test_every_option_is_in_every_completion(command: str) -> None:
    scripts = {"bash": completions.bash(), "zsh": completions.zsh(), "fish": completions.fish()}

    def present(option: Option) -> dict[str, bool]:
        names = completions.spellings(option)
        options = re.search(rf'^            "{command}"\) kind="(.*)" ;;$', scripts["bash"], re.M)
        where = f"-n '__fish_seen_subcommand_from {command}' " if command else "-n __fish_use_subcommand "
        return {
            "bash": options is not None and set(names) <= set(options[1].split()),
            "zsh": all(f"{name}[" in scripts["zsh"] or f"{name}=[" in scripts["zsh"] for name in names),
            "fish": f"complete -c pyrunc {where}-l {option.name} " in scripts["fish"],
        }

    for option in TABLES[command]:
        assert all(present(option).values()), option.name


@pytest.mark.parametrize("module", [completions, pages], ids=lambda module: module.__name__)
def test_nothing_of_it_is_part_of_the_program(module: object) -> None:
    sources = Path(manual.__file__).parent.parent.joinpath("pyrunc").rglob("*.py")
    assert not [path for path in sources if re.search(r"^\s*(import|from) manual\b", path.read_text(), re.M)]
