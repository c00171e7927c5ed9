"""CRIU's messages, and the conversation with a criu, which here is tests/fake_criu.py."""

from __future__ import annotations

import json
import os
import posix
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from pyrunc.errors import PyruncError, UnsupportedError
from pyrunc.launch import criu_messages as m
from pyrunc.launch.criu import Criu, CriuError, find, tail

FAKE = Path(__file__).resolve().parents[1] / "fake_criu.py"


def test_bytes_on_the_wire() -> None:
    assert m.encode(m.REQUEST, {"type": m.VERSION}) == b"\x08\x0a"
    assert m.encode(m.REQUEST, {"type": m.NOTIFY, "notify_success": True}) == b"\x08\x06\x18\x01"
    opts = {"images_dir_fd": 300, "log_file": "a.log", "ext_mnt": [{"key": "/a", "val": "/b"}, {"key": "/c", "val": "/d"}]}
    coded = b"\x08\xac\x02" + b"\x52\x05a.log" + b"\xba\x01\x08\x0a\x02/a\x12\x02/b" + b"\xba\x01\x08\x0a\x02/c\x12\x02/d"
    assert m.encode(m.OPTIONS, opts) == coded
    assert m.encode(m.REQUEST, {"type": 2, "opts": opts}) == b"\x08\x02\x12" + bytes([len(coded)]) + coded
    # An int32 that is negative has ten bytes.
    assert m.encode(m.OPTIONS, {"pid": -1}) == b"\x10" + b"\xff" * 9 + b"\x01"
    assert m.encode(m.OPTIONS, {"pid": None, "ext_mnt": [], "empty_ns": 0x40000000}) == b"\xb0\x02\x80\x80\x80\x80\x04"


def test_an_unknown_name_is_a_bug_of_ours() -> None:
    with pytest.raises(KeyError):
        m.encode(m.OPTIONS, {"leave_runing": True})


def test_what_is_not_known_is_skipped() -> None:
    known = m.encode(m.RESPONSE, {"type": 2, "success": True})
    more = b"\x98\x06\x01" + b"\xa2\x06\x03abc" + b"\xa9\x06" + bytes(8) + b"\xad\x06" + bytes(4)
    assert m.decode(m.RESPONSE, more + known + more) == {"type": 2, "success": True}


@pytest.mark.parametrize(
    "data",
    [b"\x08", b"\x08\x80", b"\x08" + b"\xff" * 10 + b"\x01", b"\x2a\x05abc", b"\x0a\x01a", b"\x0b", b"\x09" + bytes(8), b"\x0d"],
)
def test_malformed(data: bytes) -> None:
    with pytest.raises(ValueError):
        m.decode(m.RESPONSE, data)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        m.decode(m.RESPONSE, data)
    except ValueError:
        pass


def values(table: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    kinds = {m.INT: st.integers(-(1 << 63), (1 << 63) - 1), m.BOOL: st.booleans(), m.TEXT: st.text(max_size=200)}
    members = {name: values(kind) if isinstance(kind, dict) else kinds[kind] for name, (_, kind) in table.items()}
    return st.fixed_dictionaries({}, optional=members)


@given(values(m.REQUEST))
def test_what_is_written_is_read(message: dict[str, Any]) -> None:
    assert m.decode(m.REQUEST, m.encode(m.REQUEST, message)) == message


@pytest.mark.parametrize("table", [m.OPTIONS, m.REQUEST, m.RESPONSE, m.FEATURES], ids=["opts", "req", "resp", "features"])
def test_no_number_is_used_twice(table: dict[str, Any]) -> None:
    assert len({number for number, _ in table.values()}) == len(table)


@pytest.fixture
def fake(tmp_path: Path) -> Callable[..., tuple[Criu, Callable[[], list[dict[str, Any]]]]]:
    def make(**script: object) -> tuple[Criu, Callable[[], list[dict[str, Any]]]]:
        (tmp_path / "script").write_text(json.dumps(script))
        if not (tmp_path / "criu").exists():
            (tmp_path / "criu").symlink_to(FAKE)
        return Criu(str(tmp_path / "criu")), lambda: [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]

    return make


def test_found_in_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("none", "directory/criu", "plain", "program"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "plain/criu").write_text("")
    (tmp_path / "program/criu").symlink_to(FAKE)
    monkeypatch.setitem(posix.environ, b"PATH", f"{tmp_path}/none:{tmp_path}/directory:{tmp_path}/program".encode())
    assert find() == f"{tmp_path}/program/criu"
    monkeypatch.setitem(posix.environ, b"PATH", f"{tmp_path}/none:{tmp_path}/directory:{tmp_path}/plain".encode())
    with pytest.raises(UnsupportedError, match="^criu is not in PATH: checkpoint and restore need it$"):
        find()


def test_version(fake: Callable[..., Any]) -> None:
    fake(version=[3, 15])[0].require()
    fake(version=[4, 0])[0].require((3, 16), "--lsm-profile")
    criu = fake(version=[3, 9])[0]
    with pytest.raises(UnsupportedError) as caught:
        criu.require()
    assert caught.value.message == f"pyrunc needs criu 3.15 or newer, {criu.program} is 3.9"


def test_features(fake: Callable[..., Any]) -> None:
    fake(features=1)[0].require_feature("mem_track", "--pre-dump")
    with pytest.raises(UnsupportedError, match=r"^--lazy-pages: criu says that this kernel cannot do it \(feature lazy_pages\)$"):
        fake(features=0)[0].require_feature("lazy_pages", "--lazy-pages")


def test_notifications_in_their_order(fake: Callable[..., Any]) -> None:
    criu, log = fake(notify=["pre-dump", "status-ready", "orphan-pts-master", "post-dump"])
    seen: list[tuple[str, int, bool]] = []

    def answer(name: str) -> Callable[[int, int | None], None]:
        def note(pid: int, fd: int | None) -> None:
            seen.append((name, pid, fd is not None))
            if fd is not None:
                assert os.isatty(fd)
                os.close(fd)

        return note

    before = set(os.listdir("/proc/self/fd"))
    names = ("status-ready", "orphan-pts-master")
    response = criu.ask(m.DUMP, answers={name: answer(name) for name in names}, opts={"log_level": 4})
    assert response["success"] and seen == [("status-ready", 0, False), ("orphan-pts-master", 0, True)]
    first, *rest = log()
    assert first["opts"] == [[9, 4]]
    assert [(entry["notify"], entry["success"]) for entry in rest] == [
        *(("pre-dump", True), ("status-ready", True), ("orphan-pts-master", True), ("post-dump", True))
    ]
    # A descriptor that nobody asked for is closed too.
    fake(notify=["orphan-pts-master"])[0].ask(m.DUMP, opts={})
    assert set(os.listdir("/proc/self/fd")) == before


def test_an_answer_that_fails_is_told_to_criu(fake: Callable[..., Any]) -> None:
    criu, log = fake(notify=["setup-namespaces", "post-restore"])
    children = Path("/proc/thread-self/children")
    before = children.read_text()

    def fail(pid: int, fd: int | None) -> None:
        raise PyruncError("the hook failed")

    with pytest.raises(PyruncError, match="^the hook failed$"):
        criu.ask(m.RESTORE, answers={"setup-namespaces": fail}, opts={})
    assert log()[1:] in ([], [{"notify": "setup-namespaces", "success": False}])
    assert children.read_text() == before


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ({"fail": 13}, "criu failed: permission denied"),
        ({"end": True}, "criu ended without an answer"),
        ({"status": 3}, "criu ended with status 3"),
    ],
)
def test_failures(fake: Callable[..., Any], script: dict[str, Any], text: str) -> None:
    with pytest.raises(CriuError) as caught:
        fake(**script)[0].ask(m.DUMP, opts={})
    assert caught.value.message == text


def test_a_pre_dump_ends_as_it_likes(fake: Callable[..., Any]) -> None:
    assert fake(status=1)[0].ask(m.PRE_DUMP, opts={})["success"]


def test_a_criu_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "criu").write_text("no program")
    (tmp_path / "criu").chmod(0o755)
    with pytest.raises(PyruncError, match=f"^start {tmp_path}/criu: {tmp_path}/criu: exec format error$"):
        Criu(str(tmp_path / "criu")).require()
    (tmp_path / "criu").write_text("#!/bin/sh\nprintf garbage >&3\n")
    with pytest.raises(PyruncError, match="^criu's answer is not understood: "):
        Criu(str(tmp_path / "criu")).require()


def test_the_end_of_the_log(tmp_path: Path) -> None:
    assert tail(str(tmp_path / "none")) == ""
    (tmp_path / "log").write_text(
        "(00.1) nothing\n" * 10000 + "(00.2) Error (criu/a.c:1): first\n(00.3) Error (criu/b.c:2): second\nnot an Error: no\n"
    )
    assert tail(str(tmp_path / "log")) == "(criu/a.c:1): first; (criu/b.c:2): second"
