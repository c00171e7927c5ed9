"""/proc/self/mountinfo: what `pyrunc.kernel.host` reads in it."""

from __future__ import annotations

import pytest

from pyrunc.kernel.host import mounts, parse_mounts

TAIL = b" - tmpfs none rw\n"


@pytest.mark.parametrize(
    ("written", "point"),
    [
        (b"/", "/"),
        (b"/a\\040b", "/a b"),
        (b"/t\\011n\\012s\\134040\\040", "/t\tn\ns\\040 "),
        (b"/\xc3\xa9\xff", "/\u00e9\udcff"),
        (b"/cr\rff\x0cls\xe2\x80\xa8", "/cr\rff\x0cls\u2028"),
        (b"/a//deleted", "/a//deleted"),
    ],
)
def test_mount_points_are_as_the_kernel_wrote_them(written: bytes, point: str) -> None:
    """Of what other parsers split lines at only the newline is escaped."""
    (mount,) = parse_mounts(b"36 35 98:0 /mnt1 " + written + b" rw,noatime" + TAIL)
    assert (mount.id, mount.point, mount.kind) == (36, point, "tmpfs")


def test_optional_fields_and_order() -> None:
    lines = b"9 1 0:1 / /b rw shared:1 master:2" + TAIL + b"8 1 0:1 / /a rw unbindable" + TAIL
    assert [(mount.id, mount.point) for mount in parse_mounts(lines)] == [(9, "/b"), (8, "/a")]
    assert parse_mounts(b"") == []


def test_our_own() -> None:
    assert {mount.kind for mount in mounts() if mount.point == "/proc"} == {"proc"}
