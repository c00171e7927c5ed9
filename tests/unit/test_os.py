"""pyrunc.kernel.os says what the os module says."""

from __future__ import annotations

import os as original
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from pyrunc.errors import KernelError
from pyrunc.kernel import os

PATHS = st.text("ab./", max_size=12)


@given(PATHS, PATHS)
def test_join(first: str, second: str) -> None:
    assert os.path.join(first, second) == original.path.join(first, second)


@given(PATHS)
def test_of_one_path(path: str) -> None:
    for name in ("dirname", "basename", "normpath", "abspath"):
        assert getattr(os.path, name)(path) == getattr(original.path, name)(path), name


@given(PATHS, PATHS)
def test_relpath(path: str, start: str) -> None:
    start = "/" + start
    assert os.path.relpath("/" + path, start) == original.path.relpath("/" + path, start)


@given(st.binary(max_size=20))
def test_bytes_survive(data: bytes) -> None:
    assert os.fsdecode(data) == data.decode("utf-8", "surrogateescape")
    assert os.fsencode(os.fsdecode(data)) == data


def test_files(tmp_path: Path) -> None:
    file, directory, missing = str(tmp_path / "file"), str(tmp_path), str(tmp_path / "missing")
    Path(file).touch()
    assert [os.path.exists(path) for path in (file, directory, missing)] == [True, True, False]
    assert [os.path.isdir(path) for path in (file, directory, missing)] == [False, True, False]
    assert os.path.samestat(os.stat(file), os.stat(file)) and not os.path.samestat(os.stat(file), os.stat(directory))


def test_a_working_directory_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(KernelError, match="working directory, for the path x: no such file or directory"):
        os.path.abspath("x")
    assert os.path.abspath("/x/../y") == "/y"


def test_getenv(monkeypatch: pytest.MonkeyPatch) -> None:
    assert os.getenv("PATH") == original.environ["PATH"]
    assert os.getenv("PYRUNC_NO_SUCH_VARIABLE") is None
