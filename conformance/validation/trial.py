"""One test of the suite with one runtime."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from conformance.room import clear
from conformance.validation.results import Report, parse

PASSED, SILENT, FAILED, COMPLAINS, DIED = "pass", "silent", "FAIL", "complains", "died"
"""All results good; with status 0, no result and no complaint; a bad result; with status 0, no result but an error told; any
other end."""
CLEAN = (PASSED, SILENT)

CONFINED = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"]
# The shell is process 1, which must collect what containers leave; the tests would not. What runtimes remember is in /run.
INIT = 'mount -t tmpfs run /run; "$0"; exit $?'


@dataclass
class Trial:
    """How a test ended: one of the verdicts above, and for what reasons if it is not clean."""

    verdict: str
    reasons: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def clean(self) -> bool:
        return self.verdict in CLEAN


def run(program: Path, runtime: Path, cwd: Path, timeout: float) -> Trial:
    """The test in its own session, with its own mounts, processes, /run and TMPDIR. Whatever it starts ends with it."""
    begin = time.monotonic()
    temporary = Path(tempfile.mkdtemp(prefix="validation-"))
    temporary.chmod(0o755)  # root of a user namespace is an ordinary user here
    env = {"PATH": os.environ.get("PATH", os.defpath), "RUNTIME": str(runtime), "TMPDIR": str(temporary)}
    words = [*CONFINED, "sh", "-c", INIT, str(program)]
    try:
        # Files, not pipes: a container that outlives the test holds them open.
        with (temporary / "out").open("w+b") as out, (temporary / "err").open("w+b") as err:
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=cwd, env=env, start_new_session=True
            )
            try:
                status: int | None = process.wait(timeout)
            except subprocess.TimeoutExpired:
                status = None
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            out.seek(0)
            err.seek(0)
            texts = [stream.read().decode(errors="replace") for stream in (out, err)]
        trial = judge(status, *texts)
        trial.seconds = time.monotonic() - begin
        return trial
    finally:
        shutil.rmtree(temporary)


def judge(status: int | None, out: str, err: str) -> Trial:
    """`status` is the shell's, None when time ran out. The reasons are short texts, without what differs from run to run."""
    report: Report = parse(out)
    failures = [" ".join([failure.about, *failure.remarks]) for failure in report.failures]
    if status != 0:
        last = [line for line in err.splitlines() if line.strip() and not line.startswith(("exit status", "Refer to:"))]
        how = "no end in time" if status is None else f"exit status {status}"
        return Trial(DIED, [*failures, *report.complaints, *last[-1:], how])
    if failures or report.miscounted:
        return Trial(FAILED, failures or ["the plan is not what came"])
    if report.complaints:
        return Trial(COMPLAINS, report.complaints)
    return Trial(PASSED if report.assertions else SILENT)


def sweep(place: Path) -> None:
    """Remove the cgroups that tests have left in these hierarchies; their processes have been killed."""
    for top in [place] if (place / "cgroup.procs").exists() else place.iterdir():
        for path in top.iterdir():
            if path.is_dir() and not path.is_symlink() and path.name != "runner":
                clear(path)
