"""From argv to the runtime's verbs: what callers really send arrives as what the verbs expect, and nothing is printed."""

from __future__ import annotations

import json
import types
from typing import Any

import pytest

from pyrunc.cli.main import main
from pyrunc.errors import ContainerMissing, PyruncError
from pyrunc.log import Context

VERBS = {
    "create": "create",
    "run": "run",
    "start": "start",
    "state": "state",
    "kill": "kill",
    "delete": "delete",
    "exec": "exec_",
    "listing": "containers",
    "plan": "plan",
}

CREATE = {
    "bundle": ".",
    "config_path": None,
    "console_socket": None,
    "pidfd_socket": None,
    "pid_file": None,
    "no_pivot": False,
    "no_new_keyring": False,
    "preserve_fds": 0,
}
RUN = CREATE | {"detach": False, "keep": False, "no_subreaper": False}
EXEC = {
    "argv": [],
    "env": [],
    "cwd": None,
    "user": None,
    "tty": False,
    "additional_gids": [],
    "caps": [],
    "no_new_privs": None,
    "process_label": None,
    "apparmor": None,
    "process_file": None,
    "console_socket": None,
    "pidfd_socket": None,
    "pid_file": None,
    "detach": False,
    "preserve_fds": 0,
    "cgroup": [],
    "ignore_paused": False,
}

STATE = {
    "ociVersion": "1.3.0",
    "id": "c1",
    "pid": 42,
    "status": "running",
    "bundle": "/b<&>",
    "rootfs": "/b/rootfs",
    "created": "2026-01-02T03:04:05.678Z",
    "annotations": {},
    "owner": "",
}


class Verbs:
    """Stands in for ``pyrunc.runtime``: records each call, then returns or raises what the test has set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[str, Context, tuple[Any, ...], dict[str, Any]]] = []
        self.results: dict[str, Any] = {}
        for module, verb in VERBS.items():
            fake = types.ModuleType(f"pyrunc.runtime.{module}")
            setattr(fake, verb, self.recorder(verb))
            monkeypatch.setitem(__import__("sys").modules, fake.__name__, fake)

    def recorder(self, verb: str) -> Any:
        def call(ctx: Context, *args: Any, **kwargs: Any) -> Any:
            self.calls.append((verb, ctx, args, kwargs))
            result = self.results.get(verb)
            if isinstance(result, BaseException):
                raise result
            return result(*args) if callable(result) else result

        return call

    @property
    def only(self) -> tuple[str, Context, tuple[Any, ...], dict[str, Any]]:
        [call] = self.calls
        return call


@pytest.fixture
def verbs(monkeypatch: pytest.MonkeyPatch) -> Verbs:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    verbs = Verbs(monkeypatch)
    verbs.results.update(run=0, exec_=0, state=STATE, containers=[], plan="mount proc")
    return verbs


SHIM = ["--root", "/run/containerd/runc/default", "--log", "{tmp}/log.json", "--log-format", "json"]

WILD = [
    # containerd's shim through go-runc
    (
        [*SHIM, "--systemd-cgroup", "create", "--bundle", "/b", "--pid-file", "/b/init.pid", "--console-socket", "/s", "c1"],
        ("create", ("c1",), CREATE | {"bundle": "/b", "pid_file": "/b/init.pid", "console_socket": "/s"}),
    ),
    (
        [*SHIM, "create", "--bundle", "/b", "--pid-file", "/p", "--no-pivot", "--no-new-keyring", "--pidfd-socket", "/pfd", "c1"],
        (
            "create",
            ("c1",),
            CREATE | {"bundle": "/b", "pid_file": "/p", "pidfd_socket": "/pfd", "no_pivot": True, "no_new_keyring": True},
        ),
    ),
    ([*SHIM, "start", "c1"], ("start", ("c1",), {})),
    ([*SHIM, "kill", "--all", "c1", "9"], ("kill", ("c1", 9), {"all": True})),
    ([*SHIM, "kill", "c1", "15"], ("kill", ("c1", 15), {"all": False})),
    ([*SHIM, "delete", "--force", "c1"], ("delete", ("c1",), {"force": True})),
    (
        [*SHIM, "exec", "--process", "/tmp/runc-process1", "--console-socket", "/s", "--detach", "--pid-file", "/b/e.pid", "c1"],
        (
            "exec_",
            ("c1", None),
            EXEC | {"process_file": "/tmp/runc-process1", "console_socket": "/s", "detach": True, "pid_file": "/b/e.pid"},
        ),
    ),
    (["--criu", "/usr/sbin/criu", *SHIM, "start", "c1"], ("start", ("c1",), {})),
    # conmon and podman
    (
        [
            "--systemd-cgroup",
            "--log-format=json",
            "--log",
            "{tmp}/oci-log",
            "--cgroup-manager",
            "disabled",
            "create",
            "--bundle",
            "/b",
        ]
        + ["--pid-file", "/p", "--preserve-fds", "38", "c1"],
        ("create", ("c1",), CREATE | {"bundle": "/b", "pid_file": "/p", "preserve_fds": 38}),
    ),
    (
        [
            "--log-format=json",
            "--log={tmp}/oci-log",
            "exec",
            "--pid-file",
            "/p",
            "--process",
            "/spec",
            "--detach",
            "--preserve-fds=2",
            "c1",
        ],
        ("exec_", ("c1", None), EXEC | {"pid_file": "/p", "process_file": "/spec", "detach": True, "preserve_fds": 2}),
    ),
    (["state", "c1"], ("state", ("c1",), {})),
    (["delete", "--force", "c1"], ("delete", ("c1",), {"force": True})),
    # CRI-O
    (
        ["--root=/run/pyrunc", "create", "--bundle", "/b", "--pid-file", "/p", "c1"],
        ("create", ("c1",), CREATE | {"bundle": "/b", "pid_file": "/p"}),
    ),
    (["--root", "/run/pyrunc", "kill", "-a", "c1", "9"], ("kill", ("c1", 9), {"all": True})),
    (["--root", "/run/pyrunc", "--systemd-cgroup", "kill", "c1", "TERM"], ("kill", ("c1", 15), {"all": False})),
    (["exec", "--process", "F", "c1"], ("exec_", ("c1", None), EXEC | {"process_file": "F"})),
    # buildah and BuildKit
    (["kill", "c1"], ("kill", ("c1", 15), {"all": False})),
    (["kill", "c1", "SIGKILL"], ("kill", ("c1", 9), {"all": False})),
    (
        ["--log", "{tmp}/l", "--log-format", "json", "run", "--bundle", "/b", "--keep", "c1"],
        ("run", ("c1",), RUN | {"bundle": "/b", "keep": True}),
    ),
    (["exec", "--process", "F", "--pid-file", "P", "c1"], ("exec_", ("c1", None), EXEC | {"process_file": "F", "pid_file": "P"})),
    # people and runc's test suite
    (
        ["run", "-d", "-b", "/b", "--no-subreaper", "c1"],
        ("run", ("c1",), RUN | {"bundle": "/b", "detach": True, "no_subreaper": True}),
    ),
    (
        ["run", "-no-subreaper", "-detach=false", "c1", "--pid-file", "p"],
        ("run", ("c1",), RUN | {"no_subreaper": True, "pid_file": "p"}),
    ),
    (["create", "c1", "-f", "/c.json", "--no-subreaper"], ("create", ("c1",), CREATE | {"config_path": "/c.json"})),
    (["delete", "c1", "-f"], ("delete", ("c1",), {"force": True})),
    (["delete", "c1"], ("delete", ("c1",), {"force": False})),
    (["kill", "c1", ""], ("kill", ("c1", 15), {"all": False})),
    (["kill", "c1", "RTMIN+3"], ("kill", ("c1", 37), {"all": False})),
    (["start", "--", "-c1"], ("start", ("-c1",), {})),
    (["exec", "c1", "ls", "-la", "--help"], ("exec_", ("c1", None), EXEC | {"argv": ["ls", "-la", "--help"]})),
    (
        [
            "exec",
            "-t",
            "-e",
            "A=1",
            "-e",
            "B=2,3",
            "-u",
            "1000:5",
            "-g",
            "7",
            "-g",
            "8",
            "-c",
            "CAP_KILL",
            "--cwd",
            "/w",
            "c1",
            "sh",
            "-c",
            "x",
        ],
        (
            "exec_",
            ("c1", None),
            EXEC
            | {
                "tty": True,
                "env": ["A=1", "B=2,3"],
                "user": (1000, 5),
                "additional_gids": [7, 8],
                "caps": ["CAP_KILL"],
                "cwd": "/w",
            }
            | {"argv": ["sh", "-c", "x"]},
        ),
    ),
    (
        ["exec", "--user=0", "--no-new-privs", "--process-label", "l", "--apparmor", "a", "--cgroup", "cpu:x", "--ignore-paused"]
        + ["--pidfd-socket", "s", "c1", "true"],
        (
            "exec_",
            ("c1", None),
            EXEC
            | {
                "user": (0, None),
                "no_new_privs": True,
                "process_label": "l",
                "apparmor": "a",
                "cgroup": ["cpu:x"],
                "ignore_paused": True,
            }
            | {"pidfd_socket": "s", "argv": ["true"]},
        ),
    ),
    (["exec", "--no-new-privs=false", "c1", "true"], ("exec_", ("c1", None), EXEC | {"no_new_privs": False, "argv": ["true"]})),
]


@pytest.mark.parametrize(("argv", "expected"), WILD, ids=[" ".join(argv[-6:]) for argv, _ in WILD])
def test_argv_seen_in_the_wild(
    verbs: Verbs, tmp_path: Any, capfd: pytest.CaptureFixture[str], argv: list[str], expected: tuple[str, Any, Any]
) -> None:
    assert main([word.replace("{tmp}", str(tmp_path)) for word in argv]) == 0
    verb, _, args, kwargs = verbs.only
    assert (verb, args, kwargs) == expected
    out, err = capfd.readouterr()
    assert err == ""
    assert (out != "") == (verb == "state")
    assert all(path.stat().st_size == 0 for path in tmp_path.iterdir())


def test_the_context_is_what_the_global_options_say(verbs: Verbs) -> None:
    assert main(["--debug", "--root", "/tmp/../r//x/", "--rootless=AUTO", "--systemd-cgroup", "start", "c1"]) == 0
    ctx = verbs.only[1]
    assert (ctx.root, ctx.root_given, ctx.debug, ctx.systemd_cgroup, ctx.cgroup_manager, ctx.rootless) == (
        ("/r/x", True, True, True, "systemd", None)
    )


@pytest.mark.parametrize(
    ("words", "manager", "systemd"),
    [
        ([], None, False),
        (["--systemd-cgroup=false"], None, False),
        (["--cgroup-manager=systemd"], "systemd", True),
        (["--cgroup-manager", "cgroupfs"], "cgroupfs", False),
        (["--systemd-cgroup", "--cgroup-manager", "disabled"], "disabled", False),
    ],
)
def test_who_makes_the_cgroups(verbs: Verbs, words: list[str], manager: str | None, systemd: bool) -> None:
    assert main([*words, "start", "c1"]) == 0
    assert (verbs.only[1].cgroup_manager, verbs.only[1].systemd_cgroup) == (manager, systemd)


@pytest.mark.parametrize("status", [0, 1, 42, 126, 137, 255])
@pytest.mark.parametrize(("verb", "argv"), [("run", ["run", "c1"]), ("exec_", ["exec", "c1", "true"])])
def test_the_program_s_status_is_ours(verbs: Verbs, verb: str, argv: list[str], status: int) -> None:
    verbs.results[verb] = status
    assert main(argv) == status


@pytest.mark.parametrize(
    "argv",
    [["exec", "c1"], ["exec", "-u", "root", "c1", "sh"], ["exec", "-u", "1:", "c1", "sh"], ["exec", "-g", "-1", "c1", "sh"]],
)
def test_errors_of_exec_itself_are_255(verbs: Verbs, capfd: pytest.CaptureFixture[str], argv: list[str]) -> None:
    assert main(argv) == 255
    assert verbs.calls == []
    assert "exec failed: " in capfd.readouterr().err


def test_a_bad_signal_reaches_no_container(verbs: Verbs, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["kill", "c1", "--all"]) == 1
    assert verbs.calls == []
    assert 'unknown signal \\"--all\\"' in capfd.readouterr().err


def test_state_is_json_of_two_spaces_without_newline(verbs: Verbs, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["state", "c1"]) == 0
    out = capfd.readouterr().out
    assert json.loads(out) == STATE
    assert out == json.dumps(STATE, indent=2).replace("<", "\\u003c").replace("&", "\\u0026").replace(">", "\\u003e")


def test_plan_prints_what_the_runtime_shows(verbs: Verbs, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "-b", "/b", "--format", "json", "--config", "c.json"]) == 0
    assert verbs.only[2:] == (("/b",), {"config_path": "c.json", "format": "json"})
    assert capfd.readouterr().out == "mount proc\n"
    assert main(["plan", "--format", "yaml"]) == 1
    assert "yaml" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("argv", "verb", "args"), [(["kill", "-a", "-r", "^web", "9"], "kill", (9,)), (["delete", "-r", "^web"], "delete", ())]
)
def test_a_regular_expression_names_many(verbs: Verbs, argv: list[str], verb: str, args: tuple[Any, ...]) -> None:
    verbs.results["containers"] = [{"id": "web1"}, {"id": "db"}, {"id": "web2"}]
    assert main(argv) == 0
    assert [call[2] for call in verbs.calls if call[0] == verb] == [("web1", *args), ("web2", *args)]


def test_a_container_that_refuses_does_not_spare_the_others(verbs: Verbs, capfd: pytest.CaptureFixture[str]) -> None:
    def delete(id: str) -> None:
        if id == "a":
            raise PyruncError("container still running")

    verbs.results.update(delete=delete, containers=[{"id": "a"}, {"id": "b"}])
    assert main(["delete", "--regex", "."]) == 1
    assert [call[2] for call in verbs.calls if call[0] == "delete"] == [("a",), ("b",)]
    assert 'msg="a: container still running"' in capfd.readouterr().err


def test_a_bad_regular_expression_deletes_nothing(verbs: Verbs, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["delete", "--regex", "("]) == 1
    assert verbs.calls == []
    assert "invalid regular expression" in capfd.readouterr().err


@pytest.mark.parametrize("verb", ["create", "run", "start", "state", "kill", "delete"])
def test_an_error_of_a_verb_is_1_and_one_line(verbs: Verbs, capfd: pytest.CaptureFixture[str], verb: str) -> None:
    verbs.results[verb] = ContainerMissing("container does not exist")
    assert main([verb, "c1"]) == 1
    out, err = capfd.readouterr()
    assert out == "" and err.count("\n") == 1 and err.endswith(' level=error msg="container does not exist"\n')
