/* Namespaces, and the process that lives in them. */
#include "init.h"

#include <asm/statfs.h>
#include <linux/keyctl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/signal.h>

/* The host's procfs, opened before any namespace is entered. Every later write below /proc goes through it, so that
 * nothing the container mounts can redirect one (CVE-2019-16884, CVE-2025-52881). It is closed before WAIT. */
EXECUTOR(OPEN_PROC) {
    (void)op;
    int fd = path_open_retry(AT_FDCWD, "/proc", O_PATH | O_DIRECTORY, 0, 0);
    if (fd < 0)
        return fail(AT_OPEN, fd, NULL);
    if (!path_is_fs(fd, PROC_SUPER_MAGIC))
        return fail(AT_VERIFY, EINVAL, "/proc is not a proc file system");
    init.slot[SLOT_PROC] = fd;
    return 0;
}

/* What is no namespace must not hold us up, as a fifo would. */
EXECUTOR(OPEN_NS) {
    long fd = sys(__NR_openat, AT_FDCWD, op_text(op, 0), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0);
    if (fd < 0)
        return fail(AT_OPEN, fd, NULL);
    if (!path_is_fs((int)fd, NSFS_MAGIC))
        return fail(AT_NSTYPE, EINVAL, NULL);
    if (op->v[0] >= SLOT_CGROUP - SLOT_NS)
        return fail(AT_OPEN, EMFILE, NULL);
    init.slot[SLOT_NS + op->v[0]] = (int)fd;
    return 0;
}

/* setns(2) refuses with EINVAL an fd that is not of the given type. */
EXECUTOR(SETNS) {
    long r = sys(__NR_setns, init.slot[SLOT_NS + op->v[0] % (SLOT_CGROUP - SLOT_NS)], op->v[1]);
    return r < 0 ? fail(r == -EINVAL ? AT_NSTYPE : AT_SETNS, r, NULL) : 0;
}

/* All of a container's namespaces at once, through the pidfd of its init: no pid can be taken over meanwhile. What was
 * open of the host's stays behind. */
EXECUTOR(JOIN) {
    fd_close(&init.slot[SLOT_PROC]);
    long r = sys(__NR_setns, init.slot[SLOT_PIDFD], op->v[0]);
    fd_close(&init.slot[SLOT_PIDFD]);
    return r < 0 ? fail(AT_SETNS, r, NULL) : 0;
}

/* v1: become dumpable for the moment, because an unprivileged runtime may write id maps only of such a process. */
EXECUTOR(UNSHARE) {
    if (op->v[1])
        sys(__NR_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
    long r = sys(__NR_unshare, op->v[0]);
    return r < 0 ? fail(AT_UNSHARE, r, NULL) : 0;
}

EXECUTOR(SYNC) { return channel_wait((uint32_t)op->v[0], -1); }

/* Root of the user namespace just entered, without groups from outside. A single mapping forbids setgroups: v0. */
EXECUTOR(BECOME_ROOT) {
    long r;
    sys(__NR_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
    if (!op->v[0] && (r = sys(__NR_setgroups, 0, 0)) < 0)
        return fail(AT_SETGROUPS, r, NULL);
    if ((r = sys(__NR_setresgid, 0, 0, 0)) < 0)
        return fail(AT_SETGID, r, NULL);
    if ((r = sys(__NR_setresuid, 0, 0, 0)) < 0)
        return fail(AT_SETUID, r, NULL);
    sys(__NR_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
    sys(__NR_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0); /* a change of credentials cleared it */
    return 0;
}

#define RESOLVE_SAFE_PROC (RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV)

static int proc_open(const char *below, const char *name, uint64_t flags) {
    int dir = path_open_retry(init.slot[SLOT_PROC], below, O_PATH | O_DIRECTORY, 0, RESOLVE_SAFE_PROC);
    int fd = dir < 0 ? dir : path_open_retry(dir, name, flags, 0, RESOLVE_SAFE_PROC);
    fd_close(&dir);
    if (fd >= 0 && !path_is_fs(fd, PROC_SUPER_MAGIC)) {
        fd_close(&fd);
        fd = -EXDEV;
    }
    return fd < 0 ? fail(AT_OPEN, fd, NULL) : fd;
}

int proc_write(const char *below, const char *name, const char *text, size_t length) {
    int fd = proc_open(below, name, O_WRONLY);
    if (fd < 0)
        return -1;
    long r = sys(__NR_write, fd, text, length);
    fd_close(&fd);
    return r < 0 ? fail(AT_WRITE, r, NULL) : 0;
}

/* /proc/self is a link, and links are refused above; the number is what it would say. */
static int proc_self(char *self, size_t size) {
    long n = sys(__NR_readlinkat, init.slot[SLOT_PROC], "self", self, size - 1);
    if (n < 0)
        return fail(AT_OPEN, n, NULL);
    self[n] = 0;
    return 0;
}

static int write_own(const char *name, const char *text, size_t length) {
    char self[32];
    return proc_self(self, sizeof self) < 0 ? -1 : proc_write(self, name, text, length);
}

int proc_read_own(const char *name, char *text, size_t size) {
    char self[32];
    size_t at = 0;
    long n = 1;
    int fd = proc_self(self, sizeof self) < 0 ? -1 : proc_open(self, name, O_RDONLY);
    if (fd < 0)
        return -1;
    while (at + 1 < size && (n = sys(__NR_read, fd, text + at, size - 1 - at)) > 0)
        at += (size_t)n;
    fd_close(&fd);
    text[at] = 0;
    return n == 0 ? 0 : fail(AT_READ, n < 0 ? n : EFBIG, NULL);
}

EXECUTOR(TIME_OFFSETS) { return write_own("timens_offsets", op_text(op, 0), op_length(op, 0)); }

EXECUTOR(OOM_SCORE) { return write_own("oom_score_adj", op_text(op, 0), op_length(op, 0)); }

/* A security module's attribute of this process. The detail is in back-quotes, as podman looks for it.
 * s: attribute, text, the attribute's older name or none */
EXECUTOR(LABEL) {
    char detail[64];
    size_t at = 0;
    const char *name = op_text(op, 0), *text = op_text(op, 1), *older = op_text(op, 2);
    int r = write_own(name, text, op_length(op, 1));
    if (r < 0 && older && init.failure.place == AT_OPEN && init.failure.error == ENOENT) {
        name = older;
        r = write_own(name, text, op_length(op, 1));
    }
    if (r == 0)
        return 0;
    text_add(detail, sizeof detail, &at, "`/proc/self/");
    text_add(detail, sizeof detail, &at, name);
    text_add(detail, sizeof detail, &at, "`");
    return fail(init.failure.place, init.failure.error, detail);
}

EXECUTOR(SYSCTL) { return proc_write("sys", op_text(op, 0), op_text(op, 1), op_length(op, 1)); }

/* A new or joined pid (or time) namespace holds for children only. The child is the runtime's child, not ours, so that
 * it outlives this process as anybody's child would. It waits until the runtime has been told its pid: all that comes on
 * the socket after that is the child's, and nothing before. */
EXECUTOR(FORK) {
    (void)op;
    struct clone_args args = {.flags = CLONE_PARENT};
    int told[2];
    char go;
    long r = sys(__NR_pipe2, told, O_CLOEXEC);
    if (init.slot[SLOT_CGROUP2] >= 0) { /* born in it, see cgroup.c */
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = (uint64_t)init.slot[SLOT_CGROUP2];
    }
    long pid = r < 0 ? r : sys(__NR_clone3, &args, sizeof args);
    if (pid < 0)
        return fail(AT_FORK, pid, NULL);
    if (pid > 0) {
        r = channel_say(MSG_FORKED, (uint32_t)pid);
        if (r == 0)
            r = sys(__NR_write, told[1], "", 1);
        sys(__NR_exit_group, r < 0);
    }
    sys(__NR_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    fd_close(&init.slot[SLOT_CGROUP2]); /* a directory of the host's, and from here on others see this process */
    fd_close(&told[1]);
    r = sys(__NR_read, told[0], &go, 1);
    fd_close(&told[0]);
    return r == 1 ? 0 : fail(AT_FORK, r < 0 ? r : EPIPE, NULL);
}

EXECUTOR(SESSION) {
    (void)op;
    long r = sys(__NR_setsid);
    return r < 0 ? fail(AT_SETSID, r, NULL) : 0;
}

/* possessor: all; user: view, read, link, as a new session keyring has them, and search. */
#define KEYRING_PERMISSIONS 0x3f1b0000

/* s: name; v: it is made here, not found, and gets its permissions */
EXECUTOR(KEYRING) {
    long ring = sys(__NR_keyctl, KEYCTL_JOIN_SESSION_KEYRING, op_text(op, 0), 0, 0, 0);
    if (ring < 0)
        return fail(AT_JOINKEYRING, ring, NULL);
    if (!op->v[0])
        return 0;
    long r = sys(__NR_keyctl, KEYCTL_SETPERM, ring, KEYRING_PERMISSIONS, 0, 0);
    return r < 0 ? fail(AT_JOINKEYRING, r, "set permissions") : 0;
}
