"""What becomes of every property of linux.resources: one container for each, and what the kernel and systemd then say of it.

    python3 -m conformance.cgroups_table            # prints the columns that this machine offers, as JSON
    python3 -m conformance.cgroups_table --merge    # reads such JSON on stdin, of any machine, into docs/cgroups-table.md

A cell is `file value`, after it `Property value` where systemd has one, or the error. tests/lifecycle/test_resources_table.py
compares the page with the machine that it runs on.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from conformance.hierarchies import mounted
from pyrunc import cgroups
from pyrunc.config.default import default_spec
from pyrunc.kernel.sys import set_child_subreaper

PROJECT = Path(__file__).resolve().parents[1]
PAGE = PROJECT / "docs/cgroups-table.md"
COLUMNS = {
    "v1": "v1 (hybrid)",
    "v1-more": "v1, net_cls, net_prio and hugetlb mounted",
    "v2": "v2",
    "v2-systemd": "v2, systemd",
    "v2-user": "v2, a user's systemd, rootless",
}
USER = "tester"
MIB = 1 << 20
HUGE = "2MB"
KMSG = {"type": "c", "major": 1, "minor": 11}
ABSENT = "this kernel offers no "

Row = tuple[str, dict[str, Any], str, str, str]


def rows(disk: str) -> list[Row]:
    """(property, resources, v1's files, v2's files, systemd's properties). `disk` is a whole block device, major:minor."""
    major, minor = map(int, disk.split(":"))
    device = {"major": major, "minor": minor}
    quota = {"quota": 20_000, "period": 50_000}
    throttles = [
        (f"blockIO.throttle{way}{kind}Device", {"blockIO": {f"throttle{way}{kind}Device": [{**device, "rate": 4096}]}},
         f"blkio.throttle.{way.lower()}_{kind.lower()}_device", "io.max", f"IO{way}{'Bandwidth' if kind == 'Bps' else 'IOPS'}Max")
        for way in ("Read", "Write") for kind in ("Bps", "IOPS")
    ]  # fmt: skip
    return [
        ("memory.limit", {"memory": {"limit": 64 * MIB}}, "memory.limit_in_bytes", "memory.max", "MemoryMax"),
        ("memory.limit -1", {"memory": {"limit": -1}}, "memory.limit_in_bytes", "memory.max memory.swap.max", "MemoryMax"),
        ("memory.reservation", {"memory": {"reservation": 32 * MIB}}, "memory.soft_limit_in_bytes", "memory.low", "MemoryLow"),
        ("memory.swap", {"memory": {"limit": 64 * MIB, "swap": 96 * MIB}}, "memory.memsw.limit_in_bytes", "memory.swap.max",
         "MemorySwapMax"),
        ("memory.kernel", {"memory": {"kernel": 32 * MIB}}, "memory.kmem.limit_in_bytes", "", ""),
        ("memory.kernelTCP", {"memory": {"kernelTCP": 32 * MIB}}, "memory.kmem.tcp.limit_in_bytes", "", ""),
        ("memory.swappiness", {"memory": {"swappiness": 30}}, "memory.swappiness", "", ""),
        ("memory.disableOOMKiller", {"memory": {"limit": 64 * MIB, "disableOOMKiller": True}}, "memory.oom_control", "", ""),
        ("memory.useHierarchy", {"memory": {"useHierarchy": True}}, "memory.use_hierarchy", "", ""),
        ("memory.checkBeforeUpdate", {"memory": {"limit": 64 * MIB, "checkBeforeUpdate": True}}, "memory.limit_in_bytes",
         "memory.max", "MemoryMax"),
        ("cpu.shares", {"cpu": {"shares": 512}}, "cpu.shares", "cpu.weight", "CPUWeight"),
        ("cpu.quota, period", {"cpu": quota}, "cpu.cfs_quota_us cpu.cfs_period_us", "cpu.max",
         "CPUQuotaPerSecUSec CPUQuotaPeriodUSec"),
        ("cpu.burst", {"cpu": {**quota, "burst": 10_000}}, "cpu.cfs_burst_us", "cpu.max.burst", ""),
        ("cpu.realtimeRuntime, realtimePeriod", {"cpu": {"realtimeRuntime": 1000, "realtimePeriod": 500_000}},
         "cpu.rt_runtime_us cpu.rt_period_us", "", ""),
        ("cpu.cpus", {"cpu": {"cpus": "0"}}, "cpuset.cpus", "cpuset.cpus", "AllowedCPUs"),
        ("cpu.mems", {"cpu": {"mems": "0"}}, "cpuset.mems", "cpuset.mems", "AllowedMemoryNodes"),
        ("cpu.idle", {"cpu": {"idle": 1}}, "cpu.idle", "cpu.idle", ""),
        ("pids.limit", {"pids": {"limit": 32}}, "pids.max", "pids.max", "TasksMax"),
        ("pids.limit 0", {"pids": {"limit": 0}}, "pids.max", "pids.max", "TasksMax"),
        ("pids.limit -1", {"pids": {"limit": -1}}, "pids.max", "pids.max", "TasksMax"),
        ("blockIO.weight", {"blockIO": {"weight": 300}}, "blkio.weight blkio.bfq.weight", "io.weight io.bfq.weight", "IOWeight"),
        ("blockIO.leafWeight", {"blockIO": {"leafWeight": 300}}, "blkio.leaf_weight", "", ""),
        ("blockIO.weightDevice[].weight", {"blockIO": {"weightDevice": [{**device, "weight": 200}]}},
         "blkio.weight_device blkio.bfq.weight_device", "io.weight io.bfq.weight", ""),
        ("blockIO.weightDevice[].leafWeight", {"blockIO": {"weightDevice": [{**device, "leafWeight": 200}]}},
         "blkio.leaf_weight_device", "", ""),
        *throttles,
        ("hugepageLimits[]", {"hugepageLimits": [{"pageSize": HUGE, "limit": 4 * MIB}]},
         f"hugetlb.{HUGE}.limit_in_bytes hugetlb.{HUGE}.rsvd.limit_in_bytes", f"hugetlb.{HUGE}.max hugetlb.{HUGE}.rsvd.max", ""),
        ("network.classID", {"network": {"classID": 0x100001}}, "net_cls.classid", "", ""),
        ("network.priorities[]", {"network": {"priorities": [{"name": "lo", "priority": 5}]}}, "net_prio.ifpriomap", "", ""),
        ("rdma{}", {"rdma": {"mlx5_0": {"hcaHandles": 3, "hcaObjects": 10}}}, "rdma.max", "rdma.max", ""),
        ("unified{}", {"unified": {"memory.high": "50331648", "pids.max": "20"}}, "", "memory.high pids.max",
         "MemoryHigh TasksMax"),
        ("devices[]", {"devices": [{"allow": False, "access": "rwm"}, {**KMSG, "allow": True, "access": "r"}]},
         "devices.list", "(BPF)", "DevicePolicy DeviceAllow"),
    ]  # fmt: skip


def available() -> list[str]:
    """The columns of this machine."""
    version = cgroups.layout().version
    if version != 2:
        more = {"net_cls", "net_prio", "hugetlb"} <= set(Path("/proc/cgroups").read_text().split())
        return ["v1", *(["v1-more"] if more else [])]
    found = ["v2"]
    try:
        cgroups.select({}, "probe", manager="systemd")
    except Exception as error:  # this pyrunc has no driver for it, or this machine no systemd
        print(f"no systemd: {error}", file=sys.stderr)
        return found
    if Path("/run/systemd/system").is_dir():
        found.append("v2-systemd")
        users = [entry.pw_uid for entry in pwd.getpwall() if entry.pw_name == USER]
        found += ["v2-user" for uid in users if Path(f"/run/user/{uid}/bus").exists()]
    return found


class Bench:
    """One container after the other, in one column."""

    def __init__(self, column: str, program: Path, work: Path) -> None:
        self.column = column
        self.work = work
        self.user = pwd.getpwnam(USER) if column == "v2-user" else None
        self.systemd = column in ("v2-systemd", "v2-user")
        self.argv = [str(program), "--root", f"{work}/state", *(["--systemd-cgroup"] if self.systemd else [])]
        self.environment = dict(os.environ)
        self.who: dict[str, Any] = {}
        (work / "bundle/rootfs/bin").mkdir(parents=True)
        shutil.copy(shutil.which("busybox") or "/bin/busybox", work / "bundle/rootfs/bin/busybox")
        if self.user:
            runtime = f"/run/user/{self.user.pw_uid}"
            self.environment.update(XDG_RUNTIME_DIR=runtime, DBUS_SESSION_BUS_ADDRESS=f"unix:path={runtime}/bus")
            self.who = {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []}
            run(["chown", "-R", f"{USER}:{USER}", str(work)])

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        return run([*self.argv, *words], env=self.environment, cwd=self.work / "bundle", **self.who)

    def cell(self, name: str, row: Row) -> str:
        _, resources, v1, v2, properties = row
        uid, gid = (self.user.pw_uid, self.user.pw_gid) if self.user else (0, 0)
        config = default_spec(rootless=bool(self.user), cgroup2=self.column.startswith("v2"), uid=uid, gid=gid)
        config["process"].update(terminal=False, args=["/bin/busybox", "sleep", "60"])
        config["linux"]["resources"] = resources
        config["linux"]["cgroupsPath"] = f":pyrunc:{name}" if self.systemd else f"/{name}"
        (self.work / "bundle/config.json").write_text(json.dumps(config))
        done = self.call("create", name)
        try:
            if done.returncode:
                return "error: " + plain(done.stderr, name)
            record = json.loads((self.work / f"state/{name}/state.json").read_text())
            found = list(files(record["cgroup_paths"], (v1 if self.column.startswith("v1") else v2).split()))
            if self.systemd:
                found += self.shown(name, properties.split())
            return "; ".join(found) or "ignored"
        finally:
            self.call("delete", "--force", name)
            reap()

    def shown(self, name: str, properties: list[str]) -> list[str]:
        """What systemd says of the unit."""
        if not properties:
            return []
        argv = ["systemctl", *(["--user"] if self.user else []), "show", f"pyrunc-{name}.scope"]
        argv += [f"-p{one}" for one in properties]
        lines = run(argv, env=self.environment, **self.who).stdout.splitlines()
        return [line.replace("=", " ", 1) for line in sorted(lines, key=lambda line: properties.index(line.partition("=")[0]))]


def run(argv: list[str], **kw: Any) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryFile("w+") as error:  # no pipe: a container holds its stdio
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE if argv[0] == "systemctl" else None,
                              stderr=error, text=True, timeout=120, **kw)  # fmt: skip
        error.seek(0)
        done.stderr = error.read()
    return done


def files(paths: dict[str, str], names: list[str]) -> Iterator[str]:
    for name in names:
        directory = paths.get("", "") if "" in paths and len(paths) == 1 else paths.get(name.partition(".")[0], "")
        if directory and name == "(BPF)":
            yield f"BPF programs {programs(directory)}"
        elif directory and Path(directory, name).exists():
            try:
                text = Path(directory, name).read_text().strip()
            except OSError as error:
                text = f"({os.strerror(error.errno or 0).lower()})"
            yield f"{name} {', '.join(wanted(text.splitlines()))}"


def programs(directory: str) -> int:
    """How many BPF programs decide about devices in this cgroup."""
    from pyrunc._shim import ffi, lib

    fd = os.open(directory, os.O_RDONLY)
    try:
        return int(lib.shim_bpf_query_device(fd, ffi.new("uint32_t[64]"), 64))
    finally:
        os.close(fd)


def wanted(lines: list[str]) -> list[str]:
    """Of a file with a line an interface or a rule, those that the row has made."""
    shown = [line for line in lines if line.startswith(("lo ", "c 1:11"))]
    return shown or lines


def plain(stderr: str, name: str) -> str:
    """The message without what is different each time: ID and directories."""
    found = re.search(r'msg="((?:[^"\\]|\\.)*)"', stderr)
    text = (found[1] if found else stderr.strip()).replace('\\"', '"')
    text = text.removeprefix("pyrunc create failed: ")
    return re.sub(rf"/\S*{name}\S*?(?=[:,]?(\s|$))", "CGROUP", text).replace(name, "ID")


def reap() -> None:
    """Our adopted children: while one is a zombie, its cgroup is not gone, nor is the hierarchy given back."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def measure(column: str, program: Path) -> dict[str, str]:
    """Property to cell. For v1-more the caller has mounted what it needs."""
    disk = next((path.read_text().strip() for path in sorted(Path("/sys/block").glob("*/dev"))), "")
    work = Path(tempfile.mkdtemp(prefix=f"pyrunc-table-{os.getpid()}-"))
    work.chmod(0o755)
    set_child_subreaper()
    try:
        bench = Bench(column, program, work)
        cells = {row[0]: bench.cell(f"pyrunc-table-{os.getpid()}-{i}", row) for i, row in enumerate(rows(disk or "8:0"))}
    finally:
        shutil.rmtree(work)
    return {name: cell.replace(disk, "MAJ:MIN") if disk else cell for name, cell in cells.items()}


def measure_more(program: Path) -> dict[str, str] | None:
    """v1-more, in a mount namespace that may be changed; None where others have bound the controllers otherwise."""
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as mounts:
        if not all(mounts.enter_context(mounted(name, Path(scratch, name))) for name in ("hugetlb", "net_cls,net_prio")):
            return None
        return measure("v1-more", program)


def measure_apart(column: str, program: Path) -> dict[str, str] | None:
    """The same in a process and a mount namespace of its own: it adopts orphans, and mounts what v1-more wants."""
    again = [sys.executable, "-m", "conformance.cgroups_table", "--program", str(program), "--inside", column]
    argv = ["unshare", "--mount", *again]
    done = subprocess.run(argv, cwd=PROJECT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise RuntimeError(done.stderr)
    cells: dict[str, str] | None = json.loads(done.stdout)
    return cells


def read_page() -> dict[str, dict[str, str]]:
    """Property to column to cell, as the page has them."""
    table: dict[str, dict[str, str]] = {}
    if PAGE.exists():
        titles = {title: column for column, title in COLUMNS.items()}
        lines = [line for line in PAGE.read_text().splitlines() if line.startswith("|")]
        header = [cell.strip() for cell in lines[0].strip("|").split("|")]
        for line in lines[2:]:
            name, *cells = (cell.strip().replace("&#124;", "|") for cell in line.strip("|").split("|"))
            table[name.strip("`")] = {titles[title]: cell for title, cell in zip(header[1:], cells, strict=True) if cell != "-"}
    return table


def write_page(columns: dict[str, dict[str, str]]) -> None:
    table = read_page()
    for column, cells in columns.items():
        for name, cell in cells.items():
            table.setdefault(name, {})[column] = cell
    order = [row[0] for row in rows("8:0")]
    lines = [
        "# Every property of linux.resources, and what became of it", "",
        "Made by `python3 -m conformance.cgroups_table`, compared with the machine by `tests/lifecycle/test_resources_table.py`.",
        "A container a row and column; the cell is what was read back from its cgroup and, by D-Bus, from systemd, or the error.",
        "", f"| property | {' | '.join(COLUMNS.values())} |", "|---" * (len(COLUMNS) + 1) + "|",
    ]  # fmt: skip
    for name in order:
        row = [table.get(name, {}).get(column, "-").replace("|", "&#124;") for column in COLUMNS]
        lines.append(f"| `{name}` | {' | '.join(row)} |")
    PAGE.write_text("\n".join(lines) + "\n")


def main() -> int:
    program = PROJECT / "build/pyrunc"
    words = sys.argv[1:]
    if words[:1] == ["--program"]:
        program = Path(words[1])
        del words[:2]
    if words[:1] == ["--merge"]:
        write_page(json.load(sys.stdin))
    elif words[:1] == ["--inside"]:
        print(json.dumps(measure_more(program) if words[1] == "v1-more" else measure(words[1], program)))
    else:
        found = {column: measure_apart(column, program) for column in words or available()}
        print(json.dumps({column: cells for column, cells in found.items() if cells}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
