"""What holds for the plan of any configuration: it compiles or says why not, survives its encoding, and keeps the order."""

from __future__ import annotations

from posixpath import normpath
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, assume, given, settings, strategies as st

from pyrunc.cgroups.view import Leg
from pyrunc.config.names import NAMESPACES
from pyrunc.config.rules.container import check
from pyrunc.config.rules.mounts import PROC_OVERMOUNTS
from pyrunc.config.rules.process import check_process
from pyrunc.errors import ConfigError, PyruncError, UnsupportedError
from pyrunc.plan import opcodes as c, ops
from pyrunc.plan.container import compile_container, tail
from pyrunc.plan.encode import Plan, encode
from pyrunc.plan.facts import Host, Request
from pyrunc.plan.further import compile_exec
from pyrunc.plan.ops import Op
from pyrunc.plan.options import parse
from pyrunc.plan.seccomp import Filter
from pyrunc.plan.show import describe, show
from tests import strategies
from tests.golden.decode import decode, op_of

if TYPE_CHECKING:
    from collections.abc import Sequence

Config = dict[str, Any]

moderate = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])

LEGS = [
    *(Leg("tmpfs", "tmpfs", "", "mode=755"), Leg("bind", "/cg/a,b", "a,b"), Leg("cgroup", "cgroup", "c", "c")),
    Leg("symlink", "a,b", "a"),
]
hosts = st.builds(
    Host,
    in_userns=st.booleans(),
    rootless=st.sampled_from([False, False, False, True]),
    single_map=st.booleans(),
    proc_mounts=st.lists(st.sampled_from(["/proc", "/proc/bus", "/sys", "/b/rootfs/proc"])),
    kcore=st.booleans(),
)
tasks = st.lists(st.sampled_from(["/cg/a/tasks", "/cg/b/tasks"]), unique=True)
cgroup_entries = st.tuples(tasks, st.sampled_from([None, "/cg2"]))
requests = st.builds(
    Request,
    st.just("c1"),
    st.just("/b"),
    st.just("/b/rootfs"),
    waits=st.booleans(),
    pivot=st.booleans(),
    new_keyring=st.booleans(),
    preserve=st.integers(0, 9),
    seccomp=st.none() | st.just(Filter(bytes(16), 2)),
    environment=st.just(["A=b"]),
    cgroup_view=st.sampled_from([[], LEGS]),
    cgroup_entry=cgroup_entries,
)

MOUNTING = {c.OP_MOUNT: 1, c.OP_MOUNT_DATA: 1, c.OP_BIND: 1, c.OP_DEVICE: 0, c.OP_BIND_DEVICE: 0, c.OP_SYMLINK: 0}
"""Ops that make something in the root -> the string that says where."""
ENTERING = (c.OP_UNSHARE, c.OP_SETNS, c.OP_JOIN)
LATE = {c.OP_READONLY_MOUNT: 0}
TEXTS = {c.OP_SECCOMP, c.OP_USER, c.OP_AFFINITY, c.OP_MEMORY_POLICY}
"""Ops whose strings are no text."""
LISTS = {
    c.OP_NET_DEVICES: {0}, c.OP_MOUNT: {2}, c.OP_NEW_TREE: {1}, c.OP_REMOUNT: {1}, c.OP_MASK_PATH: {1}, c.OP_HOOK: {1, 2},
    c.OP_EXEC: {0, 1},
}  # fmt: skip
OPTIONAL = {c.OP_MOUNT: {3}, c.OP_REMOUNT: {1}, c.OP_LABEL: {2}}
"""Op -> the strings that may be none."""


def compiled(config: Config, request: Request, host: Host) -> Plan:
    """The plan, of an example that is any use: the rules accept it and the compiler does not refuse it."""
    try:
        check(config, host=host)
        return compile_container(config, request, host)
    except ConfigError:
        assume(False)
        raise


def places(plan: Plan, *codes: int) -> list[int]:
    return [i for i, op in enumerate(plan.ops) if op.code in codes]


def only(plan: Plan, code: int) -> int:
    (found,) = places(plan, code)
    return found


def sync(plan: Plan, point: int) -> list[int]:
    return [i for i in places(plan, c.OP_SYNC) if plan.ops[i].value(0) == point]


@moderate
@given(strategies.configs(), requests, hosts)
def test_a_config_compiles_or_is_refused_in_words(config: Config, request: Request, host: Host) -> None:
    try:
        check(config, host=host)
        plan = compile_container(config, request, host)
    except PyruncError as error:
        assert isinstance(error, ConfigError | UnsupportedError)
        assert error.message and error.config_path
        return
    for op in plan.ops:
        assert describe(op)
    assert len(show(plan, "text").splitlines()) == len(plan.ops)


@moderate
@given(strategies.configs(), requests, hosts, st.integers(0, 2**22))
def test_an_independent_decoder_reads_the_same(config: Config, request: Request, host: Host, parent: int) -> None:
    plan = compiled(config, request, host)
    data = bytes(encode(plan, parent))
    decoded = decode(data)
    assert decoded.ops == [op_of(op) for op in plan.ops]
    assert (decoded.parent, decoded.preserve, decoded.passed) == (parent, request.preserve, list(plan.passed))


@moderate
@given(strategies.configs(), requests, hosts)
def test_strings_are_whole(config: Config, request: Request, host: Host) -> None:
    """No NUL ends one early, and a list has as many items as its count says."""
    plan = compiled(config, request, host)
    for op in plan.ops:
        for i, string in enumerate(op.strings):
            if op.code in TEXTS or string is None and i in OPTIONAL.get(op.code, ()):
                continue
            if i in LISTS.get(op.code, ()):
                assert string is not None and (string == b"" or string.endswith(b"\0"))
            else:
                assert string is not None and b"\0" not in string
        if op.code == c.OP_EXEC:
            assert op.values == (len(op.items(0)), len(op.items(1)))
        if op.code == c.OP_HOOK:
            assert op.values[1:] == (len(op.items(1)), len(op.items(2))) and 0 <= op.value(0) < 2**62


@moderate
@given(strategies.configs(), requests, hosts)
def test_paths_in_the_root_are_absolute_and_clean(config: Config, request: Request, host: Host) -> None:
    plan = compiled(config, request, host)
    for op in plan.ops:
        if op.code in MOUNTING | LATE:
            target = op.text({**MOUNTING, **LATE}[op.code])
            assert target.startswith("/") and not target.startswith("//") and normpath(target) == target
            assert target != "/" or op.code == c.OP_READONLY_MOUNT
            if op.code in (c.OP_MOUNT, c.OP_MOUNT_DATA, c.OP_BIND) and op.values[-1] & c.MODE_INPROC:
                assert target == "/proc" or target in PROC_OVERMOUNTS
        if op.code == c.OP_BIND:
            assert op.text(0).startswith("/")


@moderate
@given(strategies.configs(), requests, hosts)
def test_the_order_of_namespaces_and_root(config: Config, request: Request, host: Host) -> None:
    plan = compiled(config, request, host)
    joins, news = places(plan, c.OP_SETNS), places(plan, c.OP_UNSHARE)
    opened = places(plan, c.OP_OPEN_NS)
    assert len(opened) == len(joins) and max(opened, default=-1) < min(joins, default=len(plan.ops))
    assert [plan.ops[i].value(0) for i in opened] == [plan.ops[i].value(0) for i in joins]
    assert max(joins, default=-1) < min(news, default=len(plan.ops)), "a new user namespace has no rights in the joined ones"
    listed = config["linux"]["namespaces"]
    flags = [sum(NAMESPACES[entry["type"]] for entry in listed if bool(entry.get("path")) == joined) for joined in (False, True)]
    assert [sum(plan.ops[i].value(0) for i in news), sum(plan.ops[i].value(1) for i in joins)] == flags
    entered = places(plan, c.OP_PIVOT, c.OP_MOVE_ROOT, c.OP_ENTER_ROOT)
    taken = places(plan, c.OP_ROOT, c.OP_OPEN_ROOT)
    assert len(entered) == len(taken) == 1
    for made in places(plan, *MOUNTING):
        assert taken[0] < made < entered[0]
    for made in places(plan, c.OP_DEVICE):
        assert [plan.ops[i].value(0) for i in places(plan, c.OP_UMASK) if i < made][-1] == 0
    check_cgroups(plan, request.cgroup_entry)
    for i in news:
        if plan.ops[i].value(0) & 0x2000000:
            assert i > max(sync(plan, c.SYNC_CGROUP) + places(plan, c.OP_ENTER_CGROUPS)), "it takes the cgroup for its root"
    for point in sync(plan, c.SYNC_MAPS):
        user = next(i for i in news if plan.ops[i].value(0) & 0x10000000)
        assert user < point < only(plan, c.OP_BECOME_ROOT)
        assert plan.ops[user].value(0) == 0x10000000, "a user namespace is made before those that it is to own"
        assert all(i > point for i in news if i != user)


def check_cgroups(plan: Plan, entry: tuple[Sequence[str], str | None]) -> None:
    """They are there before they are opened, opened while paths are the host's, and entered before anything costs memory."""
    (there,) = sync(plan, c.SYNC_CGROUP)
    opened, forks, entered = places(plan, c.OP_OPEN_CGROUP), places(plan, c.OP_FORK), places(plan, c.OP_ENTER_CGROUPS)
    v1 = [plan.ops[i] for i in opened if not plan.ops[i].value(1)]
    v2 = [plan.ops[i].text(0) for i in opened if plan.ops[i].value(1)]
    born = [entry[1]] if entry[1] and forks else []
    files = list(entry[0])
    changing = [op for op in plan.ops if op.code in (c.OP_UNSHARE, c.OP_SETNS, c.OP_JOIN)]
    kinds = [op.value(0 if op.code == c.OP_UNSHARE else -1) for op in changing]
    if born and any(kind & NAMESPACES["user"] for kind in kinds):
        # Root of a user namespace may not have a child born in a cgroup of the host's.
        files, born = [*files, f"{born[0]}/cgroup.procs"], []
    assert ([op.text(0) for op in v1], [op.value(0) for op in v1]) == (files, [*range(len(files))])
    assert v2 == born
    assert [plan.ops[i].value(0) for i in entered] == ([len(v1)] if v1 else [])
    elsewhere = [i for i in places(plan, c.OP_SETNS) if plan.ops[i].value(1) in (NAMESPACES["mount"], NAMESPACES["user"])]
    elsewhere += [i for i in places(plan, c.OP_UNSHARE) if plan.ops[i].value(0) == NAMESPACES["user"]]
    for i in opened:
        assert there < i < min([*elsewhere, *places(plan, c.OP_JOIN), *forks, *entered, *places(plan, c.OP_ROOT, c.OP_OPEN_ROOT)])
    assert max([there, *entered]) < min(places(plan, c.OP_ROOT, c.OP_OPEN_ROOT))


@moderate
@given(strategies.configs(), requests, hosts)
def test_mounts_are_made_as_listed_and_read_only_last(config: Config, request: Request, host: Host) -> None:
    plan = compiled(config, request, host)
    made = [op.at for op in plan.ops if op.code in MOUNTING and op.at.startswith("mounts[")]
    assert made == sorted(made, key=lambda at: int(at[7:-1]))
    bare = {f"mounts[{i}]" for i, mount in enumerate(config.get("mounts", ())) if mount.get("type") == "cgroup"}
    expected = {f"mounts[{i}]" for i in range(len(config.get("mounts", ())))}
    assert expected - bare <= set(made) <= expected
    for late in places(plan, c.OP_READONLY_MOUNT):
        assert late > max(places(plan, *MOUNTING, c.OP_NULL_STDIO, c.OP_MAKE_CWD, c.OP_CONSOLE), default=-1)
    for i, mount in enumerate(config.get("mounts", ())):
        if mount.get("type") == "tmpfs" and parse(mount.get("options")).attr_set & 1 and "rrw" not in mount["options"]:
            (made_at,) = [op for op in plan.ops if op.at == f"mounts[{i}]" and op.code in (c.OP_MOUNT, c.OP_MOUNT_DATA)]
            assert not made_at.value(0) & 1, "it could not take what is to be made in it"
            assert [op.at for op in plan.ops if op.code == c.OP_READONLY_MOUNT].count(f"mounts[{i}]") == 1
    masks, readonly = places(plan, c.OP_MASK_PATH), places(plan, c.OP_READONLY_PATH)
    assert max(readonly, default=-1) < min(masks, default=len(plan.ops)), "what is masked must not be bound over again"
    assert max(places(plan, c.OP_SYSCTL), default=-1) < min(readonly, default=len(plan.ops)), "/proc/sys is read-only then"
    (ready,) = sync(plan, c.SYNC_READY)
    root = [i for i in places(plan, c.OP_READONLY_MOUNT) if plan.ops[i].text(0) == "/"]
    assert bool(root) == bool(config["root"].get("readonly"))
    assert all(i < ready for i in places(plan, *MOUNTING, *LATE, c.OP_MASK_PATH, c.OP_READONLY_PATH, c.OP_SYSCTL))


SCHEDULING = {c.OP_SCHEDULER, c.OP_IO_PRIORITY, c.OP_PERSONALITY, c.OP_MEMORY_POLICY}
"""What an rlimit may permit, and so comes after it was set."""
IDENTITY = {
    c.OP_OWN_STDIO, c.OP_HOME, c.OP_SECCOMP, c.OP_CHDIR, c.OP_BOUNDING, c.OP_USER, c.OP_CAPABILITIES, c.OP_LOOKUP,
    c.OP_WAIT, c.OP_RELEASE, c.OP_HOOK, c.OP_EXEC,
}  # fmt: skip


def check_identity(plan: Plan, process: Config, seccomp: Filter | None) -> None:
    (ready,) = sync(plan, c.SYNC_READY)
    after = [op.code for op in plan.ops[ready + 1 :]]
    first = next(i for i, code in enumerate(after) if code not in SCHEDULING)
    assert set(after[first:]) <= IDENTITY, "all else must have failed before the runtime records the container"
    assert not places(plan, *SCHEDULING) or max(places(plan, *SCHEDULING)) == ready + first, "before a filter can forbid it"
    assert c.OP_OWN_STDIO not in [op.code for op in plan.ops[:ready]]
    assert only(plan, c.OP_EXEC) == len(plan.ops) - 1
    user, lookup = only(plan, c.OP_USER), only(plan, c.OP_LOOKUP)
    away = only(plan, c.OP_RELEASE) if c.OP_RELEASE in after else only(plan, c.OP_WAIT)
    assert ready < user < lookup < away < len(plan.ops) - 1
    assert [plan.ops[i].value(0) for i in places(plan, c.OP_CHDIR)] == [0, 1]
    first, second = places(plan, c.OP_CHDIR)
    assert first < user < second
    for i in places(plan, c.OP_BOUNDING):
        assert i < user, "dropping needs CAP_SETPCAP"
    for i in places(plan, c.OP_CAPABILITIES):
        assert i > user
    assert bool(places(plan, c.OP_CAPABILITIES)) == (process.get("capabilities") is not None) == bool(plan.ops[user].value(3))
    filters = places(plan, c.OP_SECCOMP)
    assert len(filters) == (seccomp is not None)
    privileges = places(plan, c.OP_NO_NEW_PRIVS)
    assert len(privileges) == bool(process.get("noNewPrivileges")) and all(i < ready for i in privileges)
    for i in filters:
        if privileges:
            assert i == len(plan.ops) - 2, "as late as can be"
        else:
            assert i < min(user, *places(plan, c.OP_BOUNDING), user), "while there is CAP_SYS_ADMIN"


@moderate
@given(strategies.configs(), requests, hosts)
def test_nothing_but_the_identity_comes_after_ready(config: Config, request: Request, host: Host) -> None:
    plan = compiled(config, request, host)
    check_identity(plan, config["process"], request.seccomp)
    assert (len(places(plan, c.OP_WAIT)), len(places(plan, c.OP_RELEASE))) == ((1, 0) if request.waits else (0, 1))
    assert tuple(plan.passed) == ((c.SLOT_GO, c.SLOT_REPLY) if request.waits else ())
    hooks = {name: config["hooks"].get(name) or [] for name in strategies.HOOKS}
    entered = places(plan, c.OP_PIVOT, c.OP_MOVE_ROOT, c.OP_ENTER_ROOT)[0]
    begun = places(plan, c.OP_WAIT, c.OP_RELEASE)[0]
    by_name = {name: [i for i in places(plan, c.OP_HOOK) if plan.ops[i].at.startswith(f"hooks.{name}[")] for name in hooks}
    assert {name: len(found) for name, found in by_name.items() if found} == {
        name: len(hooks[name]) for name in ("createContainer", "startContainer") if hooks[name]
    }
    assert all(i < entered for i in by_name["createContainer"]) and all(i > begun for i in by_name["startContainer"])
    outside = sync(plan, c.SYNC_HOOKS)
    assert len(outside) == bool(hooks["prestart"] or hooks["createRuntime"])
    assert all(max(places(plan, *MOUNTING), default=-1) < i < entered for i in outside)
    assert all(i > point for i in by_name["createContainer"] for point in outside)


@moderate
@given(strategies.configs(), requests, hosts)
def test_the_tail_is_the_plan_s_own(config: Config, request: Request, host: Host) -> None:
    """By counting from the end, `start` finds the op that failed in a plan that it did not make."""
    request.waits, request.seccomp = True, Filter(bytes(8), 0)
    plan = compiled(config, request, host)
    config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW"}
    found = tail(config)
    assert [(op.code, op.at) for op in found] == [(op.code, op.at) for op in plan.ops[only(plan, c.OP_WAIT) + 1 :]]
    assert [op.items(0) for op in found if op.code == c.OP_EXEC] == [plan.ops[-1].items(0)]


def check_affinity(plan: Plan, affinity: Config) -> None:
    """The first before anything is entered, the last after everything; without a word of either, every CPU that there is."""
    found = {plan.ops[i].at: i for i in places(plan, c.OP_AFFINITY)}
    initial, final = (found.get(f"process.execCPUAffinity.{name}") for name in ("initial", "final"))
    assert (initial is not None, final is not None) == (bool(affinity.get("initial")), bool(affinity.get("final")))
    entered = max([0, *sync(plan, c.SYNC_CGROUP), *places(plan, c.OP_ENTER_CGROUPS, c.OP_FORK)])
    assert initial in (None, 0)
    assert final is None or entered < final < only(plan, c.OP_OPEN_ROOT)
    every = [i for i in places(plan, c.OP_AFFINITY) if plan.ops[i].strings[0] is None]
    assert len(every) == (initial is None and final is None) and all(i > entered for i in every)


KINDS = ("pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time")


@moderate
@given(strategies.process, st.lists(st.sampled_from(KINDS), unique=True), st.booleans(), st.integers(0, 9), cgroup_entries)
def test_exec_keeps_the_order(process: Config, differs: list[str], keyring: bool, preserve: int, entry: Any) -> None:
    check_process(process)
    seccomp = Filter(bytes(8), 0) if keyring else None
    plan = compile_exec(
        process, differs, id="c", new_keyring=keyring, setgroups=True, seccomp=seccomp, preserve=preserve, cgroup_entry=entry,
        linux={"personality": {"domain": "LINUX32"}} if keyring else {},
    )  # fmt: skip
    check_cgroups(plan, entry)
    check_identity(plan, process, seccomp)
    assert len(places(plan, c.OP_PERSONALITY)) == keyring
    check_affinity(plan, process.get("execCPUAffinity") or {})
    assert tuple(plan.passed) == (c.SLOT_PIDFD,)
    for i in places(plan, c.OP_JOIN):
        assert max(sync(plan, c.SYNC_CGROUP) + places(plan, c.OP_OPEN_CGROUP)) < i < only(plan, c.OP_OPEN_ROOT)
    assert len(places(plan, c.OP_JOIN)) == bool(differs)
    assert len(places(plan, c.OP_FORK)) == bool({"pid", "time"} & set(differs))
    for i in places(plan, c.OP_BECOME_ROOT):
        assert only(plan, c.OP_JOIN) < i < min([*places(plan, c.OP_FORK), only(plan, c.OP_OPEN_ROOT)])
    assert len(places(plan, c.OP_BECOME_ROOT)) == ("user" in differs)
    assert not places(plan, *MOUNTING, *LATE), "exec makes nothing in the container's root"
    assert decode(bytes(encode(plan, 1))).ops == [op_of(op) for op in plan.ops]


def test_a_plan_has_a_largest_size() -> None:
    for plan, words in (
        (Plan([ops.fork()] * (c.PLAN_MAX_OPS + 1)), "operations"),
        (Plan([ops.hostname("hostname", b"x" * c.PLAN_MAX_SIZE)]), "bytes"),
        (Plan([], preserve=0x10000), "file descriptors"),
    ):
        with pytest.raises(UnsupportedError, match=words):
            encode(plan, 1)
    assert len(decode(bytes(encode(Plan([ops.fork()] * c.PLAN_MAX_OPS, preserve=0xFFFF), 1))).ops) == c.PLAN_MAX_OPS


def test_negative_values_are_two_s_complement_and_nothing_wraps() -> None:
    (op,) = decode(bytes(encode(Plan([Op(c.OP_UMASK, "", (), (-1, -(2**63), 2**64 - 1))]), 1))).ops
    assert op.values[:3] == (2**64 - 1, 2**63, 2**64 - 1)
    for value in (2**64, -(2**64) - 1):
        with pytest.raises(Exception, match="argument|format|int too large"):
            encode(Plan([Op(c.OP_UMASK, "", (), (value,))]), 1)


def test_equal_strings_are_written_once() -> None:
    once, twice = (len(encode(Plan([ops.hide("/" + "x" * 100)] * n), 1)) for n in (1, 2))
    assert twice - once < 100


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("mounts[0]", {"mounts": [{"destination": "/a", "options": ["remount", "ro"]}]}),
        ("root.readonly", {"root": {"path": "r", "readonly": True}}),
        ("process.terminal", {"process": {"args": ["a"], "cwd": "/", "terminal": True}}),
        ("linux.devices", {"linux": {"devices": [{"type": "p", "path": "/p"}]}}),
        ("linux.rootfsPropagation", {"linux": {"rootfsPropagation": "shared"}}),
    ],
)
def test_what_needs_a_mount_namespace_says_so(name: str, change: Config) -> None:
    config: Config = {"ociVersion": "1.0.0", "root": {"path": "r"}, "process": {"args": ["a"], "cwd": "/"}, **change}
    check(config)
    with pytest.raises(ConfigError) as caught:
        compile_container(config, Request("c", "/b", "/b/r", waits=True), Host())
    [(at, message)] = caught.value.faults
    assert at == name and message.startswith("needs a mount namespace")
    config["linux"] = {**config.get("linux", {}), "namespaces": [{"type": "mount"}]}
    assert compile_container(config, Request("c", "/b", "/b/r", waits=True), Host()).ops


def test_no_mounts_on_the_hosts_own_root() -> None:
    config: Config = {"ociVersion": "1.0.0", "root": {"path": "/"}, "process": {"args": ["a"], "cwd": "/"}}
    assert compile_container(config, Request("c", "/b", "/", waits=True), Host()).ops
    config["mounts"] = [{"destination": "/a", "type": "tmpfs"}]
    with pytest.raises(ConfigError, match="the root is the host's"):
        compile_container(config, Request("c", "/b", "/", waits=True), Host())


def test_no_mounts_from_a_user_namespace_that_does_not_own_them() -> None:
    config: Config = {"ociVersion": "1.0.0", "root": {"path": "r"}, "process": {"args": ["a"], "cwd": "/"}}
    config["linux"] = {"namespaces": [{"type": "user"}]}
    config["mounts"] = [{"destination": "/a", "type": "tmpfs"}]
    with pytest.raises(ConfigError, match="needs a mount namespace") as caught:
        compile_container(config, Request("c", "/b", "/b/r", waits=True), Host())
    assert caught.value.config_path == "mounts"


@pytest.mark.parametrize("kind", ["private", "rprivate"])
def test_private_needs_a_pivot(kind: str) -> None:
    config: Config = {"ociVersion": "1.0.0", "root": {"path": "r"}, "process": {"args": ["a"], "cwd": "/"}}
    config["linux"] = {"namespaces": [{"type": "mount"}], "rootfsPropagation": kind}
    with pytest.raises(ConfigError, match="--no-pivot") as caught:
        compile_container(config, Request("c", "/b", "/b/r", waits=True, pivot=False), Host())
    assert caught.value.config_path == "linux.rootfsPropagation"
