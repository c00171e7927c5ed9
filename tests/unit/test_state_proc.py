"""Processes by id and start time (kernel/proc.py), and files as a whole (kernel/files.py)."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from pyrunc.errors import KernelError
from pyrunc.kernel import os as hot_os, proc
from pyrunc.kernel.files import read_bounded, write_atomic

from ..conftest import until


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "100"]) as process:
        yield process
        process.kill()


def ended() -> int:
    """The id of a process that is gone."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


COMM = st.one_of(
    st.binary(max_size=64),
    st.text(alphabet="() \n\tZ1", max_size=16).map(str.encode),
    st.sampled_from([b"", b")", b") Z 1 1", b"(a) R (b", b"a\n) S 0", b"\xff\xfe) ", b")))) X 0 0 0"]),
)
NUMBER = st.integers(min_value=-(2**63), max_value=2**64 - 1)


@given(COMM, st.sampled_from("RSDTtZXxKWPI"), st.lists(NUMBER, min_size=49, max_size=49), st.integers(1, 2**22))
def test_a_name_of_any_bytes_does_not_mislead(comm: bytes, letter: str, numbers: list[int], pid: int) -> None:
    line = b"%d (%s) %c %s\n" % (pid, comm, ord(letter), " ".join(map(str, numbers)).encode())
    # proc_pid_stat(5) counts from 1: id, name, letter, then the numbers from field 4.
    assert proc.parse_stat(line) == (letter, numbers[20 - 4], numbers[22 - 4])


BAD_STAT = [b"", b"1 (a", b"1 (a) R 1 2 3", b"1 (a) Running" + b" 0" * 49, b"1 (a) R" + b" x" * 49, b"\0" * 99]


@pytest.mark.parametrize("line", BAD_STAT)
def test_what_is_no_stat_line_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError):
        proc.parse_stat(line)


def test_a_running_process(sleeper: subprocess.Popen[bytes]) -> None:
    start = proc.start_time(sleeper.pid)
    assert start > 0
    assert proc.process_state(sleeper.pid) in [(letter, start) for letter in "RSD"]
    assert proc.is_alive(sleeper.pid, start)
    assert proc.start_time(os.getpid()) <= start


@pytest.mark.parametrize("comm", [") Z 1 1 1", "a\nb) X 0", "(((", "))) 7"])
def test_a_process_that_names_itself_badly(comm: str) -> None:
    script = "import sys; open('/proc/self/comm', 'w').write(sys.argv[1]); print('ready', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", script, comm]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "ready\n"
        assert Path(f"/proc/{process.pid}/comm").read_text() == comm[:15] + "\n"
        start = proc.start_time(process.pid)
        assert 0 < proc.start_time(os.getpid()) <= start
        assert proc.is_alive(process.pid, start)


def test_a_zombie_is_not_alive_but_has_a_start_time() -> None:
    process = subprocess.Popen(["sleep", "100"])
    start = proc.start_time(process.pid)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert proc.process_state(process.pid) == ("Z", start)
    assert not proc.is_alive(process.pid, start)
    assert proc.open_pidfd(process.pid, start) is None
    process.wait()


def test_a_leader_that_ends_before_its_threads_leaves_a_living_process() -> None:
    script = """
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(100,)).start()
ctypes.CDLL(None).pthread_exit(None)
"""
    with subprocess.Popen([sys.executable, "-c", script]) as process:
        start = proc.start_time(process.pid)
        until(lambda: ") Z " in Path(f"/proc/{process.pid}/stat").read_text(), 60, "the leader did not end")
        assert proc.process_state(process.pid) == ("S", start)
        assert proc.is_alive(process.pid, start)
        process.kill()


def test_no_process() -> None:
    pid = ended()
    assert proc.process_state(pid) is None
    assert not proc.is_alive(pid, 1)
    assert proc.open_pidfd(pid, 1) is None
    with pytest.raises(KernelError, match="no such process") as caught:
        proc.start_time(pid)
    assert caught.value.errno == errno.ESRCH


@pytest.mark.parametrize("pid", [0, -1, -100])
def test_a_number_that_is_no_process_id_is_never_used(pid: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    assert not proc.is_alive(pid, 1)
    assert proc.open_pidfd(pid, 1) is None


def test_another_process_under_the_same_id(sleeper: subprocess.Popen[bytes]) -> None:
    other = proc.start_time(sleeper.pid) - 1
    before = os.listdir("/proc/self/fd")
    assert not proc.is_alive(sleeper.pid, other)
    assert proc.open_pidfd(sleeper.pid, other) is None
    assert os.listdir("/proc/self/fd") == before, "the pidfd was not closed"


def test_the_id_is_reused_while_the_pidfd_is_opened(sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Our process ends, and another takes its id, just before pidfd_open: the start time is looked at afterwards."""
    start = proc.start_time(sleeper.pid)
    real = os.pidfd_open

    def late(pid: int) -> int:
        fd = real(pid)
        monkeypatch.setattr(proc, "process_state", lambda pid: ("S", start + 1))
        return fd

    monkeypatch.setattr(hot_os, "pidfd_open", late)
    assert proc.open_pidfd(sleeper.pid, start) is None


def test_a_pidfd_of_the_right_process(sleeper: subprocess.Popen[bytes]) -> None:
    fd = proc.open_pidfd(sleeper.pid, proc.start_time(sleeper.pid))
    assert fd is not None
    assert not os.get_inheritable(fd)
    assert proc.send_signal(fd, 0)
    assert proc.send_signal(fd, signal.SIGKILL)
    assert sleeper.wait() == -signal.SIGKILL
    assert not proc.send_signal(fd, signal.SIGKILL)
    os.close(fd)


def test_the_id_of_a_thread_is_no_process() -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        assert thread.native_id
        assert proc.open_pidfd(thread.native_id, proc.start_time(thread.native_id)) is None
    finally:
        done.set()
        thread.join()


def test_a_bad_signal_is_the_kernels_error(sleeper: subprocess.Popen[bytes]) -> None:
    fd = os.pidfd_open(sleeper.pid)
    with pytest.raises(KernelError, match="invalid argument"):
        proc.send_signal(fd, 4096)
    os.close(fd)


def test_boot_id() -> None:
    assert proc.boot_id() == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert len(proc.boot_id()) == 36


# --- files


@pytest.mark.parametrize("by_descriptor", [True, False])
def test_a_file_is_replaced_as_a_whole(tmp_path: Path, by_descriptor: bool) -> None:
    directory = os.open(tmp_path, os.O_RDONLY) if by_descriptor else str(tmp_path)
    write_atomic(directory, "file", b"one")
    kept = open(tmp_path / "file", "rb")
    write_atomic(directory, "file", b"two" * 100_000)
    assert kept.read() == b"one", "it was written in place"
    assert (tmp_path / "file").read_bytes() == b"two" * 100_000
    assert os.listdir(tmp_path) == ["file"]
    kept.close()
    if isinstance(directory, int):
        os.close(directory)


def test_the_mode_is_subject_to_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_atomic(str(tmp_path), "private", b"")
        write_atomic(str(tmp_path), "public", b"", 0o666)
    finally:
        os.umask(old)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("private", "public")]
    assert modes == [0o600, 0o640]


def test_a_link_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "file").symlink_to("victim")
    (tmp_path / f".file.{os.getpid()}").symlink_to("victim")
    write_atomic(str(tmp_path), "file", b"new")
    assert (tmp_path / "victim").read_text() == "precious"
    assert not (tmp_path / "file").is_symlink()
    assert (tmp_path / "file").read_text() == "new"
    assert sorted(os.listdir(tmp_path)) == ["file", "victim"]


def test_the_remainder_of_a_dead_writer_of_our_id_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / f".file.{os.getpid()}").write_text("half a rec")
    write_atomic(str(tmp_path), "file", b"whole")
    assert os.listdir(tmp_path) == ["file"]


def test_a_failed_write_leaves_the_old_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_atomic(str(tmp_path), "file", b"old")

    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "")

    monkeypatch.setattr(hot_os, "write", full)
    with pytest.raises(KernelError, match=f"write {tmp_path}/file: no space left on device"):
        write_atomic(str(tmp_path), "file", b"new")
    monkeypatch.undo()
    assert (tmp_path / "file").read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(hot_os, "write", lambda fd, data: real(fd, data[:3]))
    write_atomic(str(tmp_path), "file", b"0123456789")
    assert (tmp_path / "file").read_bytes() == b"0123456789"


def test_a_missing_directory_is_told(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="no such file or directory"):
        write_atomic(str(tmp_path / "absent"), "file", b"")


def test_read_bounded(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 100)
    directory = os.open(tmp_path, os.O_RDONLY)
    assert read_bounded("file", 100, at=directory) == b"x" * 100
    with pytest.raises(KernelError) as caught:
        read_bounded("file", 99, at=directory)
    assert caught.value.errno == errno.EFBIG
    os.close(directory)


@pytest.mark.parametrize("kind, number", [("link", errno.ELOOP), ("directory", errno.EISDIR), ("none", errno.ENOENT)])
def test_what_is_no_file_is_not_read(tmp_path: Path, kind: str, number: int) -> None:
    path = tmp_path / "file"
    if kind == "link":
        path.symlink_to("/etc/hostname")
    elif kind == "directory":
        path.mkdir()
    with pytest.raises(KernelError) as caught:
        read_bounded(str(path), 100)
    assert caught.value.errno == number


def test_a_planted_fifo_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "file")
    assert read_bounded(str(tmp_path / "file"), 100) == b""
