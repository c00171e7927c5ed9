"""What a failed op is called: one printable line, whatever was said, in the words that callers match."""

from __future__ import annotations

import errno
import json
import re

import pytest
from hypothesis import given, settings, strategies as st

from pyrunc.errors import ExecutableError, HookError, PyruncError, SetupError, strerror
from pyrunc.plan import opcodes as c, ops
from pyrunc.plan.encode import Message, Plan
from pyrunc.plan.failure import failure
from pyrunc.plan.ops import Op
from pyrunc.plan.show import one_line, show
from tests.golden.samples import SAMPLES

OPS = list(SAMPLES.values())
HOSTILE = b"two\nlines\r\0 \x1b[31m\xff\xe2\x80\xae\xc3 \xed\xa0\x80\t" * 90
SPECIAL = {c.OP_HOOK: HookError, c.OP_LOOKUP: ExecutableError, c.OP_EXEC: ExecutableError}


def message(op: Op, place: int, number: int, detail: str = "") -> str:
    return failure(op, place, number, detail).message


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_every_op_says_what_failed_at_every_place(op: Op) -> None:
    for place, words in c.PLACES.items():
        error = failure(op, place, errno.EACCES, "")
        assert type(error) is SPECIAL.get(op.code, SetupError)
        text = error.message
        assert text.isprintable() and "  " not in text and ": :" not in text and text == text.strip() and not text.endswith(":")
        assert (error.op, error.stage, error.errno) == (op.name.lower(), "setup", errno.EACCES)
        assert error.config_path == (op.at or None)
        if type(error) is SetupError:
            assert text.startswith(op.at or op.name.lower())
            assert text.endswith(": permission denied")
            mounting = place in (c.AT_FSMOUNT, c.AT_FSCREATE, c.AT_ATTACH) and op.code in (c.OP_MOUNT, c.OP_MOUNT_DATA)
            assert words in text or mounting


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_no_detail_breaks_the_line(op: Op) -> None:
    data = bytes(c.PLAN_MESSAGE_HEAD) + HOSTILE[: c.PLAN_DETAIL]
    for place in (*c.PLACES, 999):
        text = message(op, place, errno.EIO, Message(data).detail)
        assert text.isprintable() and len(text) < 16384
        text.encode()


def test_no_name_breaks_the_line() -> None:
    hostile = HOSTILE.replace(b"\0", b"")
    for op in (
        ops.hostname("hostname", hostile),
        ops.mount("mounts[0]", hostile, hostile, [], 0, [], 0),
        ops.lookup("process.args[0]", hostile, b"/"),
        ops.execute("process.args", [hostile], []),
        ops.hook("hooks.startContainer[0]", hostile, [hostile], [], ("", ""), 0),
    ):
        for place in c.PLACES:
            text = message(op, place, errno.ENOENT)
            assert text.isprintable()
            text.encode()


@settings(deadline=None)
@given(st.binary(max_size=300), st.sampled_from(OPS), st.sampled_from(list(c.PLACES)), st.integers(0, 200))
def test_any_bytes_of_a_child_are_a_line(detail: bytes, op: Op, place: int, number: int) -> None:
    assert message(op, place, number, Message(bytes(c.PLAN_MESSAGE_HEAD) + detail).detail).isprintable()


PTS = ops.mount("mounts[3]", "devpts", "/dev/pts", ["source=devpts"], 0, [], 0)
OVERLAY = ops.mount_data("mounts[4]", "overlay", "/o", "lowerdir=/l", "overlay", 0, [], 0)


@pytest.mark.parametrize(
    ("op", "place", "number", "detail", "text"),
    [
        (PTS, c.AT_FSMOUNT, errno.EINVAL, "", "mounts[3] (/dev/pts): mount devpts: invalid argument"),
        (PTS, c.AT_ATTACH, errno.ENOTDIR, "", "mounts[3] (/dev/pts): mount devpts: not a directory"),
        (OVERLAY, c.AT_FSMOUNT, errno.EPERM, "", "mounts[4] (/o): mount overlay: operation not permitted"),
        (
            PTS, c.AT_FSCONFIG, errno.EINVAL, "gid=x: devpts: Bad value for 'gid'\n",
            "mounts[3] (/dev/pts): set mount option gid=x: devpts: Bad value for 'gid': invalid argument",
        ),
        (
            PTS, c.AT_FSCREATE, errno.EINVAL, "devpts: no instance\n",
            "mounts[3] (/dev/pts): mount devpts: devpts: no instance: invalid argument",
        ),
        (PTS, c.AT_FSOPEN, errno.ENODEV, "devpts", "mounts[3] (/dev/pts): find file system type devpts: no such device"),
        (
            PTS, c.AT_INPROC, errno.EPERM, "", "mounts[3] (/dev/pts): mount inside /proc: operation not permitted",
        ),
        (
            ops.open_ns("linux.namespaces[1].path", "/x\n", 0), c.AT_NSTYPE, errno.EINVAL, "",
            "linux.namespaces[1].path (/x\\n): verify the namespace's type: invalid argument",
        ),
        (ops.sync(c.SYNC_READY), c.AT_SOCKET, errno.EPIPE, "", "sync: talk to the runtime: broken pipe"),
        (ops.pivot(), c.AT_PIVOTROOT, errno.EBUSY, "", "root.path: pivot_root: device or resource busy"),
        (ops.home(5), 99, errno.EIO, "", "process.env: take HOME of user 5 from the container's /etc/passwd: input/output error"),
        (
            ops.chdir("process.cwd", b"/\xff", last=True), c.AT_CHDIR, errno.ENOENT, "",
            "process.cwd (/\\xff): change directory: no such file or directory",
        ),
        (
            ops.sysctl('linux.sysctl["net.a"]', "net/a", "1"), c.AT_WRITE, errno.EINVAL, "",
            'linux.sysctl["net.a"] (net/a): write: invalid argument',
        ),
    ],
)  # fmt: skip
def test_words_of_a_failed_op(op: Op, place: int, number: int, detail: str, text: str) -> None:
    assert message(op, place, number, detail) == text


def lookup(name: str) -> Op:
    return ops.lookup("process.args[0]", name, "/bin")


@pytest.mark.parametrize(
    ("op", "place", "number", "text"),
    [
        (lookup("nope"), c.AT_NOTFOUND, errno.ENOENT, 'exec: "nope": executable file not found in $PATH'),
        (lookup("/no/such"), c.AT_STAT, errno.ENOENT, 'exec: "/no/such": stat /no/such: no such file or directory'),
        (lookup("/etc/passwd/x"), c.AT_STAT, errno.ENOTDIR, 'exec: "/etc/passwd/x": stat /etc/passwd/x: not a directory'),
        (lookup("/etc/passwd"), c.AT_ACCESS, errno.EACCES, 'exec: "/etc/passwd": permission denied'),
        (lookup("/etc"), c.AT_ACCESS, errno.EISDIR, 'exec: "/etc": is a directory: permission denied'),
        (ops.execute("process.args", ["sh", "x"], []), c.AT_EXECVE, errno.ENOEXEC, 'exec: "sh": exec format error'),
        (ops.execute("process.args", ["./s"], []), c.AT_EXECVE, errno.ENOENT, 'exec: "./s": no such file or directory'),
        (ops.execute("process.args", ["sh"], []), c.AT_EXECVE, errno.E2BIG, 'exec: "sh": argument list too long'),
        (ops.execute("process.args", ["sh"], []), c.AT_MEMORY, errno.ENOMEM, 'exec: "sh": cannot allocate memory'),
    ],
)
def test_phrases_of_a_program_that_cannot_run(op: Op, place: int, number: int, text: str) -> None:
    """podman and Docker make exit codes 126 and 127 of them."""
    error = failure(op, place, number, "")
    assert (type(error), error.message, error.config_path) == (ExecutableError, text, op.at)


PODMAN = (re.compile(".*permission denied.*|.*operation not permitted.*"), re.compile(".*not found in.*|.*no such file.*"))


@pytest.mark.parametrize(
    ("place", "number", "denied", "missing"),
    [
        (c.AT_NOTFOUND, errno.ENOENT, False, True),
        (c.AT_STAT, errno.ENOENT, False, True),
        (c.AT_ACCESS, errno.EACCES, True, False),
        (c.AT_ACCESS, errno.EISDIR, True, False),
        (c.AT_EXECVE, errno.EPERM, True, False),
    ],
)
def test_podman_can_tell_126_from_127(place: int, number: int, denied: bool, missing: bool) -> None:
    text = message(lookup("/x"), place, number)
    assert [bool(pattern.fullmatch(text)) for pattern in PODMAN] == [denied, missing]


def hook(timeout: int = 0, name: str = "createContainer", number: int = 2) -> Op:
    return ops.hook(f"hooks.{name}[{number}]", "/h", ["h"], [], ("", ""), timeout)


@pytest.mark.parametrize(
    ("op", "place", "number", "detail", "text"),
    [
        (
            hook(), c.AT_HOOKEXIT, 0, "exit status 1, stdout: out\n, stderr: ",
            "error running createContainer hook #2: /h: exit status 1, stdout: out, stderr:",
        ),
        (
            hook(), c.AT_HOOKEXIT, 0, "exit status 3, stdout: out\n, stderr: bad\nworse\n",
            "error running createContainer hook #2: /h: exit status 3, stdout: out, stderr: bad\\nworse",
        ),
        (
            hook(name="startContainer", number=0), c.AT_HOOKEXIT, 0, "signal 9, stdout: , stderr: ",
            "error running startContainer hook #0: /h: signal 9, stdout: , stderr:",
        ),
        (
            hook(1500), c.AT_HOOKTIME, errno.ETIMEDOUT, ", stdout: , stderr: zz\n",
            "error running createContainer hook #2: /h: hook ran past specified timeout of 1.5s, stdout: , stderr: zz",
        ),
        (hook(), c.AT_HOOKSTART, errno.ENOENT, "", "error running createContainer hook #2: /h: no such file or directory"),
        (hook(), c.AT_HOOKSTART, errno.EACCES, "x", "error running createContainer hook #2: /h: permission denied"),
    ],
)  # fmt: skip
def test_words_of_a_failed_hook(op: Op, place: int, number: int, detail: str, text: str) -> None:
    error = failure(op, place, number, detail)
    assert (type(error), error.message, error.config_path) == (HookError, text, op.at)
    assert error.errno == (number or None)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 漢 \\n", "plain é 漢 \\n"),
        ("\n\r\t\0\x1b\x7f", "\\n\\r\\t\\x00\\x1b\\x7f"),
        ("\udcff\udc80\ud800", "\\xff\\x80\\ud800"),
        ("\u202e\u2028\u200b\U000e0001", "\\u202e\\u2028\\u200b\\U000e0001"),
    ],
)
def test_one_line(text: str, shown: str) -> None:
    assert one_line(text) == shown


def test_a_message_that_is_too_short_is_none() -> None:
    for size in range(c.PLAN_MESSAGE_HEAD):
        with pytest.raises(ValueError, match="short"):
            Message(bytes(size))
    assert Message(bytes(c.PLAN_MESSAGE_HEAD)).detail == ""


def test_a_plan_for_people_and_for_machines() -> None:
    plan = Plan([ops.hostname("hostname", b"a\n\xff"), ops.mask_path("linux.maskedPaths[0]", "/é"), ops.fork()])
    assert show(plan, "text") == (
        "  0  hostname              set hostname a\\n\\xff\n"
        "  1  linux.maskedPaths[0]  mask /é\n"
        "  2                        fork, as pid and time namespaces hold for children only\n"
    )
    text = show(plan, "json")
    assert text.isascii()
    assert json.loads(text)[1] == {
        "index": 1,
        "op": "mask_path",
        "config_path": "linux.maskedPaths[0]",
        "describe": "mask /é",
        "tolerate": ["ENOENT", "ENOTDIR"],
    }
    assert [entry["op"] for entry in json.loads(text)] == ["hostname", "mask_path", "fork"]
    assert all("tolerate" not in entry for entry in json.loads(text)[::2])


def test_an_error_without_an_errno_has_none() -> None:
    error: PyruncError = failure(hook(), c.AT_HOOKEXIT, 0, "exit status 1")
    assert error.errno is None and strerror(0) not in error.message
