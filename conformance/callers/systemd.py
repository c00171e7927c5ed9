"""Callers whose containers are units of systemd's: podman as root and as a user, and containerd.

They need systemd as process 1, cgroup v2 alone and, for what they save and restore, CRIU: the machine of conformance/vm has them.
All units of an engine are in a slice of its own.
"""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
from pathlib import Path

from conformance.callers.engines import ENVIRONMENT, Containerd, Engine, Podman, containers
from conformance.callers.process import CGROUPS

NEEDED = {"/run/systemd/system": "systemd as process 1", f"{CGROUPS}/cgroup.controllers": "cgroup v2 alone"}
USERS = Path("/run/user")


class Units(Engine):
    """What a caller is that has systemd make its cgroups. Raises FileNotFoundError where systemd cannot."""

    OWN_RUN = False  # systemd's sockets are there
    SECONDS = 900.0  # on an emulated processor

    @classmethod
    def check_needs(cls) -> None:
        for path, what in NEEDED.items():
            if not os.path.exists(path):
                raise FileNotFoundError(f"no {path}: this needs {what}, as in the machine of conformance/vm/run")
        super().check_needs()

    @property
    def slice(self) -> str:
        return Path(self.sandbox.tag).name

    def systemctl(self, *words: str) -> str:
        """Its output. Not in the sandbox, which is gone when the slice is stopped."""
        return self._systemctl(["systemctl", *words], ENVIRONMENT)

    def _systemctl(self, argv: list[str], env: dict[str, str]) -> str:
        return subprocess.run(argv, env=env, stdout=subprocess.PIPE, text=True, timeout=self.SECONDS).stdout

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """What systemd knows of a unit; of one that is not there its LoadState is not-found."""
        lines = self.systemctl("show", unit, *(f"--property={name}" for name in properties)).splitlines()
        return dict(line.split("=", 1) for line in lines)

    def close(self) -> list[str]:
        left = super().close()
        self.systemctl("stop", self.slice)  # systemd keeps an empty one
        return left


def slice_of(tag: str) -> str:
    """With a dash it would be a slice in a slice."""
    return f"{tag.replace('-', '_')}.slice"


class PodmanSystemd(Units, Podman):
    """podman with the systemd cgroup manager."""

    NEEDS: tuple[str, ...] = (*Podman.NEEDS, "criu")
    MANAGER = "systemd"
    PARENT = ""
    """The cgroup of the systemd that is asked."""

    def __init__(self, runtime: Path, work: Path, tag: str) -> None:
        super().__init__(runtime, work, self.PARENT + slice_of(tag))
        self._others = set(self._known())

    def parent(self) -> str:
        return self.slice

    def unit(self, name: str) -> str:
        return f"libpod-{self('inspect', '--format', '{{.Id}}', name).out.strip()}.scope"

    def records(self) -> list[str]:
        # podman 4.3.1 forgets --runtime-flag when it cleans up after a container, so that the runtime's root is the common one.
        return [name for name in self._known() if name not in self._others]

    def _known(self) -> list[str]:
        return containers(self.state() / self.runtime.name)

    def state(self) -> Path:
        """Below which every runtime has its root."""
        return Path("/run")


class PodmanRootless(PodmanSystemd):
    """The same as a user who is not root, whose systemd runs; not logged in, as one whom su has made."""

    NEEDS = (*Podman.NEEDS, "setpriv", "newuidmap", "newgidmap")

    def __init__(self, runtime: Path, work: Path, tag: str) -> None:
        self.check_needs()
        uid = min(int(path.parent.parent.name) for path in USERS.glob("[1-9]*/systemd/private"))
        self.user = pwd.getpwuid(uid)
        self.PARENT = f"user.slice/user-{uid}.slice/user@{uid}.service/"
        super().__init__(runtime, work, tag)
        for directory, _, files in os.walk(work):
            for name in ("", *files):
                os.chown(os.path.join(directory, name), uid, self.user.pw_gid, follow_symlinks=False)

    @classmethod
    def check_needs(cls) -> None:
        super().check_needs()
        if not any(USERS.glob("[1-9]*/systemd/private")):
            raise FileNotFoundError("no user's systemd runs, as in the machine of conformance/vm/run (loginctl enable-linger)")

    def command(self) -> list[str]:
        return [*self._become(), *super().command()]

    def environment(self) -> dict[str, str]:
        return {**super().environment(), **self._home()}

    def state(self) -> Path:
        return USERS / str(self.user.pw_uid)

    def _become(self) -> list[str]:
        return ["setpriv", f"--reuid={self.user.pw_uid}", f"--regid={self.user.pw_gid}", "--init-groups"]

    def _home(self) -> dict[str, str]:
        return {"HOME": self.user.pw_dir, "XDG_RUNTIME_DIR": str(self.state())}

    def systemctl(self, *words: str) -> str:
        return self._systemctl([*self._become(), "systemctl", "--user", *words], {**ENVIRONMENT, **self._home()})

    def close(self) -> list[str]:
        left = super().close()
        # A process keeps podman's user namespace. `podman system migrate` would end it, but 4.3.1 looks for it elsewhere.
        os.kill(int((self.work / "tmpdir/pause.pid").read_text()), signal.SIGKILL)
        return left


class ContainerdSystemd(Units, Containerd):
    """containerd with `ctr run --runc-systemd-cgroup`."""

    NEEDS = (*Containerd.NEEDS, "criu")

    def __init__(self, runtime: Path, work: Path, tag: str) -> None:
        super().__init__(runtime, work, slice_of(tag))

    def placement(self, name: str) -> list[str]:
        return ["--runc-systemd-cgroup", "--cgroup", f"{self.slice}:ctr:{name}"]

    def unit(self, name: str) -> str:
        return f"ctr-{name}.scope"
