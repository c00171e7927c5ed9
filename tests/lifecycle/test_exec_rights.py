"""A further process has no more than the container: its root, its rights, its terminal."""

from __future__ import annotations

import json
from pathlib import Path

from tests.lifecycle.box import Box, status_of

CAPS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


def test_a_process_file_without_capabilities_and_limits_has_those_of_the_container(box: Box, tmp_path: Path) -> None:
    box.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]
    pid = box.up()
    document = {"cwd": "/", "args": ["sh", "-c", "cat /proc/self/status /proc/self/limits"], "env": ["PATH=/bin"]}
    (tmp_path / "process.json").write_text(json.dumps(document))
    lines = box.exec("--process", tmp_path / "process.json", box.id, check=True).stdout.splitlines()
    found = dict(line.split(":\t") for line in lines if line.startswith("Cap"))
    assert [found[name] for name in CAPS] == status_of(pid, *CAPS)
    assert [line.split()[3:5] for line in lines if line.startswith("Max open files")] == [["100", "200"]]

    (tmp_path / "process.json").write_text(json.dumps({**document, "capabilities": {}}))
    lines = box.exec("--process", tmp_path / "process.json", box.id, check=True).stdout.splitlines()
    assert {line.split()[1] for line in lines if line.startswith("Cap")} == {"0" * 16}
    box.down()


def test_without_a_mount_namespace_it_is_in_the_containers_root_all_the_same(box: Box) -> None:
    box.config["mounts"] = []
    box.config["root"]["readonly"] = False
    box.config["linux"] = {"namespaces": [{"type": "pid"}, {"type": "uts"}]}
    box.up()
    assert box.ex("ls /").split() == sorted(path.name for path in box.rootfs.iterdir())
    box.down()


def test_in_a_user_namespace_the_terminal_is_the_users(box: Box) -> None:
    """What the host's root opens there belongs to nobody."""
    box.map_ids()
    box.up()
    show = "stat -c %u $(tty); echo opened >$(tty)"
    for user in ("0", "1000"):
        done = box.exec("--tty", "--user", user, box.id, "sh", "-c", show, check=True)
        assert done.stdout.split() == [user, "opened"]
    box.down()
