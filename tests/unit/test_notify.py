"""What becomes of a message for a service manager that is there but reads nothing."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from pyrunc.launch import notify
from tests.lifecycle.sockets import fill


def test_a_manager_that_is_stopped_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "SEND_SECONDS", 0.1)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "s"))
    warnings: list[str] = []
    theirs, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, theirs, ours:
        manager.bind(str(tmp_path / "s"))
        fill(manager)
        theirs.send(b"READY=1")
        assert notify.Notifier(ours, warnings.append).pass_on(1, stays=True)
    assert warnings == [f"the service manager took no message at {tmp_path}/s within 0.1 s"]
