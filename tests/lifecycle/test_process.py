"""process: what the program finds itself to be."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pyrunc.config.names import CAPABILITIES, CAPABILITY_SETS, RLIMITS
from tests.lifecycle.box import Box, one_line, status_of

HAS_SYS_RESOURCE = bool(int(status_of("self", "CapEff")[0], 16) >> CAPABILITIES["CAP_SYS_RESOURCE"] & 1)


def mask(*names: str) -> str:
    return f"{sum(1 << CAPABILITIES[name] for name in names):016x}"


def test_args_are_passed_as_they_are(box: Box) -> None:
    box.args("printf", "%s|", "", "a b", "*", "é", "line\nbreak", '"')
    assert box.cli("run", "--bundle", box.bundle, box.id, check=True).stdout == '|a b|*|é|line\nbreak|"|'


def test_the_program_is_looked_up_in_the_containers_path(box: Box) -> None:
    (box.rootfs / "opt/own").mkdir(parents=True)
    (box.rootfs / "opt/own/tool").write_text("#!/bin/sh\necho $0 $#\n")
    (box.rootfs / "opt/own/tool").chmod(0o755)
    box.process["env"] = ["PATH=/nothing:/opt/own:/bin"]
    box.args("tool", "1", "2")
    assert box.cli("run", "--bundle", box.bundle, box.id, check=True).stdout == "/opt/own/tool 2\n"


def test_without_a_path_the_usual_one_is_searched(box: Box) -> None:
    box.process["env"] = []
    assert box.sh("echo ok") == "ok\n"


def test_cwd(box: Box) -> None:
    box.process["cwd"] = "/tmp"
    assert box.sh("pwd") == "/tmp\n"


def test_cwd_is_made_if_it_is_missing(box: Box) -> None:
    box.process["cwd"] = "/made/for/it"
    assert box.writable().lines("pwd; stat -c '%a %u' . ..") == ["/made/for/it", "755 0", "755 0"]


def test_a_cwd_that_is_the_users_alone(box: Box) -> None:
    home = box.rootfs / "home"
    home.mkdir()
    home.chmod(0o700)
    os.chown(home, 1000, 1000)
    box.process.update(cwd="/home", user={"uid": 1000, "gid": 1000})
    assert box.sh("pwd") == "/home\n"


@pytest.mark.parametrize(
    ("env", "uid", "home"),
    [
        ([], 0, "/root"),
        ([], 1000, "/home/user"),
        ([], 4711, "/"),
        (["HOME="], 1000, "/home/user"),
        (["HOME=/given"], 1000, "/given"),
        (["HOME=/first", "HOME=/second"], 0, "/second"),
    ],
)
def test_home(box: Box, env: list[str], uid: int, home: str) -> None:
    box.process.update(env=["PATH=/bin", *env], user={"uid": uid, "gid": 0})
    assert box.sh("echo $HOME") == home + "\n"


@pytest.mark.parametrize(
    "passwd", [None, "", "root", "root:x:0:0:root", "::::::", "root:x:0x0:0::/wrong:\n", "x:x:0:0::\n", "directory", "fifo"]
)
def test_home_with_a_passwd_that_is_of_no_use(box: Box, passwd: str | None) -> None:
    path = box.rootfs / "etc/passwd"
    path.unlink()
    if passwd == "directory":
        path.mkdir()
    elif passwd == "fifo":
        os.mkfifo(path)
    elif passwd is not None:
        path.write_text(passwd)
    box.process["env"] = ["PATH=/bin"]
    assert box.sh("echo $HOME", timeout=20) == "/\n"


def test_env_holds_what_is_given_and_nothing_of_the_callers(box: Box) -> None:
    box.process["env"] = ["PATH=/bin", "A=1", "B=", "C=x=y", "A=2", "HOME=/h"]
    box.args("env")
    done = box.cli("run", "--bundle", box.bundle, box.id, check=True, env={"SECRET": "of the caller"})
    assert sorted(done.stdout.splitlines()) == ["A=2", "B=", "C=x=y", "HOME=/h", "PATH=/bin"]


def test_user_and_groups(box: Box) -> None:
    box.process["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [50, 4294967294, 7]}
    pid = box.up()
    assert status_of(pid, "Uid", "Gid") == ["\t".join(["1000"] * 4)] * 2
    assert status_of(pid, "Groups")[0].split() == ["7", "50", "4294967294"]
    assert box.ex("id -u; id -g; id -G").split() == ["1000", "1000", "1000", "7", "50", "4294967294"]
    box.down()


def test_without_additional_groups_there_are_none_of_the_callers(box: Box) -> None:
    box.args("id", "-G")
    done = box.cli("run", "--bundle", box.bundle, box.id, check=True, extra_groups=[4, 27])
    assert done.stdout == "0\n"


@pytest.mark.parametrize(("given", "found"), [(None, "0022"), (0o077, "0077"), (0, "0000"), (0o777, "0777")])
def test_umask(box: Box, given: int | None, found: str) -> None:
    if given is not None:
        box.process["user"]["umask"] = given
    assert box.sh("umask", umask=0o027) == found + "\n"


def test_every_rlimit(box: Box) -> None:
    wanted = dict.fromkeys(RLIMITS, (1, 2))
    large = {"RLIMIT_AS": 1 << 40, "RLIMIT_DATA": 1 << 40, "RLIMIT_STACK": 8 << 20, "RLIMIT_NOFILE": 64, "RLIMIT_NPROC": 1000}
    large |= {"RLIMIT_CPU": 100, "RLIMIT_FSIZE": 1 << 30, "RLIMIT_RTTIME": 1 << 30, "RLIMIT_MEMLOCK": 4096}
    wanted |= {name: (value - 1, value) for name, value in large.items()}
    for name, (soft, hard) in wanted.items():
        limit = resource.getrlimit(RLIMITS[name])[1]
        if limit != resource.RLIM_INFINITY and hard > limit:  # without CAP_SYS_RESOURCE no limit can be raised
            wanted[name] = (min(soft, limit), limit)
    box.process["rlimits"] = [{"type": name, "soft": soft, "hard": hard} for name, (soft, hard) in wanted.items()]
    pid = box.up()
    assert {name: resource.prlimit(pid, number) for name, number in RLIMITS.items()} == wanted
    box.down()


def test_an_unlimited_rlimit(box: Box) -> None:
    box.process["rlimits"] = [{"type": "RLIMIT_CPU", "soft": 2**64 - 1, "hard": 2**64 - 1}]
    assert box.sh("ulimit -t") == "unlimited\n"


@pytest.mark.skipif(HAS_SYS_RESOURCE, reason="has CAP_SYS_RESOURCE: every limit can be raised")
def test_a_limit_that_may_not_be_raised(box: Box) -> None:
    box.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 1 << 29, "hard": 1 << 29}]
    message = box.refused()
    assert "process.rlimits[0] (RLIMIT_NOFILE): set to 536870912:536870912: operation not permitted" in message


def test_capability_sets(box: Box) -> None:
    sets = {
        "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW", "CAP_SETUID"],
        "permitted": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"],
        "effective": ["CAP_CHOWN"],
        "inheritable": ["CAP_KILL", "CAP_NET_RAW"],
        "ambient": ["CAP_NET_RAW"],
    }
    assert set(sets) == set(CAPABILITY_SETS)
    box.process.update(capabilities=sets, user={"uid": 1000, "gid": 1000})
    pid = box.create()
    fields = ("CapBnd", "CapInh", "CapAmb")
    assert status_of(pid, *fields) == [mask(*sets["bounding"]), mask(*sets["inheritable"]), mask(*sets["ambient"])]
    assert status_of(pid, "CapPrm", "CapEff") == [mask(*sets["permitted"]), mask(*sets["effective"])]
    box.down()


def test_a_user_other_than_root_keeps_the_ambient_ones_alone(box: Box) -> None:
    names = ["CAP_NET_BIND_SERVICE", "CAP_KILL"]
    caps = dict.fromkeys(CAPABILITY_SETS, names)
    box.process.update(capabilities={**caps, "ambient": names[:1]}, user={"uid": 1000, "gid": 1000})
    script = "grep -E 'Cap(Prm|Eff|Amb|Bnd)' /proc/self/status | cut -f2"
    assert box.lines(script) == [mask(names[0])] * 2 + [mask(*names), mask(names[0])]


def test_ambient_takes_what_is_permitted_and_inheritable(box: Box) -> None:
    caps = {"bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"], "effective": [], "inheritable": [], "ambient": ["CAP_KILL"]}
    box.process.update(capabilities=caps, user={"uid": 1000, "gid": 1000})
    assert box.lines("grep CapAmb /proc/self/status | cut -f2") == [mask()]


def test_unknown_and_ungranted_capabilities_are_left_out(box: Box) -> None:
    for name in ("bounding", "permitted", "effective"):
        box.process["capabilities"][name] = ["CAP_KILL", "CAP_FUTURE_THING"]
    box.process["capabilities"]["permitted"].append("CAP_CHOWN")  # not bounding
    box.args("sh", "-c", "grep CapEff /proc/self/status | cut -f2")
    done = box.cli("run", "--bundle", box.bundle, box.id, check=True)
    assert done.stdout == mask("CAP_KILL") + "\n"


def test_without_capabilities_no_set_is_changed(box: Box) -> None:
    del box.process["capabilities"]
    assert box.lines("grep CapBnd /proc/self/status | cut -f2") == [status_of("self", "CapBnd")[0]]


def test_empty_capabilities_are_none(box: Box) -> None:
    box.process["capabilities"] = {}
    assert box.lines("grep -E 'Cap' /proc/self/status | cut -f2 | sort -u") == [mask()]


@pytest.mark.parametrize("wanted", [True, False])
def test_no_new_privileges(box: Box, wanted: bool) -> None:
    box.process["noNewPrivileges"] = wanted
    assert box.lines("grep NoNewPrivs /proc/self/status | cut -f2") == [str(int(wanted))]


def test_oom_score_adj(box: Box) -> None:
    box.process["oomScoreAdj"] = 321
    assert box.sh("cat /proc/self/oom_score_adj") == "321\n"
    assert Path("/proc/self/oom_score_adj").read_text() != "321\n"


def test_an_oom_score_that_is_not_set_is_the_callers(box: Box) -> None:
    own = int(Path("/proc/self/oom_score_adj").read_text())
    higher = min(own + 50, 1000)
    box.args("cat", "/proc/self/oom_score_adj")
    script = f"echo {higher} >/proc/self/oom_score_adj; exec \"$@\""
    argv = ["sh", "-c", script, "sh", *box.cli.argv("run", "--bundle", box.bundle, box.id)]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == f"{higher}\n"


@pytest.mark.skipif(HAS_SYS_RESOURCE, reason="has CAP_SYS_RESOURCE: the score can be lowered")
def test_an_oom_score_that_may_not_be_lowered(box: Box) -> None:
    box.process["oomScoreAdj"] = -900
    message = box.refused()
    assert "process.oomScoreAdj (-900): " in message and message.endswith("permission denied")


def test_a_session_keyring_of_its_own(boxes: Callable[[], Box]) -> None:
    own, shared = boxes(), boxes()
    for box in (own, shared):
        box.linux["maskedPaths"] = []
    assert f"_ses.{own.id}" in own.sh("cat /proc/keys")
    assert f"_ses.{shared.id}" not in shared.sh("cat /proc/keys", "--no-new-keyring")


def test_exec_is_in_the_same_keyring(box: Box) -> None:
    box.linux["maskedPaths"] = []
    box.up()
    listed = [line for line in box.ex("cat /proc/keys").splitlines() if f"_ses.{box.id}" in line]
    assert len(listed) == 1
    box.down()


def test_seccomp(box: Box) -> None:
    box.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 63}],
    }
    box.writable()
    for no_new_privileges in (True, False):
        box.process["noNewPrivileges"] = no_new_privileges
        assert "Out of streams resources" in box.sh("mkdir /tmp/x 2>&1 || true; grep Seccomp: /proc/self/status")
        box.up()
        assert "Out of streams resources" in box.ex("mkdir /tmp/y 2>&1 || true")
        box.down()


def test_a_filter_that_forbids_what_the_setup_needs(box: Box) -> None:
    names = ["getcwd", "chdir", "close_range"]
    box.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": names, "action": "SCMP_ACT_ERRNO"}]}
    box.process["cwd"] = "/tmp"
    for no_new_privileges in (True, False):
        box.process["noNewPrivileges"] = no_new_privileges
        assert "Operation not permitted" in box.sh("cd / 2>&1 || true; readlink /proc/self/cwd")


@pytest.mark.parametrize(
    ("resources", "controller", "file", "value"),
    [
        ({"pids": {"limit": 23}}, "pids", "pids.max", "23"),
        ({"memory": {"limit": 32 << 20}}, "memory", "memory.limit_in_bytes", str(32 << 20)),
        ({"cpu": {"shares": 512}}, "cpu", "cpu.shares", "512"),
        ({"cpu": {"quota": 50000, "period": 100000}}, "cpu", "cpu.cfs_quota_us", "50000"),
    ],
)
@pytest.mark.parametrize("path", [None, "/{id}/deep/er", "{id}-relative"], ids=["default", "absolute", "relative"])
def test_cgroups_path_and_limits(
    box: Box, resources: dict[str, dict[str, int]], controller: str, file: str, value: str, path: str | None
) -> None:
    top = Path("/sys/fs/cgroup", controller)
    if not top.is_dir():
        pytest.skip(f"this host has no v1 hierarchy of {controller}")
    box.linux["resources"].update(resources)
    if path:
        box.linux["cgroupsPath"] = path.format(id=box.id)
    pid = box.create()
    own = {name: line.split(":", 2)[2] for line in open(f"/proc/{pid}/cgroup") for name in line.split(":")[1].split(",")}
    end = path.format(id=box.id) if path else f"/{box.id}"
    assert own[controller].strip().endswith(end)
    # A hierarchy need not be mounted from its root: the path in it begins at ours.
    places = [found for found in top.rglob(file) if str(found.parent).endswith(end)]
    assert [found.read_text().strip() for found in places] == [value]
    box.down()
    assert [found for found in top.rglob(file) if str(found.parent).endswith(end)] == []
    for parent in Path("/sys/fs/cgroup").glob(f"*/{box.id}"):  # what lies above its own cgroup is not the container's
        for directory in (*parent.glob("deep"), parent):
            directory.rmdir()


def test_a_limit_works(box: Box) -> None:
    box.linux["resources"]["pids"] = {"limit": 4}
    box.args("sh", "-c", "for i in 1 2 3 4 5 6; do sleep 5 & done; echo all")
    done = box.cli("run", "--bundle", box.bundle, box.id)
    assert done.returncode != 0 and "can't fork" in done.stderr


def test_a_missing_program_is_an_error_of_create(box: Box) -> None:
    box.args("no-such-program")
    message = one_line(box.cli("create", "--bundle", box.bundle, box.id, check=1))
    assert message.endswith('exec: "no-such-program": executable file not found in $PATH')
