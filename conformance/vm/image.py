"""Builds what the machine is started from, in steps that are taken once: tools/, root/, vmlinux, initrd, disk.

Everything comes out of packages of the Debian archive that apt uses here. The guest is Debian 12; the emulator is Debian 13's,
which is two to three times faster at fork(2) and execve(2) than 12's and is run out of its own directory.
"""

from __future__ import annotations

import lzma
import os
import shutil
import subprocess
import sys
from pathlib import Path

from conformance.vm.machine import Failed, started

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
GUEST = Path(__file__).resolve().parent / "guest"
SUITE, TOOLS_SUITE = "bookworm", "trixie"
TOOLS = ["qemu-system-x86", "virtiofsd"]
PACKAGES = [
    *("systemd", "systemd-sysv", "libpam-systemd", "dbus", "dbus-user-session", "udev", "polkitd", "apparmor", "kmod"),
    *("gcc", "libc6-dev", "python3-dev", "python3-cffi", "python3-jsonschema", "python3-pytest", "python3-hypothesis"),
    *("python3-pytest-xdist", "python3-setuptools", "python3-wheel", "libseccomp2", "busybox-static", "runc", "crun", "criu"),
    *("podman", "conmon", "containerd", "uidmap", "fuse-overlayfs", "iptables", "iproute2", "procps", "psmisc", "strace"),
    "ca-certificates",
]
MODULES = ["fs", "net", "lib", "crypto", "block", "mm", "drivers/virtio", "drivers/block", "drivers/char", "drivers/net/*.ko"]
"""All others are left out: udev would spend seconds on drivers of devices that no virtual machine has."""

MOUNTING = ["virtio_pci", "virtio_blk", "ext4", "crc32c_generic", "virtiofs", "virtio_console"]
DISK_BYTES = 4 << 30
MASKED = [
    *("getty@tty1.service", "serial-getty@ttyS0.service", "systemd-pstore.service", "e2scrub_reap.service"),
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer"),
    *("systemd-timesyncd.service", "systemd-random-seed.service", "systemd-update-utmp.service", "ldconfig.service"),
    *("systemd-journal-flush.service", "systemd-hwdb-update.service", "systemd-journal-catalog-update.service"),
    *("systemd-update-done.service", "systemd-firstboot.service", "systemd-sysusers.service", "keyboard-setup.service"),
    *("console-setup.service", "modprobe@drm.service", "modprobe@efi_pstore.service", "podman.service", "podman.socket"),
    *("podman-auto-update.timer", "podman-auto-update.service", "podman-restart.service", "containerd.service"),
]


def ensure(directory: Path, *, rebuild: bool) -> Path:
    """Build what is missing; the guest's root directory, from which the disk was made. Raises Failed, OSError."""
    root = directory / "root"
    if rebuild and directory.exists():
        for name in ("tools", "root", "vmlinux", "initrd", "disk"):
            remove(directory / name)
    directory.mkdir(parents=True, exist_ok=True)
    os.umask(0o022)
    if not (directory / "tools").exists():
        bootstrap(directory / "tools", TOOLS_SUITE, TOOLS)
    if not root.exists():
        bootstrap(root, SUITE, PACKAGES)
    if not (directory / "disk").exists():
        say("kernel, configuration and disk")
        version = kernel(directory, root)
        initial(directory, root, version)
        configure(root)
        disk(directory, root)
    return root


def say(what: str) -> None:
    print(f"conformance/vm: building {what}", file=sys.stderr, flush=True)


def run(*command: object) -> str:
    """Run a command quietly; its output. All it has started and mounted goes with it, also when it is interrupted.

    Raises Failed, with everything the command said.
    """
    alone = ["unshare", "--mount-proc", "--pid", "--fork", "--kill-child"]
    environment = {**os.environ, "PATH": PATH, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    words = [*alone, *map(str, command)]
    with started(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment) as process:
        output = process.communicate()[0].decode(errors="replace")
    if process.returncode:
        raise Failed(f"{output}\n{' '.join(map(str, command))}: exit status {process.returncode}")
    return output


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def mirror() -> str:
    """The archive that apt has its Debian from."""
    for line in run("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages").splitlines():
        if line.rstrip("/").endswith("/debian"):
            return line
    raise Failed("apt knows no Debian archive")


def bootstrap(target: Path, suite: str, packages: list[str]) -> None:
    """Complete, or not there at all. debootstrap alone does not settle the order of what is not essential; apt does."""
    say(f"{target.name}, of {suite}")
    half = target.with_name(f"{target.name}.half")
    remove(half)
    run("debootstrap", "--variant=minbase", suite, half, mirror())
    (half / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")  # nothing is started in there
    (half / "usr/sbin/policy-rc.d").chmod(0o755)
    inside(half, "apt-get", "update", "-q")
    inside(half, "apt-get", "install", "-q", "-y", "--no-install-recommends", *packages)
    (half / "usr/sbin/policy-rc.d").unlink()
    half.rename(target)


def inside(root: Path, *command: str) -> str:
    """Run a command in the root, which has a /proc for as long as that takes."""
    script = 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"'
    return run("sh", "-c", script, root, *command)


def kernel(directory: Path, root: Path) -> str:
    """Unpack Debian's kernel: modules into the root, the image as ELF, which qemu starts by its PVH note without firmware
    and without decompressing on an emulated processor. The kernel's version."""
    unpacked = directory / "kernel"
    remove(unpacked)
    inside(root, "apt-get", "update", "-q")
    depends = inside(root, "apt-cache", "depends", "--important", "linux-image-amd64").split()
    package = depends[depends.index("Depends:") + 1]
    inside(root, "sh", "-c", f"cd /tmp && apt-get -q -o APT::Sandbox::User=root download {package}")
    (archive,) = (root / "tmp").glob("*.deb")
    run("dpkg-deb", "-x", archive, unpacked)
    archive.unlink()
    ((modules),) = (unpacked / "lib/modules").iterdir()
    version = modules.name
    target = root / "lib/modules" / version
    remove(target)
    for pattern in MODULES:
        for path in (modules / "kernel").glob(pattern):
            there = target / "kernel" / path.relative_to(modules / "kernel")
            if path.is_dir():
                shutil.copytree(path, there)
            else:
                there.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, there)
    for name in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
        shutil.copy(modules / name, target / name)
    inside(root, "depmod", version)
    shutil.copy(unpacked / f"boot/config-{version}", root / "boot")
    compressed = (unpacked / f"boot/vmlinuz-{version}").read_bytes()
    image = lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(compressed[compressed.index(b"\xfd7zXZ\0") :])
    (directory / "vmlinux").write_bytes(image)
    remove(unpacked)
    return version


def initial(directory: Path, root: Path, version: str) -> None:
    """An initramfs that loads what the disk needs and goes there."""
    tree = directory / "initramfs"
    remove(tree)
    for name in ("bin", "dev", "proc", "root", "modules"):
        (tree / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", tree / "bin/busybox")
    shutil.copy(GUEST / "init", tree / "init")
    (tree / "init").chmod(0o755)
    needed: dict[str, None] = {}
    for module in MOUNTING:
        for line in inside(root, "modprobe", "-S", version, "--show-depends", module).splitlines():
            if line.startswith("insmod "):
                needed[line.split()[1]] = None
    for path in needed:
        shutil.copy(root / path.lstrip("/"), tree / "modules")
    (tree / "order").write_text("".join(f"{Path(path).name}\n" for path in needed))
    run("sh", "-c", 'cd "$0" && find . | cpio -o -H newc --quiet >"$1"', tree, directory / "initrd")
    remove(tree)


def configure(root: Path) -> None:
    """What a systemd needs to be up in seconds, run our command and be gone; and a user whose session lingers."""
    system = root / "etc/systemd/system"
    for name, target in (
        ("pyrunc-vm", "usr/local/sbin/pyrunc-vm"),
        ("pyrunc-vm.service", "etc/systemd/system/pyrunc-vm.service"),
        ("delegate.conf", "etc/systemd/system/user@.service.d/delegate.conf"),
    ):
        (root / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(GUEST / name, root / target)
    (root / "usr/local/sbin/pyrunc-vm").chmod(0o755)
    (system / "multi-user.target.wants").mkdir(exist_ok=True)
    for link, target in (
        ("multi-user.target.wants/pyrunc-vm.service", "../pyrunc-vm.service"),
        ("default.target", "/lib/systemd/system/multi-user.target"),
        *((name, "/dev/null") for name in MASKED),
    ):
        (system / link).unlink(missing_ok=True)
        (system / link).symlink_to(target)
    for name, text in {
        "etc/fstab": "",
        "etc/hostname": "pyrunc-vm\n",
        "etc/hosts": "127.0.0.1 localhost pyrunc-vm\n::1 localhost\n",
        "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
        "etc/modules-load.d/pyrunc-vm.conf": "overlay\nloop\ndummy\n",
        "etc/systemd/journald.conf.d/pyrunc-vm.conf": "[Journal]\nStorage=volatile\n",
        "var/lib/systemd/linger/tester": "",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    if "tester:" not in (root / "etc/passwd").read_text():
        inside(root, "useradd", "--create-home", "--uid", "1000", "--shell", "/bin/bash", "tester")
    (root / "work").mkdir(exist_ok=True)
    for profile in (root / "etc/apparmor.d").iterdir():
        if profile.is_file():  # compiled at each start, which takes seconds
            profile.unlink()
    for pattern in ("var/cache/apt/archives/*.deb", "var/lib/apt/lists/*_*", "usr/lib/binfmt.d/*"):
        for path in root.glob(pattern):
            path.unlink()


def disk(directory: Path, root: Path) -> None:
    half = directory / "disk.half"
    half.unlink(missing_ok=True)
    with half.open("wb") as file:
        file.truncate(DISK_BYTES)
    run("mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-E", "lazy_itable_init=1,nodiscard", "-m", "0", "-d", root, half)
    half.rename(directory / "disk")
