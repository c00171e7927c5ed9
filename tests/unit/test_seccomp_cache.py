"""The cache of compiled filters: hits, what makes it miss, and that it never fails. libseccomp is not needed here."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from pyrunc.kernel import os as hot_os
from pyrunc.plan import seccomp, seccomp_bpf, seccomp_cache

ROOT = Path(__file__).resolve().parents[2]
PROFILE = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}
KEY = seccomp_cache.key_of(PROFILE)
NAME = seccomp_cache.name_of(KEY)
BODY = len(KEY) + 8
"""Where in an entry the checksum has ended."""
BPF = bytes(range(256)) * 4


@pytest.fixture
def library(tmp_path):
    path = tmp_path / "libseccomp.so.2"
    path.write_bytes(b"\x7fELF")
    return path


@pytest.fixture
def cache(tmp_path, library):
    """A cache with one entry."""
    directory = tmp_path / "cache"
    seccomp_cache.store(str(directory), KEY, BPF, 6, str(library))
    assert seccomp_cache.load(str(directory), KEY) == (BPF, 6)
    return directory


def load(directory: Path, key: bytes = KEY) -> tuple[bytes, int] | None:
    return seccomp_cache.load(str(directory), key)


def test_directory_and_entry_are_ours_alone(cache):
    (entry,) = cache.iterdir()
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    assert stat.S_IMODE(entry.stat().st_mode) == 0o600
    assert entry.name == NAME


def test_a_profile_is_compiled_once(tmp_path, library, monkeypatch):
    compiled = []

    def build(profile):
        compiled.append(profile)
        return BPF, str(library)

    monkeypatch.setattr(seccomp_bpf, "build", build)
    monkeypatch.setattr(seccomp_bpf, "load_flags", lambda profile: 4)
    first, second = (seccomp.compile_seccomp(dict(PROFILE), cache_dir=str(tmp_path / "c")) for _ in range(2))
    assert (first.bpf, first.flags) == (second.bpf, second.flags) == (BPF, 4)
    assert len(compiled) == 1
    seccomp.compile_seccomp(PROFILE, cache_dir=None)
    assert len(compiled) == 2


def test_a_hit_loads_neither_the_shim_nor_the_compiler(cache):
    """In a process of its own: what it has imported by the end."""
    code = (
        f"import sys; sys.path.append({str(ROOT)!r})\n"
        f"from pyrunc.plan.seccomp import compile_seccomp; filter = compile_seccomp({PROFILE!r}, cache_dir={str(cache)!r})\n"
        "assert len(filter.bpf) == 1024 and filter.flags == 6\n"
        "print(*sorted(m for m in sys.modules if m.startswith('pyrunc')), 'libseccomp' in open('/proc/self/maps').read())"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True)
    loaded = "pyrunc pyrunc.errors pyrunc.kernel pyrunc.kernel.os pyrunc.plan pyrunc.plan.seccomp pyrunc.plan.seccomp_cache"
    assert (done.stdout, done.stderr) == (f"{loaded} False\n", "")


def test_a_hit_is_quick(cache):
    best = min(_seconds(lambda: seccomp_cache.load(str(cache), seccomp_cache.key_of(PROFILE))) for _ in range(20))
    assert best < 0.001


def _seconds(call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=100, deadline=None)
@given(json_values, json_values)
def test_no_key_is_the_beginning_of_that_of_another_value(one, other):
    keys = [seccomp_cache.key_of({"x": value}) for value in (one, other)]
    same = ascii(one) == ascii(other)
    assert [keys[0].startswith(keys[1]), keys[1].startswith(keys[0])] == [same, same]
    assert seccomp_cache.key_of({"x": one}) == keys[0]


def test_equal_in_python_is_not_equal_in_json():
    assert len({seccomp_cache.key_of({"x": value}) for value in (1, 1.0, True, "1", [1], "é", "\\xe9", "\udce9")}) == 8


@pytest.mark.parametrize("field", ["release", "machine"])
def test_another_kernel_or_machine_has_another_key(monkeypatch, field):
    real = os.uname()
    fields = {name: getattr(real, name) for name in ("sysname", "nodename", "release", "version", "machine")}
    other = os.uname_result((fields | {field: "other"}).values())
    monkeypatch.setattr(hot_os, "uname", lambda: other)
    assert seccomp_cache.key_of(PROFILE) != KEY


def test_another_version_of_pyrunc_has_another_key(monkeypatch):
    monkeypatch.setattr(seccomp_cache, "__version__", "0")
    assert seccomp_cache.key_of(PROFILE) != KEY


# --- tampering ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("position", [0, len(KEY) - 1, len(KEY), BODY - 1, BODY, BODY + 4, BODY + 33, BODY + 36, BODY + 200, -1])
def test_a_changed_byte_is_a_miss(cache, position):
    entry = cache / NAME
    content = bytearray(entry.read_bytes())
    content[position] ^= 1
    entry.write_bytes(content)
    assert load(cache) is None


@pytest.mark.parametrize("size", [0, 1, len(KEY), BODY - 1, BODY, BODY + 1, BODY + 33, BODY + 34, BODY + 100, BODY + 500])
def test_a_short_entry_is_a_miss(cache, size):
    os.truncate(cache / NAME, size)
    assert load(cache) is None


def test_a_long_entry_is_a_miss(cache):
    with (cache / NAME).open("ab") as entry:
        entry.write(b"\0")
    assert load(cache) is None
    os.truncate(cache / NAME, 1 << 40)
    assert load(cache) is None


def test_the_entry_of_another_profile_is_a_miss(cache):
    other = seccomp_cache.key_of({"defaultAction": "SCMP_ACT_ALLOW"})
    (cache / NAME).rename(cache / seccomp_cache.name_of(other))
    assert load(cache, other) is None


def test_profiles_of_one_name_do_not_get_each_others_filter(cache, library, monkeypatch):
    monkeypatch.setattr(seccomp_cache, "name_of", lambda key: NAME)
    other = seccomp_cache.key_of({"defaultAction": "SCMP_ACT_ALLOW"})
    assert load(cache, other) is None
    seccomp_cache.store(str(cache), other, BPF[:8], 4, str(library))
    assert load(cache, other) == (BPF[:8], 4)
    assert load(cache) is None


def test_an_entry_open_to_others_is_a_miss(cache):
    (cache / NAME).chmod(0o644)
    assert load(cache) is None


def test_a_link_is_a_miss(cache):
    (cache / NAME).rename(cache / "elsewhere")
    (cache / NAME).symlink_to("elsewhere")
    assert load(cache) is None


def test_a_fifo_is_a_miss_and_does_not_wait(cache):
    (cache / NAME).unlink()
    os.mkfifo(cache / NAME, 0o600)
    assert load(cache) is None


def test_a_directory_in_place_of_an_entry_is_a_miss_and_stays(cache, library):
    (cache / NAME).unlink()
    (cache / NAME).mkdir(0o600)
    seccomp_cache.store(str(cache), KEY, BPF, 6, str(library))
    assert load(cache) is None
    assert [entry.name for entry in cache.iterdir()] == [NAME]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")
@pytest.mark.parametrize("which", ["directory", "entry"])
def test_what_another_user_owns_is_a_miss(cache, which):
    os.chown(cache if which == "directory" else cache / NAME, 12345, -1)
    assert load(cache) is None


@pytest.mark.parametrize("mode", [0o777, 0o755, 0o1700, 0o720])
def test_a_directory_open_to_others_is_neither_read_nor_written(cache, library, mode):
    cache.chmod(mode)
    before = sorted(entry.name for entry in cache.iterdir())
    seccomp_cache.store(str(cache), b"k" * 32, BPF, 6, str(library))
    assert load(cache) is None
    assert sorted(entry.name for entry in cache.iterdir()) == before


def test_a_link_in_place_of_the_directory_is_neither_read_nor_written(cache, library, tmp_path):
    (tmp_path / "link").symlink_to(cache)
    seccomp_cache.store(str(tmp_path / "link"), b"k" * 32, BPF, 6, str(library))
    assert load(tmp_path / "link") is None
    assert len(list(cache.iterdir())) == 1


def test_another_libseccomp_is_a_miss(cache, library):
    newer = library.with_name("new")
    newer.write_bytes(b"\x7fELF")
    newer.rename(library)
    assert load(cache) is None
    library.unlink()
    assert load(cache) is None


# --- writing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["absent/parent", "file", "file/below", "x" * 300])
def test_where_nothing_can_be_written_nothing_happens(tmp_path, library, where):
    (tmp_path / "file").write_text("")
    seccomp_cache.store(str(tmp_path / where), KEY, BPF, 6, str(library))
    assert load(tmp_path / where) is None
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "libseccomp.so.2"]


def test_a_library_that_is_gone_leaves_no_entry(tmp_path):
    seccomp_cache.store(str(tmp_path / "cache"), KEY, BPF, 6, str(tmp_path / "absent"))
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(("room", "kept"), [(2000, True), (500, False)])
def test_a_profile_without_room_for_its_filter_is_not_kept(tmp_path, library, room, kept):
    key = seccomp_cache.key_of({"defaultAction": "x" * (seccomp_cache.ENTRY_BYTES_MAX - room)})
    seccomp_cache.store(str(tmp_path / "cache"), key, BPF, 6, str(library))
    assert load(tmp_path / "cache", key) == ((BPF, 6) if kept else None)
    assert (tmp_path / "cache").exists() == kept


@pytest.mark.parametrize("call", ["write", "rename", "scandir"])
def test_a_failing_disk_leaves_nothing_half_done(tmp_path, library, monkeypatch, call):
    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(hot_os, call, fail)
        seccomp_cache.store(str(tmp_path / "cache"), KEY, BPF, 6, str(library))
    assert [entry.name for entry in (tmp_path / "cache").iterdir()] == ([NAME] if call == "scandir" else [])


def test_no_descriptor_is_left_open(cache, library):
    before = os.listdir("/proc/self/fd")
    load(cache)
    load(cache, b"absent")
    seccomp_cache.store(str(cache), KEY, BPF, 6, str(library))
    (cache / NAME).write_bytes(b"damaged")
    load(cache)
    cache.chmod(0o755)
    load(cache)
    assert os.listdir("/proc/self/fd") == before


def test_the_oldest_of_more_than_64_leave(cache, library):
    for number in range(70):
        name = cache / f"{number:064}"
        name.write_bytes(b"")
        os.utime(name, (1000 + number, 1000 + number))
    seccomp_cache.store(str(cache), b"k" * 32, BPF, 6, str(library))
    left = {entry.name for entry in cache.iterdir()}
    assert left == {f"{number:064}" for number in range(8, 70)} | {NAME, seccomp_cache.name_of(b"k" * 32)}


def test_writers_do_not_disturb_each_other(cache, library):
    """Eight processes write the same entry while this one reads it: every read is whole."""
    code = (
        f"import sys; sys.path.append({str(ROOT)!r}); from pyrunc.plan import seccomp_cache\n"
        f"for _ in range(50): seccomp_cache.store({str(cache)!r}, {KEY!r}, bytes(range(256)) * 4, 6, {str(library)!r})"
    )
    writers = [subprocess.Popen([sys.executable, "-I", "-S", "-c", code]) for _ in range(8)]
    while any(writer.poll() is None for writer in writers):
        assert load(cache) == (BPF, 6)
    assert [writer.wait() for writer in writers] == [0] * 8
    assert [entry.name for entry in cache.iterdir()] == [NAME]
