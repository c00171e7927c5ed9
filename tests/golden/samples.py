"""An op of each constructor, with a value in every field."""

from __future__ import annotations

from collections.abc import Callable

from pyrunc.plan import opcodes as c, ops
from pyrunc.plan.ops import Op

SAMPLES: dict[Callable[..., Op], Op] = {
    ops.open_proc: ops.open_proc(),
    ops.own_root: ops.own_root(),
    ops.open_ns: ops.open_ns("linux.namespaces[0].path", "/proc/1/ns/net", 0),
    ops.setns: ops.setns("linux.namespaces[0].path", "/proc/1/ns/net", 3, 0x40000000),
    ops.join: ops.join("", 0x20020000),
    ops.unshare: ops.unshare("linux.namespaces", 0x2C020000, dumpable=True),
    ops.sync: ops.sync(c.SYNC_READY),
    ops.become_root: ops.become_root("linux.uidMappings", keep_groups=True),
    ops.time_offsets: ops.time_offsets("linux.timeOffsets", "monotonic 5 0\nboottime -7 1\n"),
    ops.fork: ops.fork(),
    ops.oom_score: ops.oom_score("process.oomScoreAdj", -999),
    ops.session: ops.session(),
    ops.keyring: ops.keyring("_ses.c1", new=True),
    ops.loopback: ops.loopback("linux.namespaces[1]"),
    ops.net_devices: ops.net_devices("linux.netDevices", ["eth1", "eth2 as lan%d"]),
    ops.propagate: ops.propagate("linux.rootfsPropagation", "/", [0x84000]),
    ops.make_userns: ops.make_userns("mounts[3]", "0 1000 1\n", "0 100 1\n1 5 2\n", c.SLOT_HELD),
    ops.verify_maps: ops.verify_maps("linux.uidMappings", "0 1000 1\n", "0 100 1\n"),
    ops.open_tree: ops.open_tree(
        "mounts[3]", "/data", c.SLOT_HELD + 1, [0x84000], c.MODE_RECURSIVE | c.MODE_MAPBELOW, c.SLOT_HELD
    ),
    ops.new_tree: ops.new_tree("mounts[4]", "tmpfs", ["source=t", "mode=700"], c.SLOT_HELD + 2, 0x6, c.SLOT_NS, (5, 6)),
    ops.go_to_root: ops.go_to_root("root.path", "/bundle/rootfs"),
    ops.remount: ops.remount("mounts[5]", "/t", ["ro", "size=1m"], attributes=(1, 4), below=(2, 8), propagation=[0x100000]),
    ops.root: ops.root("root.path", "/bundle/rootfs", private_parent=True, here=True),
    ops.open_root: ops.open_root(),
    ops.mount: ops.mount(
        "mounts[0]", "tmpfs", "/tmp", ["source=none", "ro"], 0x26, [0x40000, 0x84000], c.MODE_COPYUP, instead=("/sys", 1)
    ),
    ops.mount_data: ops.mount_data("mounts[1]", "overlay", "/o", "lowerdir=/l", "none", 0x401, [0x100000], c.MODE_REALDIR),
    ops.bind: ops.bind(
        "mounts[2]", "/data", "/d", attributes=(1, 0x70), below=(2, 4), propagation=[0x24000],
        mode=c.MODE_RECURSIVE | c.MODE_INPROC,
    ),  # fmt: skip
    ops.device: ops.device("linux.devices[0]", "/dev/fuse", 0o020660, 10, 229, 1000, 5),
    ops.bind_device: ops.bind_device("linux.devices", "/dev/null", "/dev/null", 0o020000, 1, 3),
    ops.symlink: ops.symlink("linux.devices", "/dev/ptmx", "pts/ptmx", replace=True),
    ops.hook: ops.hook("hooks.startContainer[0]", "/h", ["h", "", "x y"], ["A=b"], ('{"pid":', "}"), 1500),
    ops.hide: ops.hide("/proc"),
    ops.pivot: ops.pivot(),
    ops.move_root: ops.move_root(),
    ops.open_cgroup: ops.open_cgroup("/sys/fs/cgroup/pids/c1/tasks", 1, cgroup2=True),
    ops.enter_cgroups: ops.enter_cgroups(2),
    ops.enter_root: ops.enter_root(),
    ops.root_propagation: ops.root_propagation("linux.rootfsPropagation", [0x100000]),
    ops.null_stdio: ops.null_stdio(),
    ops.make_cwd: ops.make_cwd("process.cwd", "/work"),
    ops.console: ops.console("process.terminal", 24, 80, bind=True),
    ops.own_stdio: ops.own_stdio(1000),
    ops.readonly_mount: ops.readonly_mount("root.readonly", "/"),
    ops.readonly_path: ops.readonly_path("linux.readonlyPaths[0]", "/proc/sys"),
    ops.mask_path: ops.mask_path("linux.maskedPaths[0]", "/proc/keys", ["mode=755", "context=a:b:c:d"]),
    ops.label: ops.label("process.apparmorProfile", "attr/apparmor/exec", "exec p", "attr/exec"),
    ops.file_label: ops.file_label("linux.mountLabel", "/dev/mqueue", "a:b:c:d"),
    ops.umask: ops.umask("process.user.umask", 0o27),
    ops.hostname: ops.hostname("hostname", "h"),
    ops.domainname: ops.domainname("domainname", "d"),
    ops.sysctl: ops.sysctl('linux.sysctl["net.a"]', "net/a", "1"),
    ops.no_new_privs: ops.no_new_privs("process.noNewPrivileges"),
    ops.seccomp: ops.seccomp("linux.seccomp", bytes(16), 10, dumpable=True),
    ops.bounding: ops.bounding("process.capabilities.bounding", 1 << 40),
    ops.chdir: ops.chdir("process.cwd", "/", last=True),
    ops.user: ops.user("process.user", 1000, 100, [5, 0xFFFFFFFE], keep_caps=True),
    ops.capabilities: ops.capabilities("process.capabilities", 1, 3, 2, 0),
    ops.scheduler: ops.scheduler("process.scheduler", 6, 0x41, 0, 0, 10_000_000, 20_000_000, 30_000_000),
    ops.io_priority: ops.io_priority("process.ioPriority", 2 << 13 | 7),
    ops.affinity: ops.affinity("process.execCPUAffinity.final", bytes([0x8B, 0, 0, 0, 0, 0, 0, 0x80])),
    ops.personality: ops.personality("linux.personality", 8),
    ops.memory_policy: ops.memory_policy("linux.memoryPolicy", 2 | 0x8000, bytes([3, 0, 0, 0, 0, 0, 0, 0])),
    ops.home: ops.home(1000),
    ops.lookup: ops.lookup("process.args[0]", "sh", "/bin"),
    ops.wait: ops.wait(),
    ops.release: ops.release(),
    ops.execute: ops.execute("process.args", ["sh", "-c", "true"], ["A=b", "C="]),
}
