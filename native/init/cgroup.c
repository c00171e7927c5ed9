/* Into the cgroups, by the process itself.
 *
 * To move another process, or a whole one by cgroup.procs, the kernel takes a lock that waits for a grace period of RCU: 5 to
 * 15 ms, most of what a container costs. A thread that moves itself needs none of that (v1's `tasks`), nor does a child
 * that is born in its cgroup (cgroup2, clone3(2) CLONE_INTO_CGROUP). The fds are opened while this is still the host's root.
 */
#include "init.h"

#include <linux/mount.h>

/* For CLONE_INTO_CGROUP. The child is born with a copy of it, and closes that at once; but in between somebody in the
 * container who may trace it could go through /proc/PID/fd and up to the host's root (CVE-2024-21626). From a read-only mount
 * of its own, of which nothing lies above, there is no way up. Only without the right to mount it is the directory itself. */
static long open_cgroup2(const char *path) {
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC};
    long fd = sys(__NR_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (fd < 0)
        return sys(__NR_openat, AT_FDCWD, path, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    long r = sys(__NR_mount_setattr, fd, "", AT_EMPTY_PATH, &attr, sizeof attr);
    if (r < 0)
        sys(__NR_close, fd);
    return r < 0 ? r : fd;
}

/* s: file `tasks` of a v1 cgroup, or the directory of a cgroup2; v: its number, cgroup2 */
EXECUTOR(OPEN_CGROUP) {
    const char *path = op_text(op, 0);
    long fd = op->v[1] ? open_cgroup2(path) : sys(__NR_openat, AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return fail(AT_OPEN, fd, NULL);
    if (op->v[0] >= SLOT_HELD - SLOT_CGROUP)
        return fail(AT_OPEN, EMFILE, NULL);
    init.slot[op->v[1] ? SLOT_CGROUP2 : SLOT_CGROUP + op->v[0]] = (int)fd;
    return 0;
}

/* v: how many v1 cgroups */
EXECUTOR(ENTER_CGROUPS) {
    for (uint64_t i = 0; i < op->v[0] && i < SLOT_HELD - SLOT_CGROUP; i++) {
        long r = sys(__NR_write, init.slot[SLOT_CGROUP + i], "0", 1);
        if (r < 0)
            return fail(AT_WRITE, r, NULL);
        fd_close(&init.slot[SLOT_CGROUP + i]);
    }
    return 0;
}
