"""The bytes of records: JSON as Go writes it, text on one line, short enough for a caller's single read."""

from __future__ import annotations

import errno
import json
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from pyrunc import daemons
from pyrunc.cli.options import parse
from pyrunc.errors import KernelError, PyruncError, UsageError
from pyrunc.lines import _quote_text, quote
from pyrunc.log import DEBUG, WARNING, Log
from tests.lifecycle.sockets import fill

ANY_TEXT = st.text(alphabet=st.characters(codec="utf-8") | st.characters(categories=["Cs"]), max_size=60)


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("", '""'),
        ('a "b" \\', '"a \\"b\\" \\\\"'),
        ("\n\r\t\b\f\0\x1b\x7f", '"\\n\\r\\t\\b\\f\\u0000\\u001b\x7f"'),
        ("<a&b>", '"\\u003ca\\u0026b\\u003e"'),
        ("\u2028\u2029é漢😀", '"\\u2028\\u2029é漢😀"'),
        ("bytes \udcff\udc80", '"bytes \ufffd\ufffd"'),
    ],
)
def test_json_strings_are_those_of_go(text: str, quoted: str) -> None:
    assert quote(text) == quoted


@settings(max_examples=200, deadline=None)
@given(ANY_TEXT)
def test_a_json_string_is_read_back_and_is_utf8(text: str) -> None:
    quoted = quote(text)
    assert "\n" not in quoted
    quoted.encode()
    if not re.search("[\ud800-\udfff]", text):
        assert json.loads(quoted) == text


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("plain é 漢 <&>", '"plain é 漢 <&>"'),
        ('"\\', '"\\"\\\\"'),
        ("\a\b\t\n\v\f\r", '"\\a\\b\\t\\n\\v\\f\\r"'),
        ("\0\x1b\x7f", '"\\x00\\x1b\\x7f"'),
        ("\x80\u200b\U000e0001", '"\\u0080\\u200b\\U000e0001"'),
        ("\udcff\udc80 \ud800", '"\\xff\\x80 \\ud800"'),
    ],
)
def test_text_strings_are_those_of_go(text: str, quoted: str) -> None:
    assert _quote_text(text) == quoted


@settings(max_examples=200, deadline=None)
@given(ANY_TEXT)
def test_a_text_string_is_one_printable_line(text: str) -> None:
    assert _quote_text(text).isprintable()


@pytest.fixture(params=[False, True], ids=["text", "json"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Log:
    log = Log()
    log.configure(None, json=request.param)
    return log


@pytest.mark.parametrize("filler", ["x", "é", '"', "<", "\0", "\udcff", "\ud800", "😀", "\U000e0001"])
def test_stderr_gets_less_than_one_read_of_conmon_s(log: Log, capfdbinary: pytest.CaptureFixture[bytes], filler: str) -> None:
    log.error(PyruncError("create failed: " + filler * 20000 + ": no such file or directory", hint="h" * 9000))
    err = capfdbinary.readouterr().err
    assert len(err) < 8191
    assert err.count(b"\n") == 1
    assert b"create failed: " in err and b": no such file or directory" in err
    if log.json:
        assert json.loads(err)["level"] == "error"


def test_the_file_gets_all_of_it(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    log = Log()
    log.configure(str(tmp_path / "log"), json=True)
    log.error(PyruncError("x" * 20000))
    assert json.loads((tmp_path / "log").read_text())["msg"] == "x" * 20000
    assert len(capfdbinary.readouterr().err) < 8191


@settings(max_examples=50, deadline=None)
@given(ANY_TEXT)
def test_no_message_breaks_the_log(message: str) -> None:
    read, write = os.pipe()
    try:
        log = Log()
        log.fd, log.json = write, True
        log.error(PyruncError(message))
        data = os.read(read, 1 << 16)
    finally:
        os.close(read)
        os.close(write)
    assert data.count(b"\n") == 1
    assert set(json.loads(data)) == {"level", "msg", "time", "code"}


def test_times_are_rfc_3339_in_utc(capfd: pytest.CaptureFixture[str]) -> None:
    Log().error(PyruncError("x"))
    assert re.fullmatch(r'time="\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ" level=error msg="x"\n', capfd.readouterr().err)


def test_by_default_only_errors_are_told(capfd: pytest.CaptureFixture[str]) -> None:
    log = Log()
    log.warning("w")
    log.debug("d")
    assert capfd.readouterr().err == ""
    log.configure(level=WARNING)
    log.warning("w")
    log.debug("d")
    assert [line.split(" level=")[1] for line in capfd.readouterr().err.splitlines()] == ['warning msg="w"']
    log.configure(level=DEBUG)
    log.debug("d")
    assert ' level=debug msg="d" func="test_by_default_only_errors_are_told()" file="' in capfd.readouterr().err


def test_a_notice_is_a_plain_line_at_any_level(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log = Log()
    log.configure(str(tmp_path / "log"))
    log.notice("load container x:\ndamaged")
    assert capfd.readouterr().err == "load container x: damaged\n"
    assert (tmp_path / "log").read_bytes() == b""


def test_the_log_s_descriptor_is_not_inherited(tmp_path: Path) -> None:
    log = Log()
    log.configure(str(tmp_path / "log"))
    assert log.fd is not None and not os.get_inheritable(log.fd)
    os.close(log.fd)


def test_debug_names_the_place(tmp_path: Path) -> None:
    """As logrus's keys; of an error that where it was raised, in all other records that of the caller."""
    log = Log()
    log.configure(str(tmp_path / "log"), json=True, level=DEBUG)
    with pytest.raises(UsageError) as caught:
        parse([], ["--nope"])
    log.error(caught.value)
    compile_me = compile("log.warning('w')", "/any/where/pyrunc/cli/some.py", "exec")
    exec(compile_me, {"log": log})
    error, warning = map(json.loads, (tmp_path / "log").read_text().splitlines())
    assert error["func"] == "parse()" and re.fullmatch(r"pyrunc/cli/options\.py:\d+", error["file"])
    assert (warning["func"], warning["file"]) == ("<module>()", "pyrunc/cli/some.py:1")


def test_without_debug_there_are_no_places(tmp_path: Path) -> None:
    log = Log()
    log.configure(str(tmp_path / "log"), json=True, level=WARNING)
    log.warning("w")
    with pytest.raises(UsageError) as caught:
        parse([], ["--nope"])
    log.error(caught.value)
    assert not [line for line in (tmp_path / "log").read_text().splitlines() if '"file"' in line or '"func"' in line]


def test_a_person_at_a_terminal_reads_short_lines(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("pyrunc.log.os.isatty", lambda fd: True)
    log = Log()
    log.configure(level=DEBUG)
    log.warning("w")
    log.debug("d")
    log.error(PyruncError("e"))
    assert capfd.readouterr().err == "WARN[0000] w\nDEBU[0000] d\nERRO[0000] e\n"


@pytest.mark.parametrize("form", ["{}/log", "file:{}/log"])
def test_a_file_may_be_called_one(tmp_path: Path, form: str) -> None:
    log = Log()
    log.configure(form.format(tmp_path))
    log.error(PyruncError("e"))
    assert (tmp_path / "log").read_text().endswith(' msg="e"\n')


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """What listens where journald and syslogd would."""
    path = str(tmp_path / "s")
    monkeypatch.setattr(daemons, "SOCKETS", {"journald": path, "syslog": path})
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(path)
        listening.settimeout(20)
        yield listening


def test_journald_gets_fields(daemon: socket.socket, capfd: pytest.CaptureFixture[str]) -> None:
    log = Log()
    log.configure("journald:me", json=True, level=WARNING)
    log.error(PyruncError("two\nlines", hint="a\0b"))
    fields = b"MESSAGE=two lines\nPRIORITY=3\nSYSLOG_IDENTIFIER=me\nPYRUNC_CODE=error\nPYRUNC_HINT=a b\n"
    assert daemon.recv(4096) == fields
    log.warning("w")
    assert daemon.recv(4096) == b"MESSAGE=w\nPRIORITY=4\nSYSLOG_IDENTIFIER=me\n"
    assert capfd.readouterr().err == "two lines\n"


def test_syslog_gets_a_line(daemon: socket.socket) -> None:
    log = Log()
    log.configure("syslog:me", level=DEBUG)
    log.debug("x" * 100_000)
    log.error(PyruncError("bad \udcff bytes"))
    assert daemon.recv(1 << 17) == b"<31>me: " + b"x" * daemons.MESSAGE_BYTES
    assert daemon.recv(4096) == b"<27>me: bad \xff bytes"


def test_a_name_is_not_needed(daemon: socket.socket) -> None:
    log = Log()
    log.configure("syslog:")
    log.error(PyruncError("e"))
    assert daemon.recv(4096) == b"<27>pyrunc: e"


def test_a_daemon_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemons, "SOCKETS", {"journald": str(tmp_path / "none")})
    with pytest.raises(KernelError) as caught:
        Log().configure("journald:me")
    assert caught.value.message == f"open log journald: connect to {tmp_path}/none: no such file or directory"


def test_a_daemon_that_reads_nothing_is_not_waited_for(daemon: socket.socket) -> None:
    log = Log()
    log.configure("syslog:me")
    sent = fill(daemon)
    log.error(PyruncError("lost"))
    assert [daemon.recv(4096) for _ in range(sent)] == [b"full"] * sent
    log.error(PyruncError("kept"))
    assert daemon.recv(4096) == b"<27>me: kept"


def test_an_error_is_told_where_no_file_can_be_opened(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What says it in full is loaded then."""
    monkeypatch.setattr("builtins.__import__", _no_file(__import__))
    Log().error(PyruncError("open /x: too many open files"))
    assert capfd.readouterr().err == "open /x: too many open files\n"


def _no_file(plain: Any) -> Any:
    def load(name: str, *rest: Any) -> Any:
        if name == "pyrunc.lines":
            raise OSError(errno.EMFILE, "Too many open files")
        return plain(name, *rest)

    return load
