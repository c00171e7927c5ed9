"""The pages of docs/callers, done as they say: `python3 -m conformance.callers.pages PAGE [PYRUNC]`.

A fenced block is a step. ``sh`` is run by a shell, and a ``text`` block right behind it says what it prints, where a line
`...` stands for any lines. A block with a path behind its language is that file. Other blocks are for the eye, and so is
`systemctl`, of which a stand-in starts the daemon. What /etc, /opt, /usr/local and /var/lib become is forgotten
afterwards, with all processes, mounts and cgroups, as everything is in namespaces of its own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from conformance import room

PROJECT = Path(__file__).resolve().parent.parent.parent
FENCE = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FORGOTTEN = ("/etc", "/opt", "/usr/local", "/var/lib")

UNABLE = 77
"""The exit status where the machine cannot make the place."""

CONFINED = ["unshare", "--mount", "--propagation", "private", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
SETUP = """
busybox ip link set lo up
mount -t tmpfs run /run
for place in "$@"; do
    mkdir -p "/run/upper$place" "/run/work$place"
    mount -t overlay -o "lowerdir=$place,upperdir=/run/upper$place,workdir=/run/work$place" overlay "$place"
done
mkdir -p /var/lib/containers
mount -t tmpfs storage /var/lib/containers # no overlay of podman's can lie on one of ours
"""
SYSTEMCTL = """#!/bin/sh
# What `systemctl restart NAME` does for these daemons.
set -e
[ "$1" = restart ]
case $2 in
containerd) daemon=containerd socket=/run/containerd/containerd.sock ;;
docker) daemon=dockerd socket=/run/docker.sock ;;
esac
pid=/run/by-hand-$2.pid log=/run/by-hand-$2.log
if [ -e "$pid" ]; then
    kill "$(cat "$pid")"
    while kill -0 "$(cat "$pid")" 2>/dev/null; do sleep 0.1; done
    rm -f "$socket"
fi
setsid "$daemon" >>"$log" 2>&1 </dev/null &
echo $! >"$pid"
while ! [ -S "$socket" ]; do
    kill -0 "$(cat "$pid")" || { cat "$log" >&2; exit 1; }
    sleep 0.1
done
"""


@dataclass
class Step:
    """A block; ``printed`` is what a command must print, None where the page does not say."""

    language: str
    path: str
    text: str
    printed: str | None = None


def steps(page: Path) -> list[Step]:
    """Raises ValueError for a block of output that follows no command."""
    found: list[Step] = []
    for language, path, text in FENCE.findall(page.read_text()):
        if language != "text":
            found.append(Step(language, path, text))
        elif found and found[-1].language == "sh" and found[-1].printed is None:
            found[-1].printed = text
        else:
            raise ValueError(f"{page.name}: output of no command: {text}")
    return found


def file_of(page: Path, path: str) -> str:
    """What the page says this file must be. Raises StopIteration when it does not say."""
    return next(step.text for step in steps(page) if step.path == path)


def matches(expected: str, printed: str) -> bool:
    """Line by line, white space at the ends of lines aside."""
    wanted = "".join(".*?" if line.strip() == "..." else re.escape(line.rstrip()) + "\n" for line in expected.splitlines())
    return bool(re.fullmatch(wanted, "".join(line.rstrip() + "\n" for line in printed.splitlines()), re.DOTALL))


def perform(page: Path, pyrunc: Path) -> None:
    """In the namespaces: every step in its order. Raises AssertionError, and OSError where overlays cannot be mounted."""
    if subprocess.run(["sh", "-ec", SETUP, "sh", *FORGOTTEN]).returncode:
        raise OSError("no overlay over /etc can be mounted here")
    place = Path("/usr/local/bin")
    place.mkdir(parents=True, exist_ok=True)
    (place / "pyrunc").unlink(missing_ok=True)
    (place / "pyrunc").symlink_to(pyrunc)
    (place / "systemctl").write_text(SYSTEMCTL)
    (place / "systemctl").chmod(0o755)
    env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "PROJECT": str(PROJECT)}
    for step in steps(page):
        if step.path:
            Path(step.path).parent.mkdir(parents=True, exist_ok=True)
            Path(step.path).write_text(step.text)
        elif step.language == "sh":
            # Output to a file: a daemon that the step starts would keep a pipe open.
            with open("/run/output", "w+") as output:
                words = ["sh", "-euc", f"exec 2>&1 </dev/null\n{step.text}"]
                done = subprocess.run(words, stdout=output, env=env, cwd="/run", timeout=120)
                output.seek(0)
                printed = output.read()
            assert done.returncode == 0, f"{page.name}: exit status {done.returncode} of:\n{step.text}\n{printed}"
            assert step.printed is None or matches(step.printed, printed), f"{page.name}: printed by\n{step.text}\n{printed}"


def command(page: Path, pyrunc: Path, tag: str) -> list[str]:
    """The command that does as the page says, all below the cgroup `tag`; its exit status and stderr tell."""
    # A shell is process 1, which must collect the daemons that have ended.
    init = ["sh", "-c", '"$@"; exit $?', "sh"]
    inner = [sys.executable, "-m", "conformance.callers.pages", "--inside", str(page), str(pyrunc)]
    return room.enter(tag, [], *CONFINED, *init, *inner)


def main(words: list[str]) -> int:
    if words[:1] == ["--inside"]:
        try:
            perform(Path(words[1]), Path(words[2]))
        except (AssertionError, OSError) as error:
            print(error, file=sys.stderr)
            return 1 if isinstance(error, AssertionError) else UNABLE
        return 0
    page, pyrunc = Path(words[0]).resolve(), Path(words[1] if words[1:] else PROJECT / "build/pyrunc").resolve()
    return room.attend(command(page, pyrunc, f"pages-{os.getpid()}"), {**os.environ, "PYTHONPATH": str(PROJECT)})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
