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


def test_added_capabilities_are_never_inheritable(box: Box) -> None:
    """CVE-2022-29162: an inheritable set lets a program with file capabilities gain them, whoever executes it."""
    pid = box.up()
    before = dict(zip(CAPS, status_of(pid, *CAPS), strict=True))
    shown = box.ex("cat /proc/self/status", "--cap", "CAP_SYS_PTRACE", "--cap", "CAP_SYSLOG")
    after = dict(line.split(":\t") for line in shown.splitlines() if line.startswith("Cap"))
    more = 1 << 19 | 1 << 34
    assert int(before["CapInh"], 16) == 0 and int(before["CapPrm"], 16) & more == 0
    assert (after["CapInh"], after["CapAmb"]) == (before["CapInh"], before["CapAmb"])
    for name in ("CapPrm", "CapEff", "CapBnd"):
        assert int(after[name], 16) == int(before[name], 16) | more
    box.down()


NOT_USERS = [
    *("root", "0:", ":0", "1000:root", "root:0", "+1", "-1", "-0", " 1", "1 ", "1\n", "0x10", "1e3", "1_000", "1.0"),
    *("4294967296", "99999999999999999999", "1:2:3", "1000:1000:0", "1,2", "1/2", "\u0661", "1000:-1", "1000: 5"),
]


def test_a_user_is_a_number_or_nothing_is_executed(box: Box) -> None:
    """CVE-2026-30892 of crun, whose looser reading made another user of one, root at the worst."""
    box.writable().up()
    for user in NOT_USERS:
        done = box.exec("--user", user, box.id, "touch", "/executed")
        assert done.returncode == 255 and done.stderr.count("\n") == 1, user
    assert not (box.rootfs / "executed").exists()
    for user, uid, gid in (("1", "1", "0"), ("1000:50", "1000", "50"), ("007:010", "7", "10"), ("4294967294", "4294967294", "0")):
        assert box.ex("id -u; id -g", "--user", user).split() == [uid, gid], user
    box.down()
