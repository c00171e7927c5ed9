/* Into the cgroups, by the process itself.
 *
 * To move another process, or a whole one by cgroup.procs, the kernel takes a lock that waits for a grace period of RCU: 5 to
 * 15 ms, most of what a container costs. A thread that moves itself needs none of that (v1's `tasks`), nor does a child
 * that is born in its cgroup (cgroup2, clone3(2) CLONE_INTO_CGROUP). The fds are opened while this is still the host's root.
 */
#include "init.h"

/* s: file `tasks` of a v1 cgroup, or the directory of a cgroup2; v: its number, cgroup2 */
EXECUTOR(OPEN_CGROUP) {
    long fd = sys(__NR_openat, AT_FDCWD, op_text(op, 0), (op->v[1] ? O_PATH | O_DIRECTORY : O_WRONLY) | O_CLOEXEC, 0);
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
