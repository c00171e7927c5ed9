"""process.apparmorProfile with the real AppArmor: the profile that the program runs under, and what it forbids."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import TAG
from tests.lifecycle.box import Box, one_line

ENABLED = Path("/sys/module/apparmor/parameters/enabled")
if not (ENABLED.exists() and ENABLED.read_text().strip() == "Y" and shutil.which("apparmor_parser")):
    pytest.skip("AppArmor is off, or apparmor_parser (Debian: apparmor) is missing", allow_module_level=True)

OUTER, INNER = f"{TAG}-outer", f"{TAG}-inner"
PROFILES = """
profile {name} flags=(attach_disconnected,mediate_deleted) {{
  file,
  capability,
  network,
  signal,
  unix,
  deny /{name} rw,
}}
"""


@pytest.fixture(scope="module")
def profiles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Two profiles that let everything pass but a file that has the profile's name."""
    path = tmp_path_factory.mktemp("apparmor") / "profiles"
    path.write_text("".join(PROFILES.format(name=name) for name in (OUTER, INNER)))
    subprocess.run(["apparmor_parser", "--skip-cache", "--replace", path], check=True)
    yield
    subprocess.run(["apparmor_parser", "--skip-cache", "--remove", path], check=True)


@pytest.fixture
def confined(profiles: None, box: Box) -> Box:
    box.process["apparmorProfile"] = OUTER
    for name in (OUTER, INNER):
        (box.rootfs / name).write_text("secret\n")
    return box.writable()


SHOW = f"cat /proc/self/attr/current; cat /{OUTER} /{INNER} 2>&1 || :"


def of(profile: str) -> list[str]:
    """What SHOW shows under the profile."""
    return [f"{profile} (enforce)", f"cat: can't open '/{profile}': Permission denied", "secret"]


def shown(text: str) -> list[str]:
    first, *rest = text.splitlines()
    return [first, *sorted(rest)]


@pytest.mark.parametrize("no_new_privs", [False, True])
@pytest.mark.parametrize("uid", [0, 1000])
def test_the_program_is_confined(confined: Box, no_new_privs: bool, uid: int) -> None:
    confined.process["noNewPrivileges"] = no_new_privs
    confined.process["user"] = {"uid": uid, "gid": uid}
    assert shown(confined.sh(SHOW)) == of(OUTER)


def test_in_a_user_namespace(confined: Box) -> None:
    confined.map_ids()
    assert shown(confined.sh(SHOW)) == of(OUTER)


def test_create_and_exec(confined: Box, tmp_path: Path) -> None:
    """exec takes init's profile, that of --apparmor, or that of its process file; the runtime itself is never confined."""
    pid = confined.up()
    assert Path(f"/proc/{pid}/attr/current").read_text() == f"{OUTER} (enforce)\n"
    assert shown(confined.ex(SHOW)) == of(OUTER)
    assert shown(confined.ex(SHOW, "--apparmor", INNER)) == of(INNER)
    path = tmp_path / "process.json"
    path.write_text(json.dumps({**confined.process, "args": ["sh", "-c", SHOW], "apparmorProfile": INNER}))
    assert shown(confined.exec("--process", path, confined.id, check=True).stdout) == of(INNER)
    path.write_text(json.dumps({**confined.process, "args": ["sh", "-c", SHOW], "apparmorProfile": ""}))
    assert confined.exec("--process", path, confined.id, check=True).stdout.splitlines()[0] == "unconfined"
    confined.down()


def test_a_profile_that_is_not_loaded(confined: Box) -> None:
    confined.process["apparmorProfile"] = f"{TAG}-missing"
    message = confined.refused()
    said = f"process.apparmorProfile (exec {TAG}-missing): write `/proc/self/attr/apparmor/exec`: no such file or directory"
    assert said in message
    confined.process["apparmorProfile"] = OUTER
    confined.up()
    done = confined.exec("--apparmor", f"{TAG}-missing", confined.id, "true", check=255)
    assert said in one_line(done)
    confined.down()


def test_create_container_hooks_are_not_confined_and_start_container_hooks_are(confined: Box) -> None:
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"read p </proc/self/attr/current; echo $p >{confined.rootfs}/early"]}
    late = {"path": "/bin/sh", "args": ["sh", "-c", "read p </proc/self/attr/current; echo $p >/late"]}
    confined.config["hooks"] = {"createContainer": [hook], "startContainer": [late]}
    assert confined.lines("cat /early /late") == ["unconfined", f"{OUTER} (enforce)"]
