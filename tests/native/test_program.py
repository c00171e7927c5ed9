"""The last steps: working directory, program, the wait for `start`, execve(2), and which fds are left."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.native.plan_harness import (
    BELOW,
    NEWNS,
    PRIVATE,
    PROC,
    Init,
    Message,
    Op,
    Outcome,
    c,
    command,
    encode,
    eventually,
    host,
    op,
    prelude,
    tmpfs,
)

pytestmark = pytest.mark.needs_root
Go = Callable[..., Outcome]


def execute(*argv: str) -> list[Op]:
    return [op("RELEASE"), op("EXEC", list(argv), ["PATH=/bin"], v=[len(argv), 1])]


def test_the_working_directory_is_made_and_entered(go: Go, rootfs: Path) -> None:
    ops = [*prelude(rootfs), op("MAKE_CWD", "/made/deep"), op("PIVOT")]
    assert go([*ops, *command("pwd", cwd="/made/deep")]).good() == "/made/deep\n"
    ops = [*prelude(rootfs), op("MAKE_CWD", "/etc/passwd")]
    go(ops).bad(ops, "MAKE_CWD", "RESOLVE", errno.ENOTDIR)
    ops = [*prelude(rootfs), op("PIVOT"), op("CHDIR", "/no/such", v=[1])]
    go(ops).bad(ops, "CHDIR", "CHDIR", errno.ENOENT)


def test_a_directory_that_only_the_user_may_enter(go: Go) -> None:
    """Root without capabilities is refused, so it is tried again as the user, and then is final."""
    path = "/mnt/private"
    private = [
        op("UNSHARE", v=[NEWNS]),
        op("PROPAGATE", "/", v=[PRIVATE | BELOW]),
        op("OPEN_ROOT", "/"),
        tmpfs("/mnt", "mode=755"),
    ]
    enter = [op("CAPABILITIES", v=[0xC0, 0xC0, 0, 0]), op("CHDIR", path), op("USER", b"", v=[1000, 1000, 0, 0])]
    enter.append(op("CHDIR", path, v=[1]))
    assert go([*private, tmpfs(path, "mode=700", "uid=1000"), *enter, *host("pwd")[1:]]).good() == path + "\n"
    ops = [*private, tmpfs(path, "mode=700", "uid=7"), *enter]
    go(ops).bad(ops, "CHDIR", "CHDIR", errno.EACCES)


def test_the_first_change_of_directory_is_final(go: Go) -> None:
    assert go([op("CHDIR", "/etc", v=[0]), op("CHDIR", "/usr", v=[1]), *host("pwd")[1:]]).good() == "/etc\n"


def test_an_inherited_directory_is_no_working_directory(go: Go, rootfs: Path) -> None:
    """CVE-2024-21626: /proc/self/fd/N of a directory of the host's, as the working directory and as a link to it."""
    outside = os.open("/", os.O_PATH | os.O_DIRECTORY)
    (rootfs / "link").symlink_to("/proc/self/fd/3")
    for path in ("/proc/self/fd/3", "/link", "/proc/self/fd/3/etc"):
        ops = [*prelude(rootfs), PROC, op("PIVOT"), op("CHDIR", path, v=[1]), *command("pwd")[1:]]
        go(ops, preserve=[outside]).bad(ops, "CHDIR", "OUTSIDE", errno.EPERM)
        ops = [*prelude(rootfs), PROC, op("MAKE_CWD", path)]
        assert go(ops, preserve=[outside]).errors[0].error == errno.ELOOP
    os.close(outside)


def test_a_working_directory_that_is_gone(init: int, tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    fd = os.open(tmp_path / "gone", os.O_PATH)
    (tmp_path / "gone").rmdir()
    plan = encode([op("CHDIR", "/proc/self/fd/3", v=[1])], preserve=1)
    with Init(init, plan, preserve=[fd]) as process:
        (message,) = process.finish().errors
        assert (message.value, message.error) == (c.AT_OUTSIDE, errno.ENOENT)
    os.close(fd)


@pytest.fixture
def programs(rootfs: Path) -> Path:
    for directory in ("one", "two", "locked"):
        (rootfs / directory).mkdir()
    for path in ("one/tool", "two/tool", "two/other", "locked/secret"):
        (rootfs / path).write_text(f"#!/bin/sh\necho {path} $0\n")
        (rootfs / path).chmod(0o755)
    (rootfs / "one/other").write_text("not executable")
    (rootfs / "one/other").chmod(0o644)
    (rootfs / "one/dir").mkdir()
    (rootfs / "loop").symlink_to("loop")
    (rootfs / "locked").chmod(0o700)
    return rootfs


@pytest.mark.parametrize(
    ("name", "path", "out"),
    [
        ("tool", "/one:/two", "one/tool /one/tool"),
        ("other", "/one:/two", "two/other /two/other"),
        ("tool", "/no/such:/etc/passwd:/two", "two/tool /two/tool"),
        ("tool", "/" + "x" * 5000 + ":/two", "two/tool /two/tool"),
        ("tool", "", "one/tool ./tool"),
        ("tool", "/no:", "one/tool ./tool"),
        ("./tool", "/two", "one/tool ./tool"),
        ("../two/tool", None, "two/tool ../two/tool"),
    ],
)
def test_a_program_is_found_as_execvp_does(go: Go, programs: Path, name: str, path: str | None, out: str) -> None:
    ops = [*prelude(programs), op("PIVOT"), op("CHDIR", "/one", v=[1]), op("LOOKUP", name, path), *execute(name)]
    assert go(ops).good() == out + "\n"


@pytest.mark.parametrize(
    ("name", "place", "error"),
    [
        ("nosuch", "NOTFOUND", errno.ENOENT),
        ("dir", "NOTFOUND", errno.ENOENT),
        ("", "NOTFOUND", errno.ENOENT),
        ("/no/such", "STAT", errno.ENOENT),
        ("/one/tool/x", "STAT", errno.ENOTDIR),
        ("/one", "ACCESS", errno.EISDIR),
        ("/one/other", "ACCESS", errno.EACCES),
        ("/locked/secret", "ACCESS", errno.EACCES),
        ("/loop", "ACCESS", errno.ELOOP),
        ("/" + "n" * 300, "ACCESS", errno.ENAMETOOLONG),
        ("/" + "p/" * 3000, "ACCESS", errno.ENAMETOOLONG),
    ],
)
def test_a_program_that_cannot_be_executed(go: Go, programs: Path, name: str, place: str, error: int) -> None:
    user = op("USER", b"", v=[1000, 1000, 1, 0])
    ops = [*prelude(programs), op("PIVOT"), user, op("LOOKUP", name, "/no:/one:/locked"), *execute(name)]
    go(ops).bad(ops, "LOOKUP", place, error)


def test_what_only_execve_can_know_comes_back_as_a_message(go: Go, rootfs: Path) -> None:
    for text, error in ((b"neither script nor ELF", errno.ENOEXEC), (b"#!/no/such/interpreter\n", errno.ENOENT)):
        (rootfs / "bin/odd").write_bytes(text)
        (rootfs / "bin/odd").chmod(0o755)
        ops = [*prelude(rootfs), op("PIVOT"), *command("odd")]
        go(ops).bad(ops, "EXEC", "EXECVE", error)


def test_arguments_and_environment_arrive_as_they_are(go: Go, rootfs: Path) -> None:
    script = 'for a; do echo "<$a>"; done; env | grep ^V'
    argv = ["sh", "-c", script, "sh", "", "two words", "new\nline", "\udcff\udcfe", "e" * 100_000]
    out = go([*prelude(rootfs), op("PIVOT"), *command(*argv, env=["PATH=/bin", "V=\udce9", "V2="])]).good()
    assert out.split("\n") == [
        "<>",
        "<two words>",
        "<new",
        "line>",
        "<\ufffd\ufffd>",
        f"<{'e' * 100_000}>",
        "V=\ufffd",
        "V2=",
        "",
    ]


def held(pid: int) -> dict[int, str]:
    """The fds of a process and what they are; it may close some meanwhile."""
    found = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found[int(fd)] = os.readlink(f"/proc/{pid}/fd/{fd}")
    return found


SLEEP = command("sleep", "60")


@pytest.mark.parametrize(("preserve", "base"), [(0, None), (2, None), (1, 300)])
def test_nothing_but_stdio_and_what_was_preserved_is_open(
    init: int, rootfs: Path, tmp_path: Path, preserve: int, base: int | None
) -> None:
    """Also not what the runtime's caller left open without close-on-exec."""
    leaked = [os.open(tmp_path / f"leaked-{number}", os.O_CREAT | os.O_RDWR) for number in range(40)]
    for fd in leaked:
        os.set_inheritable(fd, True)
    kept = os.open(tmp_path / "leaked-0", os.O_RDONLY)
    try:
        plan = encode([*prelude(rootfs), op("PIVOT"), *SLEEP], preserve=preserve)
        with Init(init, plan, preserve=[kept] * preserve, base=base) as process:
            while message := process.receive():
                process.answer(message)
            got = held(process.pid)
            assert sorted(got) == list(range(3 + preserve))
            assert all(name.endswith("leaked-0") for fd, name in got.items() if fd > 2)
    finally:
        for fd in [*leaked, kept]:
            os.close(fd)


@pytest.mark.parametrize("base", [None, 300])
def test_what_the_caller_left_open_is_closed_before_anything_is_done(init: int, tmp_path: Path, base: int | None) -> None:
    """Between what is preserved and the plan, and above."""
    leaked = [os.open(tmp_path / "leaked", os.O_CREAT | os.O_RDWR), os.open("/", os.O_PATH)]
    leaked += [fcntl.fcntl(leaked[0], fcntl.F_DUPFD, least) for least in (50, 310, 900)]
    for fd in leaked:
        os.set_inheritable(fd, True)
    with Init(init, encode([op("SYNC", v=[c.SYNC_READY])], preserve=1), preserve=[leaked[0]], base=base) as process:
        process.until(c.MSG_SYNC)
        got = held(process.pid)
        assert sorted(got) == [0, 1, 2, 3, (base or 4) + 1] and got[3].endswith("leaked")
    for fd in leaked:
        os.close(fd)


class Fifos:
    """The two fifos between a container that waits and `start`."""

    def __init__(self, directory: Path) -> None:
        self.paths = [directory / "go", directory / "reply"]
        for path in self.paths:
            os.mkfifo(path)
        self.go, self.reply = (os.open(path, os.O_RDWR) for path in self.paths)
        self.slots = {c.SLOT_GO: self.go, c.SLOT_REPLY: self.reply}


@pytest.fixture
def fifos(tmp_path: Path) -> Iterator[Fifos]:
    made = Fifos(tmp_path)
    yield made
    os.close(made.go)
    os.close(made.reply)


def waiting(rootfs: Path, *rest: Op, preserve: int = 0, fifos: Fifos) -> bytes:
    ops = [*prelude(rootfs), PROC, op("PIVOT"), op("CHDIR", "/", v=[1]), op("LOOKUP", "sleep", "/bin"), op("WAIT"), *rest]
    return encode(ops, parent=os.getpid(), preserve=preserve, passed=list(fifos.slots))


@pytest.mark.parametrize("preserve", [0, 3])
def test_the_wait_for_start(init: int, rootfs: Path, fifos: Fifos, preserve: int) -> None:
    with open("/etc/passwd") as file:
        kept = [file.fileno()] * preserve
        plan = waiting(rootfs, SLEEP[-1], preserve=preserve, fifos=fifos)
        with Init(init, plan, passed=list(fifos.slots.values()), preserve=kept) as process:
            process.until(c.MSG_DONE)
            assert process.receive() is None  # the socket is closed: the runtime may go
            assert eventually(lambda: sorted(held(process.pid)) == list(range(3 + preserve + 2)))
            got = held(process.pid)
            assert [got[3 + preserve], got[4 + preserve]] == [str(path) for path in fifos.paths]
            os.write(fifos.go, b"1")
            assert eventually(lambda: Path(f"/proc/{process.pid}/comm").read_text() == "sleep\n")
            assert sorted(held(process.pid)) == list(range(3 + preserve))
    assert not select.select([fifos.reply], [], [], 0)[0]


def test_a_failure_after_start_is_told_on_the_reply_fifo(init: int, rootfs: Path, fifos: Fifos) -> None:
    (rootfs / "bin/sleep").unlink()
    (rootfs / "bin/sleep").write_text("not a program")
    (rootfs / "bin/sleep").chmod(0o755)
    plan = waiting(rootfs, op("EXEC", ["sleep"], [], v=[1, 0]), fifos=fifos)
    with Init(init, plan, passed=list(fifos.slots.values())) as process:
        process.until(c.MSG_DONE)
        os.write(fifos.go, b"1")
        assert process.wait() == 1
        message = Message.parse(os.read(fifos.reply, 4096))
        assert (message.kind, message.value, message.error) == (c.MSG_ERROR, c.AT_EXECVE, errno.ENOEXEC)
        assert process.step == message.op


def test_start_takes_its_offer_back(init: int, rootfs: Path, fifos: Fifos) -> None:
    """Nobody holds the fifo for writing any more: an end of file is no go-ahead."""
    reader = os.open(fifos.paths[0], os.O_RDONLY | os.O_NONBLOCK)
    os.close(fifos.go)
    fifos.go = os.open(fifos.paths[0], os.O_WRONLY)
    plan = waiting(rootfs, SLEEP[-1], fifos=fifos)
    os.set_blocking(reader, True)
    with Init(init, plan, passed=[reader, fifos.reply]) as process:
        process.until(c.MSG_DONE)
        os.close(fifos.go)
        fifos.go = os.open(os.devnull, os.O_RDONLY)
        assert process.wait() == 1
        message = Message.parse(os.read(fifos.reply, 4096))
        assert (message.value, message.error) == (c.AT_READ, errno.EPIPE)
    os.close(reader)


def test_the_wait_outlives_the_runtime_but_not_a_signal(init: int, rootfs: Path, fifos: Fifos) -> None:
    with Init(init, waiting(rootfs, SLEEP[-1], fifos=fifos), passed=list(fifos.slots.values())) as process:
        process.until(c.MSG_DONE)
        assert process.receive() is None
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL


def test_wait_without_fifos(go: Go) -> None:
    ops = [op("WAIT")]
    go(ops).bad(ops, "WAIT", "OPEN", errno.EBADF)


def test_a_waiting_container_holds_little_memory(init: int, rootfs: Path, fifos: Fifos) -> None:
    with Init(init, waiting(rootfs, SLEEP[-1], fifos=fifos), passed=list(fifos.slots.values())) as process:
        process.until(c.MSG_DONE)
        smaps = subprocess.run(["cat", f"/proc/{process.pid}/smaps_rollup"], capture_output=True, text=True).stdout
        kib = {key: int(value.split()[0]) for key, _, value in (line.partition(":") for line in smaps.splitlines()[1:])}
        assert kib["Private_Dirty"] + kib["Private_Clean"] < 256
