"""``linux.cgroupsPath`` for systemd, and ``org.systemd.property`` annotations."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from pyrunc.cgroups.systemd_names import expand_slice, unit_of
from pyrunc.cgroups.systemd_values import parse, properties_of
from pyrunc.errors import ConfigError


@pytest.mark.parametrize(
    "path, user, expected",
    [
        ("", False, ("pyrunc-c1.scope", "system.slice", "/system.slice/pyrunc-c1.scope")),
        ("", True, ("pyrunc-c1.scope", "user.slice", "/user.slice/pyrunc-c1.scope")),
        ("machine.slice:libpod:abc", False, ("libpod-abc.scope", "machine.slice", "/machine.slice/libpod-abc.scope")),
        (":docker:abc", False, ("docker-abc.scope", "system.slice", "/system.slice/docker-abc.scope")),
        ("a-b-c.slice:cri:x", True, ("cri-x.scope", "a-b-c.slice", "/a.slice/a-b.slice/a-b-c.slice/cri-x.scope")),
        ("-.slice:p:x", False, ("p-x.scope", "-.slice", "/p-x.scope")),
        ("::x", False, ("-x.scope", "system.slice", "/system.slice/-x.scope")),
        ("a.slice:p:a-b.slice", False, ("a-b.slice", "a.slice", "/a.slice/a-b.slice")),
        ("user.slice::a-b.slice", False, ("a-b.slice", "user.slice", "/a.slice/a-b.slice")),
    ],
)
def test_units(path: str, user: bool, expected: tuple[str, str, str]) -> None:
    unit = unit_of(path, "c1", user=user)
    assert (unit.name, unit.slice, unit.path) == expected
    assert unit.is_slice == expected[0].endswith(".slice")


@pytest.mark.parametrize(
    "path, words",
    [
        ("/a/b", 'expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, got "/a/b" instead'),
        ("a:b", 'expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, got "a:b" instead'),
        ("a.slice:b:c:d", 'got "a.slice:b:c:d" instead'),
        ("../../x", 'got "../../x" instead'),
        ("system:p:x", "invalid slice name: system"),
        (".slice:p:x", "invalid slice name: .slice"),
        ("-:p:x", "invalid slice name: -"),
        ("a--b.slice:p:x", "invalid slice name: a--b.slice"),
        ("-a.slice:p:x", "invalid slice name: -a.slice"),
        ("a-.slice:p:x", "invalid slice name: a-.slice"),
        ("../a.slice:p:x", "invalid slice name: ../a.slice"),
        (":p:x/../y", '"p-x/../y.scope" cannot be a systemd unit\'s name'),
        (":p:x y", "cannot be a systemd unit's name"),
        (":p:x\n", "cannot be a systemd unit's name"),
        (":p:\u00e4", "cannot be a systemd unit's name"),
        (":p:" + "x" * 250, "cannot be a systemd unit's name: at most 255"),
        (":p:a/b.slice", "invalid slice name: a/b.slice"),
        ("a b.slice:p:x", "cannot be a systemd unit's name"),
        ("\udcff.slice:p:x", "cannot be a systemd unit's name"),
        (":p:\udcff", "cannot be a systemd unit's name"),
        (":p:-a.slice", "invalid slice name: -a.slice"),
    ],
)
def test_no_units(path: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        unit_of(path, "c1", user=False)
    assert words in caught.value.message and caught.value.config_path == "linux.cgroupsPath"


def test_an_id_that_no_unit_can_have() -> None:
    with pytest.raises(ConfigError, match="cannot be a systemd unit"):
        unit_of("", "a+b", user=False)


@settings(deadline=None)
@given(st.lists(st.text("abc_", min_size=1, max_size=10), min_size=1, max_size=20))  # 255 bytes are the most
def test_a_slice_lies_below_those_that_begin_its_name(parts: list[str]) -> None:
    path = expand_slice("-".join(parts) + ".slice").split("/")
    assert path[0] == "" and len(path) == len(parts) + 1
    for above, below in zip(path[1:], path[2:], strict=False):
        assert below.startswith(above.removesuffix(".slice") + "-")


@pytest.mark.parametrize(
    "text, expected",
    [
        ("true", ("b", True)),
        (" false ", ("b", False)),
        ("42", ("i", 42)),
        ("-0x10", ("i", -16)),
        ("010", ("i", 10)),
        ("1.5", ("d", 1.5)),
        ("1e3", ("d", 1000.0)),
        ("uint64 18446744073709551615", ("t", 18446744073709551615)),
        ("uint32 7", ("u", 7)),
        ("int16 -7", ("n", -7)),
        ("byte 0xff", ("y", 255)),
        ("double 2", ("d", 2.0)),
        ("boolean true", ("b", True)),
        ("@t 5", ("t", 5)),
        ("'a b'", ("s", "a b")),
        ('"it\'s"', ("s", "it's")),
        (r"'a\'b\\\n\u00e4\U0001f600'", ("s", "a'b\\\nä😀")),
        ("''", ("s", "")),
        ("objectpath '/a'", ("o", "/a")),
        ("['a', 'b']", ("as", ["a", "b"])),
        ("[uint32 1, 2]", ("au", [1, 2])),
        ("@as []", ("as", [])),
        ("@au [1,2]", ("au", [1, 2])),
        ("[['a'],[]]", ("aas", [["a"], []])),
        ("('a', uint64 1)", ("(st)", ("a", 1))),
        ("('a',)", ("(s)", ("a",))),
        ("[('/dev/null', 'rw')]", ("a(ss)", [("/dev/null", "rw")])),
        ("@a(st) [('/', 1)]", ("a(st)", [("/", 1)])),
        ("<'x'>", ("v", ("s", "x"))),
        ("{'a': <1>}", ("a{sv}", [("a", ("i", 1))])),
        ("@a{sv} {}", ("a{sv}", [])),
    ],
)
def test_values(text: str, expected: tuple[str, Any]) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "no value"),
        ("hello", "'hello' is no value"),
        ("'open", "unended text"),
        ("'a' 'b'", "after the value"),
        ("4294967296", "out of the range of i"),
        ("uint32 -1", "out of the range of u"),
        ("byte 256", "out of the range of y"),
        ("uint64 1.5", "1.5 is no t"),
        ("@t 'x'", "text where t is expected"),
        ("boolean 1", "1 is no b"),
        ("1_000", "is no value"),
        ("[]", "an empty array needs its type"),
        ("{}", "an empty dictionary needs its type"),
        ("[1, 'a']", "text where i is expected"),
        ("[1", "expected"),
        ("[1 2]", "',' expected"),
        ("(1, 2", "expected"),
        ("()", "fewer values than a tuple has"),
        ("@(st) ('a',)", "fewer values than (st) has"),
        ("@(s) ('a', 1)", "more values than (s) has"),
        ("@s [1]", "an array where s is expected"),
        ("@as 'a'", "text where as is expected"),
        ("@q", "no value"),
        ("@z 1", "no D-Bus type"),
        ("@ss 'a'", "is not one type"),
        ("@a 1", "array of nothing"),
        ("@(s 1", "open bracket"),
        ("<1", "'>' expected"),
        (r"'\u00'", "is no character"),
        (r"'\ud800'", "is no character"),
        (r"'\u0000'", "a NUL in a text"),
        ("'\udcff'", "is no text"),
        ("[" * 100, "too deep"),
    ],
)
def test_no_values(text: str, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse(text)
    assert words in str(caught.value)


@settings(deadline=None)
@given(st.text("@astv(){}[]<>'\"\\:, 10-.xbyte", max_size=30))
def test_any_text_is_a_value_or_a_value_error(text: str) -> None:
    try:
        kind, _ = parse(text)
    except ValueError:
        return
    assert kind


def test_annotations() -> None:
    annotations = {
        "org.opencontainers.image.author": "me",
        "org.systemd.property.CollectMode": "'inactive-or-failed'",
        "org.systemd.property.TimeoutStopSec": "uint64 3",
        "org.systemd.property.RuntimeMaxSec": "1.5",
        "org.systemd.property.TimeoutStopUSec": "uint64 7",
    }
    assert properties_of(annotations) == [
        ("CollectMode", ("s", "inactive-or-failed")),
        ("TimeoutStopUSec", ("t", 3_000_000)),
        ("RuntimeMaxUSec", ("t", 1_500_000)),
        ("TimeoutStopUSec", ("t", 7)),
    ]


@pytest.mark.parametrize(
    "name, value, words",
    [
        ("", "1", "name incorrect: too short"),
        ("Ab", "1", "name incorrect: too short"),
        ("Abc1", "1", "name incorrect: contains non-alphabetic character"),
        ("A.b.c", "1", "name incorrect: contains non-alphabetic character"),
        ("Ä" * 4, "1", "name incorrect: contains non-alphabetic character"),
        ("CPUWeight", "sixty", "sixty value parse error: 'sixty' is no value"),
        ("TimeoutStopSec", "'5'", "value parse error: not a number"),
        ("TimeoutStopSec", "true", "value parse error: not a number"),
        ("TimeoutStopSec", "-1", "value parse error: not a time"),
        ("TimeoutStopSec", "double inf", "value parse error: not a time"),
        ("TimeoutStopSec", "double nan", "value parse error: not a time"),
        ("TimeoutStopSec", "uint64 18446744073709551615", "value parse error: not a time"),
    ],
)
def test_no_annotations(name: str, value: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        properties_of({"org.systemd.property." + name: value})
    assert words in caught.value.message and f"annotations[org.systemd.property.{name}]" in caught.value.message
