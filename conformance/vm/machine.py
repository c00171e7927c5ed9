"""The virtual machine: started with a directory to share and a command in it, gone when the command has ended.

The host's directory is /work in the guest, by virtiofs, and holds `command`, which the guest runs, and then `status`, its
exit status. What the command prints comes through a virtio port. The disk is a snapshot that nobody keeps.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

KERNEL = (
    "console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off nokaslr no_timer_check tsc=reliable random.trust_cpu=on audit=0 "
    "systemd.show_status=0 SYSTEMD_COLORS=0 TERM=dumb"
)
"""Emulated processors are slow and their clocks uneven: nothing that measures, guards or colours."""

PROBE_SECONDS = 10
PR_SET_PDEATHSIG = 1


class Failed(Exception):
    """The machine cannot be built, or did not do what it is for."""


class TimeIsOver(Failed):
    """What was given for a step."""


class Machine:
    """`directory` is where the image is: vmlinux, initrd, disk, and the programs in tools/."""

    def __init__(self, directory: Path, *, memory: int, console: bool) -> None:
        self.directory = directory
        self.memory = memory
        self.console = console

    def run(self, share: Path, append: str, seconds: float) -> int:
        """The exit status of the command in `share`, its output going to our stdout. Raises Failed, TimeIsOver."""
        log = share / "console"
        log.touch()
        try:
            return self._run(share, append, seconds, log)
        except Failed:
            sys.stderr.write("".join(log.read_text(errors="replace").replace("\r", "").splitlines(True)[-40:]))
            raise
        finally:
            if self.console:
                sys.stderr.write(log.read_text(errors="replace").replace("\r", ""))

    def _run(self, share: Path, append: str, seconds: float, log: Path) -> int:
        socket = share / "virtiofsd"
        output, end = os.pipe()
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, output)
            files = [self._tool("usr/libexec/virtiofsd"), f"--socket-path={socket}", f"--shared-dir={share}", "--sandbox=chroot"]
            daemon = stack.enter_context(started([*self._loader(), *files], quiet=True))
            try:
                await_file(socket, daemon)
                command = [*self._qemu(), *self._processor(), *self._devices(share, log, socket, append, end)]
                qemu = stack.enter_context(started(command, pass_fds=[end]))
            finally:
                os.close(end)
            relay = threading.Thread(target=copy, args=[output], daemon=True)
            relay.start()
            try:
                qemu.wait(seconds)
            except subprocess.TimeoutExpired:
                raise TimeIsOver(f"the machine is still at it after {seconds:g} s") from None
            relay.join(10)
        try:
            return int((share / "status").read_text())
        except (OSError, ValueError):
            raise Failed(f"no exit status came back, qemu ended with {qemu.returncode}") from None

    def _devices(self, share: Path, log: Path, socket: Path, append: str, output: int) -> list[str]:
        size = f"{self.memory}M"
        return [
            *("-M", "pc,vmport=off,hpet=off", "-m", size, "-smp", str(min(os.cpu_count() or 1, 4)), "-nic", "none"),
            *("-kernel", f"{self.directory}/vmlinux", "-initrd", f"{self.directory}/initrd", "-append", f"{KERNEL} {append}"),
            *("-drive", f"file={self.directory}/disk,format=raw,if=virtio,snapshot=on,cache=unsafe"),
            *("-object", f"memory-backend-memfd,id=memory,size={size},share=on", "-numa", "node,memdev=memory"),
            *("-chardev", f"socket,id=files,path={socket}", "-device", "vhost-user-fs-pci,chardev=files,tag=work"),
            *("-object", "rng-random,filename=/dev/urandom,id=random", "-device", "virtio-rng-pci,rng=random"),
            *("-serial", f"file:{log}", "-device", "virtio-serial-pci", "-add-fd", f"fd={output},set=1"),
            *("-chardev", "file,id=output,path=/dev/fdset/1,append=on", "-device", "virtserialport,chardev=output,name=output"),
        ]

    def _processor(self) -> list[str]:
        """KVM where it works: /dev/kvm may be there and a guest still not run, as within another virtual machine."""
        kvm = ["-accel", "kvm", "-cpu", "host"]
        early = ["-kernel", f"{self.directory}/vmlinux", "-append", "console=ttyS0 earlyprintk=ttyS0"]
        probe = [*self._qemu(), *kvm, "-M", "pc", *early]
        if os.access("/dev/kvm", os.R_OK | os.W_OK):
            with started([*probe, "-serial", "stdio"], stdout=subprocess.PIPE, quiet=True) as qemu:
                assert qemu.stdout
                timer = threading.Timer(PROBE_SECONDS, qemu.kill)
                timer.start()
                alive = bool(qemu.stdout.read(16))
                timer.cancel()
            if alive:
                return kvm
        return ["-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max"]

    def _qemu(self) -> list[str]:
        data = [f"{self._tool('usr/share/qemu')}", f"{self._tool('usr/share/seabios')}"]
        where = [word for path in data for word in ("-L", path)]
        common = ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-monitor", "none"]
        return [*self._loader(), self._tool("usr/bin/qemu-system-x86_64"), *where, *common]

    def _loader(self) -> list[str]:
        """Programs of another Debian run with their own C library, not with this system's."""
        return [self._tool("lib64/ld-linux-x86-64.so.2"), "--library-path", self._tool("usr/lib/x86_64-linux-gnu")]

    def _tool(self, path: str) -> str:
        return f"{self.directory}/tools/{path}"


@contextlib.contextmanager
def started(command: list[str], *, quiet: bool = False, **kw: object) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with the block, or with us, however that comes."""
    libc = ctypes.CDLL(None)
    if quiet:
        kw["stderr"] = subprocess.DEVNULL
    process: subprocess.Popen[bytes] = subprocess.Popen(
        command, stdin=subprocess.DEVNULL,
        preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL), **kw,  # type: ignore[call-overload]
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def within(seconds: float, what: str) -> Iterator[None]:
    """Ends the block, wherever it is, when the time is over. Raises TimeIsOver. For the main thread."""

    def over(*_: object) -> None:
        raise TimeIsOver(f"{what} takes longer than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, over)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def await_file(path: Path, maker: subprocess.Popen[bytes], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        if maker.poll() is not None or time.monotonic() > end:
            raise Failed(f"{path.name} has not begun")
        time.sleep(0.01)


def copy(fd: int) -> None:
    """Everything that comes, as it comes, to our stdout."""
    with contextlib.suppress(OSError):
        while data := os.read(fd, 65536):
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
