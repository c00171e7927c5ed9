"""Where errors become words: exact bytes on stderr and in the log, exit codes, and callers that have stopped listening."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import types
from pathlib import Path
from typing import Any

import pytest

from pyrunc.cli.main import main
from pyrunc.errors import ConfigError, ContainerMissing, KernelError, PyruncError

PROJECT = Path(__file__).resolve().parents[2]
NOW = "2026-01-02T03:04:05Z"


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    instant = time.gmtime(1767323045)
    monkeypatch.setattr(time, "gmtime", lambda: instant)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make ``start`` raise what the test gives it; the call's error is `PyruncError` by default."""

    def set_outcome(outcome: BaseException) -> None:
        def start(ctx: Any, id: str) -> None:
            ctx.log.warning("a warning")
            ctx.log.debug("a detail")
            raise outcome

        fake = types.ModuleType("pyrunc.runtime.start")
        vars(fake)["start"] = start
        monkeypatch.setitem(sys.modules, "pyrunc.runtime.start", fake)

    return set_outcome


def test_without_a_log_the_record_goes_to_stderr(start: Any, capfdbinary: Any) -> None:
    start(PyruncError('no "x"\\y'))
    assert main(["start", "c1"]) == 1
    assert capfdbinary.readouterr() == (b"", f'time="{NOW}" level=error msg="no \\"x\\"\\\\y"\n'.encode())


def test_without_a_log_json_goes_to_stderr(start: Any, capfdbinary: Any) -> None:
    start(ContainerMissing("container does not exist"))
    assert main(["--log-format", "json", "start", "c1"]) == 1
    record = f'{{"level":"error","msg":"container does not exist","time":"{NOW}","code":"missing"}}\n'
    assert capfdbinary.readouterr() == (b"", record.encode())


def test_with_a_json_log_one_object_there_and_the_plain_message_on_stderr(start: Any, capfdbinary: Any, tmp_path: Path) -> None:
    error = KernelError("mounts[3] (/dev/pts): mount devpts", 22, syscall="mount", config_path="mounts[3]", hint="see <proc>")
    error.stage, error.op = "create", "mount"
    start(error)
    log = tmp_path / "log.json"
    assert main(["--log", str(log), "--log-format=json", "start", "c1"]) == 1
    record = (
        f'{{"level":"error","msg":"mounts[3] (/dev/pts): mount devpts: invalid argument","time":"{NOW}",'
        '"code":"kernel","stage":"create","op":"mount","syscall":"mount","errno":22,"config_path":"mounts[3]",'
        '"hint":"see \\u003cproc\\u003e"}\n'
    )
    assert log.read_text() == record
    assert capfdbinary.readouterr() == (b"", b"mounts[3] (/dev/pts): mount devpts: invalid argument\n")


def test_the_log_is_appended_to_and_made_with_mode_0644(start: Any, tmp_path: Path) -> None:
    log = tmp_path / "log.json"
    before = os.umask(0)
    try:
        for text in ("first", "second"):
            start(PyruncError(text))
            assert main(["--log", str(log), "--log-format=json", "start", "c1"]) == 1
    finally:
        os.umask(before)
    assert [json.loads(line)["msg"] for line in log.read_text().splitlines()] == ["first", "second"]
    assert log.stat().st_mode & 0o777 == 0o644


def test_a_text_log_holds_text(start: Any, tmp_path: Path, capfdbinary: Any) -> None:
    start(PyruncError("boom", hint="try again"))
    log = tmp_path / "log"
    assert main(["--log", str(log), "start", "c1"]) == 1
    assert log.read_text() == f'time="{NOW}" level=error msg="boom" hint="try again"\n'
    assert capfdbinary.readouterr().err == b"boom\n"


@pytest.mark.parametrize(
    ("words", "levels"),
    [
        ([], ["error"]),
        (["--log-level=error"], ["error"]),
        (["--log-level", "warning"], ["warning", "error"]),
        (["--log-level=debug"], ["warning", "debug", "error"]),
        (["--debug"], ["warning", "debug", "error"]),
        (["--debug", "--log-level=error"], ["warning", "debug", "error"]),
    ],
)
def test_levels(start: Any, tmp_path: Path, capfdbinary: Any, words: list[str], levels: list[str]) -> None:
    start(PyruncError("boom"))
    log = tmp_path / "log"
    assert main([*words, "--log", str(log), "--log-format=json", "start", "c1"]) == 1
    assert [json.loads(line)["level"] for line in log.read_text().splitlines()] == levels
    assert capfdbinary.readouterr().err == b"boom\n"


def test_a_log_that_cannot_be_opened_is_an_error(start: Any, tmp_path: Path, capfdbinary: Any) -> None:
    start(AssertionError("must not be called"))
    assert main(["--log", f"{tmp_path}/no/log", "start", "c1"]) == 1
    assert capfdbinary.readouterr().err.endswith(
        b'msg="open log file ' + os.fsencode(tmp_path) + b'/no/log: no such file or directory"\n'
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--log-format", "xml", "start", "c1"], "invalid log-format: xml (known: text, json)"),
        (["--log-level", "loud", "start", "c1"], "invalid log-level: loud (known: error, warning, debug)"),
        (
            ["--cgroup-manager", "cgmanager", "start", "c1"],
            "invalid cgroup-manager: cgmanager (known: cgroupfs, systemd, disabled)",
        ),
        (["--rootless", "maybe", "start", "c1"], 'invalid value "maybe" for --rootless: not true, false or auto'),
        (["--root", "", "start", "c1"], "--root must not be empty"),
        (["--root", "/", "start", "c1"], "--root must not be /: the names of its directories would be container IDs"),
        (["--root=//", "list"], "--root must not be /: the names of its directories would be container IDs"),
        (["--root=/x/..", "list"], "--root must not be /: the names of its directories would be container IDs"),
        (["--frobnicate", "list"], "flag provided but not defined: -frobnicate"),
        (["frobnicate"], "No help topic for 'frobnicate': there is no such command"),
        (["frobnicate", "--help"], "No help topic for 'frobnicate': there is no such command"),
        (["../errors"], "No help topic for '../errors': there is no such command"),
        (["main"], "No help topic for 'main': there is no such command"),
        (["help", "frobnicate"], "No help topic for 'frobnicate': there is no such command"),
    ],
)
def test_bad_global_usage(start: Any, capfd: Any, words: list[str], message: str) -> None:
    start(AssertionError("must not be called"))
    assert main(words) == (3 if "no such command" in message else 1)
    out, err = capfd.readouterr()
    assert err == f'time="{NOW}" level=error msg="{message.replace(chr(34), chr(92) + chr(34))}"\n'
    # Callers show all that is printed, so help is only for who has mistaken the form.
    assert out.startswith(f"Incorrect Usage. {message}\n\nNAME:\n   pyrunc - ") if "not defined" in message else out == ""


def test_bad_usage_of_a_command_shows_its_help(capfd: Any) -> None:
    assert main(["kill", "--nope", "c1"]) == 1
    out, err = capfd.readouterr()
    assert out.startswith("Incorrect Usage: flag provided but not defined: -nope\n\nNAME:\n   pyrunc kill - ")
    assert err == f'time="{NOW}" level=error msg="flag provided but not defined: -nope"\n'


def test_bad_usage_is_logged_too(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert main(["--log", str(log), "--log-format", "json", "kill"]) == 1
    assert json.loads(log.read_text())["code"] == "usage"


def test_a_bug_is_one_line_with_its_place_and_the_traceback_only_with_debug(start: Any, tmp_path: Path, capfd: Any) -> None:
    start(KeyError("x"))
    log = tmp_path / "log"
    assert main(["--log", str(log), "--log-format=json", "start", "c1"]) == 1
    record = json.loads(log.read_text())
    assert record["code"] == "internal"
    assert record["msg"].startswith("internal error: KeyError: 'x' (unit/test_cli_border.py:")
    assert capfd.readouterr().err == record["msg"] + "\n"
    assert main(["--log", str(log), "--log-format=json", "--debug", "start", "c1"]) == 1
    assert "Traceback (most recent call last)" in json.loads(log.read_text().splitlines()[-2])["msg"]


def test_an_interrupt_is_130_and_silent(start: Any, capfd: Any) -> None:
    start(KeyboardInterrupt())
    assert main(["start", "c1"]) == 130
    assert capfd.readouterr() == ("", "")


def test_every_fault_of_a_config_is_on_the_one_line(start: Any, capfd: Any) -> None:
    start(ConfigError([("process.cwd", "must be absolute"), ("root", "missing\nor\x1b[31m odd")]))
    assert main(["--log", "/dev/null", "start", "c1"]) == 1
    assert capfd.readouterr().err == "process.cwd: must be absolute; root: missing or [31m odd\n"


def snippet(code: str, *argv: str, **kwargs: Any) -> subprocess.CompletedProcess[bytes]:
    """Run `main` in an interpreter of its own, where descriptors can be closed and broken."""
    program = (
        f"import sys; sys.path.append({str(PROJECT)!r}); import os; {code}; from pyrunc.cli.main import main; os._exit(main())"
    )
    return subprocess.run([sys.executable, "-IS", "-c", program, *argv], capture_output=True, timeout=60, **kwargs)


BROKEN_STDERR = "r, w = os.pipe(); os.dup2(w, 2); os.close(r); os.close(w)"
BROKEN_STDOUT = "r, w = os.pipe(); os.dup2(w, 1); os.close(r); os.close(w)"


def test_a_closed_pipe_on_stderr_changes_nothing() -> None:
    assert snippet(BROKEN_STDERR, "frobnicate").returncode == 3
    assert snippet(BROKEN_STDERR, "version").returncode == 0


def test_a_closed_pipe_on_stdout_changes_nothing() -> None:
    done = snippet(BROKEN_STDOUT, "version")
    assert (done.returncode, done.stderr) == (0, b"")
    done = snippet(BROKEN_STDOUT, "kill")
    assert done.returncode == 1 and done.stderr.endswith(b'requires a minimum of 1 argument(s)"\n')


def test_a_full_disk_on_stdout_is_told() -> None:
    done = snippet("fd = os.open('/dev/full', os.O_WRONLY); os.dup2(fd, 1)", "version")
    assert done.returncode == 1
    assert done.stderr.endswith(b'msg="write to standard output: no space left on device"\n')


def test_closed_standard_descriptors_are_not_taken_by_the_log(tmp_path: Path) -> None:
    code = "os.closerange(0, 3)"
    done = snippet(code, "--log", f"{tmp_path}/log", "--log-format=json", "frobnicate")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"", b"")
    assert json.loads((tmp_path / "log").read_text())["msg"].startswith("No help topic")


def test_a_person_at_a_terminal_reads_the_hint() -> None:
    code = (
        "import types; m, s = os.openpty(); os.dup2(s, 2); f = types.ModuleType('x'); from pyrunc.errors import PyruncError\n"
        "def start(ctx, id): raise PyruncError('it\\nbroke', hint='mend it')\n"
        "f.start = start; sys.modules['pyrunc.runtime.start'] = f\n"
        "from pyrunc.cli.main import main; main(['start', 'c1']); print(os.read(m, 999), flush=True)"
    )
    done = snippet(code + "\nimport os", "version")
    assert done.stdout.startswith(b"b'ERRO[0000] it broke (mend it)\\r\\n'\n")


def test_python_m_pyrunc_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "pyrunc", "frobnicate", "--help"], capture_output=True, cwd=PROJECT, timeout=60)
    assert done.returncode == 3 and b"No help topic for 'frobnicate'" in done.stderr
