"""Names that a configuration may use, and what they are in Linux's ABI.

Sources: capabilities(7) and linux/capability.h; getrlimit(2) and asm-generic/resource.h (alpha, mips and sparc number some
rlimits differently); namespaces(7) and linux/sched.h; mount(2), mount_setattr(2) and linux/mount.h; runtime-spec config.md
and config-linux.md. tests/unit/test_rules_names.py compares every number with the system's headers.
"""

from __future__ import annotations

CAPABILITIES = {
    "CAP_CHOWN": 0, "CAP_DAC_OVERRIDE": 1, "CAP_DAC_READ_SEARCH": 2, "CAP_FOWNER": 3, "CAP_FSETID": 4, "CAP_KILL": 5,
    "CAP_SETGID": 6, "CAP_SETUID": 7, "CAP_SETPCAP": 8, "CAP_LINUX_IMMUTABLE": 9, "CAP_NET_BIND_SERVICE": 10,
    "CAP_NET_BROADCAST": 11, "CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13, "CAP_IPC_LOCK": 14, "CAP_IPC_OWNER": 15,
    "CAP_SYS_MODULE": 16, "CAP_SYS_RAWIO": 17, "CAP_SYS_CHROOT": 18, "CAP_SYS_PTRACE": 19, "CAP_SYS_PACCT": 20,
    "CAP_SYS_ADMIN": 21, "CAP_SYS_BOOT": 22, "CAP_SYS_NICE": 23, "CAP_SYS_RESOURCE": 24, "CAP_SYS_TIME": 25,
    "CAP_SYS_TTY_CONFIG": 26, "CAP_MKNOD": 27, "CAP_LEASE": 28, "CAP_AUDIT_WRITE": 29, "CAP_AUDIT_CONTROL": 30,
    "CAP_SETFCAP": 31, "CAP_MAC_OVERRIDE": 32, "CAP_MAC_ADMIN": 33, "CAP_SYSLOG": 34, "CAP_WAKE_ALARM": 35,
    "CAP_BLOCK_SUSPEND": 36, "CAP_AUDIT_READ": 37, "CAP_PERFMON": 38, "CAP_BPF": 39, "CAP_CHECKPOINT_RESTORE": 40,
}  # fmt: skip
CAPABILITY_SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")

RLIMITS = {
    "RLIMIT_CPU": 0, "RLIMIT_FSIZE": 1, "RLIMIT_DATA": 2, "RLIMIT_STACK": 3, "RLIMIT_CORE": 4, "RLIMIT_RSS": 5,
    "RLIMIT_NPROC": 6, "RLIMIT_NOFILE": 7, "RLIMIT_MEMLOCK": 8, "RLIMIT_AS": 9, "RLIMIT_LOCKS": 10, "RLIMIT_SIGPENDING": 11,
    "RLIMIT_MSGQUEUE": 12, "RLIMIT_NICE": 13, "RLIMIT_RTPRIO": 14, "RLIMIT_RTTIME": 15,
}  # fmt: skip

NAMESPACES = {
    "pid": 0x20000000, "network": 0x40000000, "mount": 0x00020000, "ipc": 0x08000000,
    "uts": 0x04000000, "user": 0x10000000, "cgroup": 0x02000000, "time": 0x00000080,
}  # fmt: skip

HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")

MS_REC = 0x4000
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20

PROPAGATION = {
    "private": MS_PRIVATE, "rprivate": MS_PRIVATE | MS_REC, "shared": MS_SHARED, "rshared": MS_SHARED | MS_REC,
    "slave": MS_SLAVE, "rslave": MS_SLAVE | MS_REC, "unbindable": MS_UNBINDABLE, "runbindable": MS_UNBINDABLE | MS_REC,
}  # fmt: skip

MOUNT_ATTR_RDONLY = 0x01
MOUNT_ATTR_NOSUID = 0x02
MOUNT_ATTR_NODEV = 0x04
MOUNT_ATTR_NOEXEC = 0x08
MOUNT_ATTR__ATIME = 0x70
MOUNT_ATTR_RELATIME = 0x00
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_STRICTATIME = 0x20
MOUNT_ATTR_NODIRATIME = 0x80
MOUNT_ATTR_NOSYMFOLLOW = 0x200000

# Option -> (attributes to set, attributes to clear). Access time is a field of its own, which mount_setattr(2) changes
# only as a whole.
MOUNT_ATTRS = {
    "ro": (MOUNT_ATTR_RDONLY, 0), "rw": (0, MOUNT_ATTR_RDONLY),
    "nosuid": (MOUNT_ATTR_NOSUID, 0), "suid": (0, MOUNT_ATTR_NOSUID),
    "nodev": (MOUNT_ATTR_NODEV, 0), "dev": (0, MOUNT_ATTR_NODEV),
    "noexec": (MOUNT_ATTR_NOEXEC, 0), "exec": (0, MOUNT_ATTR_NOEXEC),
    "nodiratime": (MOUNT_ATTR_NODIRATIME, 0), "diratime": (0, MOUNT_ATTR_NODIRATIME),
    "nosymfollow": (MOUNT_ATTR_NOSYMFOLLOW, 0), "symfollow": (0, MOUNT_ATTR_NOSYMFOLLOW),
    "relatime": (MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME),
    "noatime": (MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME),
    "strictatime": (MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME),
}  # fmt: skip

# Option -> the mode of access time that it takes back.
MOUNT_ATIME_CLEARS = {
    "atime": MOUNT_ATTR_NOATIME, "nostrictatime": MOUNT_ATTR_STRICTATIME, "norelatime": MOUNT_ATTR_RELATIME,
}  # fmt: skip

RECURSIVE_ATTRS = {"r" + name: name for name in (*MOUNT_ATTRS, *MOUNT_ATIME_CLEARS)}

# Flag of a superblock, spelled as fsconfig(2) takes it -> its contrary.
SUPERBLOCK_FLAGS = {
    "ro": "rw", "rw": "ro", "sync": "async", "async": "sync", "lazytime": "nolazytime", "nolazytime": "lazytime",
    "mand": "nomand", "nomand": "mand", "dirsync": "",
}  # fmt: skip

# `iversion` and `silent` are flags of mount(2) that the new mount API lacks: file systems keep i_version as they need it,
# and messages go to the caller's context instead of the kernel's log. `defaults` is the absence of options.
INERT_OPTIONS = ("defaults", "iversion", "noiversion", "silent", "loud")

# Every option that is not data for the file system (runtime-spec config.md, "Linux mount options").
MOUNT_OPTIONS = frozenset((
    *MOUNT_ATTRS, *MOUNT_ATIME_CLEARS, *RECURSIVE_ATTRS, *SUPERBLOCK_FLAGS, *PROPAGATION, *INERT_OPTIONS,
    "bind", "rbind", "remount", "tmpcopyup", "idmap", "ridmap",
))  # fmt: skip

CUSTOM_IDMAP = ("idmap=", "ridmap=")
"""How crun's options with mappings of their own begin: see config/idmap.py."""


def sysctl_path(key: str) -> str:
    """Translate a sysctl's name into its path below /proc/sys, as sysctl(8) does.

    The first separator decides: in ``net.ipv4.conf.eth0/1.mtu`` dots separate and a slash stands for a dot;
    ``net/ipv4/conf/eth0.1/mtu`` is the path already. The answer may hold empty or ``..`` components: rules refuse them.
    """
    dot, slash = key.find("."), key.find("/")
    if dot == -1 or -1 < slash < dot:
        return key
    return key.translate({ord("."): "/", ord("/"): "."})
