"""``pyrunc plan --format binary``, and the bench's floor that carries such a plan out without Python."""

from __future__ import annotations

import os
import pty
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pyrunc.cli.main import main
from pyrunc.launch import child
from pyrunc.plan import opcodes as c, ops
from pyrunc.plan.encode import Plan, encode
from pyrunc.plan.ops import Op
from tests.conftest import PROJECT, Bundle, Cli

HEADER = struct.Struct("=IHHIIIiHH12s")
OP_SIZE = 72

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


def codes(plan: bytes) -> list[int]:
    count = HEADER.unpack_from(plan)[4]
    return [int(struct.unpack_from("=H", plan, HEADER.size + OP_SIZE * i)[0]) for i in range(count)]


@pytest.fixture
def binary(cli: Cli, tmp_path: Path) -> Callable[..., bytes]:
    """The plan of a bundle, as it comes out of the command."""

    def make(bundle: Bundle, *options: str) -> bytes:
        with open(tmp_path / "out", "wb") as out:
            command = ("--cgroup-manager", "disabled", "plan", "--format", "binary", "--bundle", bundle)
            cli(*command, *options, check=True, stdout=out)
        return (tmp_path / "out").read_bytes()

    return make


def test_it_is_the_plan_of_run_for_any_parent(bundle: Callable[..., Bundle], binary: Callable[..., bytes]) -> None:
    plan = binary(bundle())
    magic, version, preserve, size, _, _, parent, passed, _, _ = HEADER.unpack_from(plan)
    assert (magic, version, preserve, size, parent, passed) == (c.PLAN_MAGIC, c.PLAN_VERSION, 0, len(plan), 0, 0)
    assert codes(plan)[-1] == c.OP_EXEC
    assert not {c.OP_WAIT, c.OP_OPEN_CGROUP, c.OP_ENTER_CGROUPS} & set(codes(plan))


def test_every_byte_comes_out(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    plan = bytearray(range(256)) + "\u00fc\u20ac".encode() + b"\xed\xb2\x80\n"  # and what looks like a surrogate
    monkeypatch.setattr("pyrunc.runtime.plan.encoded", lambda *args, **kwargs: plan)
    assert main(["plan", "--format", "binary"]) == 0
    assert capfdbinary.readouterr().out == plan


def test_a_path_need_not_be_text(bundle: Callable[..., Bundle], binary: Callable[..., bytes]) -> None:
    plain = bundle()
    plain.path = plain.path.rename(f"{plain.path}\udcff")
    plan = binary(plain)
    assert os.fsencode(plain.path / "rootfs") + b"\0" in plan
    assert HEADER.unpack_from(plan)[3] == len(plan)


def test_another_config_is_read(bundle: Callable[..., Bundle], binary: Callable[..., bytes], tmp_path: Path) -> None:
    plain = bundle("first")
    other = tmp_path / "other.json"
    other.write_text((plain.path / "config.json").read_text().replace('"first"', '"second"'))
    assert b"second\0" in binary(plain, "--config", str(other))
    assert b"second\0" not in binary(plain)


def test_a_terminal_is_spared(bundle: Callable[..., Bundle], pyrunc: Path) -> None:
    master, slave = pty.openpty()
    try:
        command = [str(pyrunc), "plan", "--format", "binary", "--bundle", str(bundle())]
        done = subprocess.run(command, stdout=slave, stderr=subprocess.PIPE, text=True, timeout=60)
        assert done.returncode == 1
        assert "a binary plan is not written to a terminal" in done.stderr
    finally:
        os.close(master)
        os.close(slave)


@pytest.mark.parametrize("form", ["yaml", "BINARY", "bin"])
def test_other_formats_are_refused(form: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--format", form]) == 1
    assert f"invalid format option: {form} (known: text, json, binary)" in capfd.readouterr().err


def test_a_bad_config_gives_no_byte(bundle: Callable[..., Bundle], cli: Cli) -> None:
    wrong = bundle()
    wrong.config["process"]["args"] = []
    done = cli("plan", "--format", "binary", "--bundle", wrong.write(), check=1)
    assert done.stdout == "" and "process.args" in done.stderr


# --- the floor -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def floor(session_dir: Path) -> Path:
    if not shutil.which("gcc"):
        pytest.skip("gcc is missing: apt-get install gcc")
    native = PROJECT / "native"
    program, source = session_dir / "floor", PROJECT / "conformance/floor.c"
    shims = [native / "shim" / name for name in ("process.c", "memfd.c", "channel.c")]
    flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-static", f"-I{native}"]
    subprocess.run(["gcc", *flags, "-o", program, source, *shims], check=True)
    return program


@pytest.fixture
def carry_out(floor: Path, tmp_path: Path) -> Run:
    def run(plan: bytes, init: str = child.PROGRAM) -> subprocess.CompletedProcess[bytes]:
        path = tmp_path / "plan"
        path.write_bytes(plan)
        return subprocess.run([floor, init, path], capture_output=True, stdin=subprocess.DEVNULL, timeout=60)

    return run


def execute(*argv: str) -> list[Op]:
    return [ops.lookup("process.args[0]", argv[0], "/bin:/usr/bin"), ops.release(), ops.execute("process.args", argv, [])]


@pytest.mark.needs_root
def test_a_container_runs_without_python(bundle: Callable[..., Bundle], binary: Callable[..., bytes], carry_out: Run) -> None:
    done = carry_out(binary(bundle("sh", "-c", "echo pid $$; hostname; grep -c . /proc/self/cgroup >/dev/null; exit 7")))
    assert (done.returncode, done.stdout, done.stderr) == (7, b"pid 1\nrunc\n", b"")


@pytest.mark.needs_root
def test_a_filter_comes_with_the_plan(bundle: Callable[..., Bundle], binary: Callable[..., bytes], carry_out: Run) -> None:
    filtered = bundle("mkdir", "/tmp/x")
    filtered.config["root"]["readonly"] = False
    rules = [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 42}]
    filtered.config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}
    done = carry_out(binary(filtered.write()))
    assert done.returncode == 1 and b"No message of desired type" in done.stderr


@pytest.mark.needs_root
def test_a_terminal_is_not_for_the_floor(bundle: Callable[..., Bundle], binary: Callable[..., bytes], carry_out: Run) -> None:
    wants = bundle()
    wants.config["process"]["terminal"] = True
    done = carry_out(binary(wants.write()))
    assert (done.returncode, done.stderr) == (1, b"floor: pyrunc-init: a terminal: not for this program\n")


def test_the_end_is_told_as_a_shell_tells_it(carry_out: Run) -> None:
    assert carry_out(bytes(encode(Plan(execute("sh", "-c", "exit 3")), 0))).returncode == 3
    assert carry_out(bytes(encode(Plan(execute("sh", "-c", "kill -9 $$")), 0))).returncode == 128 + 9


def test_points_are_answered(carry_out: Run) -> None:
    points = [ops.sync(point) for point in (c.SYNC_CGROUP, c.SYNC_HOOKS, c.SYNC_READY)]
    assert carry_out(bytes(encode(Plan([*points, *execute("true")]), 0))).returncode == 0


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (Plan(execute("absent")), "floor: op 0: find executable in $PATH: No such file or directory"),
        (Plan(execute("true"), passed=[c.SLOT_GO, c.SLOT_REPLY]), "wants file descriptors: not one of `run`"),
        (Plan(execute("true"), preserve=2), "wants file descriptors: not one of `run`"),
    ],
    ids=["executable missing", "of create", "preserved"],
)
def test_what_does_not_become_a_container_is_told(carry_out: Run, plan: Plan, said: str) -> None:
    done = carry_out(bytes(encode(plan, 0)))
    assert done.returncode == 1 and said in done.stderr.decode()


def test_a_plan_for_another_parent_is_refused_by_its_executor(carry_out: Run) -> None:
    done = carry_out(bytes(encode(Plan(execute("true")), 1)))
    assert done.returncode == 1 and b"ended at op 0 of 3 with status 125" in done.stderr


@pytest.mark.parametrize("damage", [b"", b"no plan at all", "cut", "magic"], ids=["empty", "text", "cut", "magic"])
def test_what_is_no_plan_is_refused(carry_out: Run, damage: bytes | str) -> None:
    whole = bytes(encode(Plan(execute("true")), 0))
    plan = {"cut": whole[:-1], "magic": b"\0" + whole[1:]}[damage] if isinstance(damage, str) else damage
    done = carry_out(plan)
    assert done.returncode == 1 and done.stderr.endswith(b": no plan\n")


def test_a_missing_executor_is_told(carry_out: Run) -> None:
    done = carry_out(bytes(encode(Plan(execute("true")), 0)), "/absent")
    assert (done.returncode, done.stderr) == (1, b"floor: /absent: No such file or directory\n")
