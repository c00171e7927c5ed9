"""Hooks on the host that run long and say much."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterator

import pytest

from pyrunc.errors import HookError
from pyrunc.launch.hooks import CAPTURE, _Conversation, run_hooks


@pytest.fixture(autouse=True)
def in_time() -> Iterator[None]:
    """What is tested here would hang if it failed."""

    def late(*_: object) -> None:
        raise TimeoutError("the hook was waited for beyond its timeout")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def test_a_timeout_longer_than_poll_can_wait() -> None:
    """poll(2) takes a C int of milliseconds, which is less than 25 days."""
    for days in (24, 25, 1 << 40):
        run_hooks("poststop", [{"path": "/bin/true", "timeout": days * 86400}], b"{}")


def test_an_output_that_never_runs_dry_does_not_keep_the_timeout_from_its_hook() -> None:
    pid = os.posix_spawn("/bin/sleep", ["sleep", "100"], {})
    _, feed = os.pipe()
    zero, silent = os.open("/dev/zero", os.O_RDONLY), os.pipe()[0]
    conversation = _Conversation(pid, feed, zero, silent, b"")
    begin = time.monotonic()
    try:
        assert conversation.attend(select.poll(), 1) is None
    finally:
        conversation.close()
    assert time.monotonic() - begin < 10
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_of_a_long_output_the_end_is_told() -> None:
    script = "yes 0123456789 | head -c 300000; echo the end; exit 1"
    with pytest.raises(HookError) as caught:
        run_hooks("poststop", [{"path": "/bin/sh", "args": ["sh", "-c", script]}], b"{}")
    told = caught.value.message.partition("stdout: ")[2].partition(", stderr: ")[0]
    assert told.endswith("the end") and CAPTURE - 20 < len(told) <= CAPTURE
