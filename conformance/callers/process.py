"""Commands run for their words and their exit status, with a terminal or without, in a mount namespace of their own."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from conformance.hierarchies import mount_command, unseen

CGROUPS = Path("/sys/fs/cgroup")

Turn = tuple[str, str | tuple[int, int]]
"""When this has been read from the terminal, type that; or give the terminal that size, in rows and columns."""


class Result:
    """What a command said and how it ended; ``status`` is 128 and the signal's number if it was killed."""

    def __init__(self, argv: Sequence[str], status: int, out: str, err: str = "") -> None:
        self.argv = argv
        self.status = status if status >= 0 else 128 - status
        self.out = out
        self.err = err

    def says(self, *texts: str) -> Result:
        """Each text is on stdout or stderr, in any case of letters. Raises AssertionError."""
        both = (self.out + self.err).lower()
        for text in texts:
            assert text.lower() in both, f"{text!r} is missing in: {self}"
        return self

    def prints(self, expected: str) -> Result:
        """This is all of stdout, but for white space at its ends. Raises AssertionError."""
        assert self.out.strip() == expected, f"{expected!r} is not what came: {self}"
        return self

    def __str__(self) -> str:
        return f"{' '.join(self.argv)}\n[{self.status}] {self.out}{self.err}"


class Sandbox:
    """A mount namespace with an empty /dev/shm and, if it is to have its `own_run`, an empty /run, so that what callers put
    there is theirs and goes with them.

    ``tag`` names the cgroup that all containers lie below, so that leaks are told from what others do on this machine. With
    `network` it is a network namespace as well, in which only the loopback device is up. v1 hierarchies that the machine has
    but does not mount are seen below /dev/shm: without them containerd, asked for statistics or to watch for OOM, fails.
    """

    SETUP = "mount -t tmpfs shm /dev/shm && mkdir -p /run/lock && echo && exec cat"

    def __init__(self, tag: str, *, network: bool = False, own_run: bool = True) -> None:
        self.tag = tag
        self._network = network
        setup = "mount -t tmpfs run /run && " * own_run + self.SETUP
        argv = ["unshare", "--mount", "--propagation", "private", *["--net"] * network, "sh", "-c", setup]
        # It waits for the end of our pipe: if we are killed, it goes too.
        self._holder = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if not self._holder.stdout or self._holder.stdout.read(1) != b"\n":
            raise OSError("cannot make a mount namespace")
        self.pid = self._holder.pid
        self.root = Path(f"/proc/{self.pid}/root")
        self.tops = [CGROUPS, *CGROUPS.iterdir()]
        """Of all hierarchies."""
        for options in unseen():
            place = f"/dev/shm/cgroup/{options}"
            subprocess.run(self.argv("mkdir", "-p", place), check=True)
            subprocess.run(self.argv(*mount_command(options, place)), check=True)
            self.tops.append(self.root / place[1:])
        if network:
            subprocess.run(self.argv("ip", "link", "set", "lo", "up"), check=True)

    def argv(self, *words: object) -> list[str]:
        network = [f"--net=/proc/{self.pid}/ns/net"] * self._network
        return ["nsenter", f"--mount=/proc/{self.pid}/ns/mnt", *network, "--", *map(str, words)]

    def run(self, *words: object, env: dict[str, str], given: str | None = None, timeout: float = 60) -> Result:
        """Run and wait. The standard input is empty unless `given`. Raises TimeoutExpired after so many seconds."""
        done = subprocess.run(
            self.argv(*words), input=given or "", env=env, capture_output=True, text=True, errors="replace", timeout=timeout
        )
        return Result([*map(str, words)], done.returncode, done.stdout, done.stderr)

    def run_tty(self, *words: object, env: dict[str, str], turns: Sequence[Turn] = (), timeout: float = 20) -> Result:
        """The same at a terminal of 33 rows and 90 columns. Raises AssertionError when a turn's text does not come."""
        ours, theirs = os.openpty()
        termios.tcsetwinsize(ours, (33, 90))
        process = subprocess.Popen(self.argv(*words), stdin=theirs, stdout=theirs, stderr=theirs, env=env, start_new_session=True)
        os.close(theirs)
        try:
            text = _converse(process, ours, list(turns), time.monotonic() + timeout)
        finally:
            os.close(ours)
            process.kill()
            process.wait()
        return Result([*map(str, words)], process.returncode, text)

    def daemon(self, *words: object, env: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
        with log.open("ab") as out:
            return subprocess.Popen(self.argv(*words), stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env)

    def cgroups(self) -> list[Path]:
        """Those of our containers, in every hierarchy, the innermost first."""
        return [Path(path) for top in self.tops for path, _, _ in os.walk(top / self.tag, topdown=False)]

    def processes(self) -> set[int]:
        """All that live in this mount namespace or in our containers, but for the holder."""
        own = os.stat(f"/proc/{self.pid}/ns/mnt")
        found = set()
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and os.path.samestat(os.stat(entry / "ns/mnt"), own):
                    found.add(int(entry.name))
        for cgroup in self.cgroups():
            with contextlib.suppress(OSError):
                found.update(map(int, (cgroup / "cgroup.procs").read_text().split()))
        return found - {self.pid}

    def close(self) -> list[str]:
        """End what still lives and remove what still is; what that was."""
        found = [f"process {pid}: {_command(pid)}" for pid in settled(self.processes)]
        while pids := self.processes():
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        for cgroup in self.cgroups():
            with contextlib.suppress(OSError):
                cgroup.rmdir()
        found += [f"cgroup {cgroup}" for cgroup in self.cgroups()]
        self._holder.communicate()
        return found


def settled(what: Callable[[], set[int]], seconds: float = 5) -> list[int]:
    """What is still there when it had the time to go."""
    end = time.monotonic() + seconds
    while (found := what()) and time.monotonic() < end:
        time.sleep(0.02)
    return sorted(found)


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:200]
    return "gone"


def _converse(process: subprocess.Popen[bytes], terminal: int, turns: list[Turn], end: float) -> str:
    text = ""
    while True:
        if turns and turns[0][0] in text:
            _, action = turns.pop(0)
            if isinstance(action, str):
                os.write(terminal, action.encode())
            else:
                termios.tcsetwinsize(terminal, action)
                process.send_signal(signal.SIGWINCH)
        ready, _, _ = select.select([terminal], [], [], 0.1)
        if ready:
            try:
                text += os.read(terminal, 4096).decode(errors="replace").replace("\r\n", "\n")
            except OSError:  # the last one has closed the other side
                break
        elif process.poll() is not None:
            break
        assert time.monotonic() < end, f"no end after: {text}"
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(max(0.0, end - time.monotonic()))
    assert not turns, f"{turns[0][0]!r} did not come: {text}"
    return text
