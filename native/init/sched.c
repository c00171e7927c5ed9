/* When and where the process runs: policy, priorities, CPUs, memory nodes, personality. */
#include "init.h"

#include <linux/sched/types.h>

#define IOPRIO_WHO_PROCESS 1
#define CPUS 8192 /* more than any kernel is built for */

/* v: policy, SCHED_FLAG_*, nice in the lower and priority in the upper half, runtime, deadline, period in ns */
EXECUTOR(SCHEDULER) {
    struct sched_attr attr = {
        .size = sizeof attr,
        .sched_policy = (uint32_t)op->v[0],
        .sched_flags = op->v[1],
        .sched_nice = (int32_t)op->v[2],
        .sched_priority = (uint32_t)(op->v[2] >> 32),
        .sched_runtime = op->v[3],
        .sched_deadline = op->v[4],
        .sched_period = op->v[5],
    };
    long r = sys(__NR_sched_setattr, 0, &attr, 0);
    return r < 0 ? fail(AT_NONE, r, NULL) : 0;
}

/* v: class and level, as ioprio_set(2) packs them */
EXECUTOR(IO_PRIORITY) {
    long r = sys(__NR_ioprio_set, IOPRIO_WHO_PROCESS, 0, op->v[0]);
    return r < 0 ? fail(AT_NONE, r, NULL) : 0;
}

/* s: the CPUs as a mask; none for all that the cpuset has. The kernel cuts a mask to its own size and to the cpuset, but what a
 * process was once given it keeps, also in a cpuset it moves to (since Linux 6.2): so the caller's would be the container's. */
EXECUTOR(AFFINITY) {
    unsigned char all[CPUS / 8];
    const char *mask = op_text(op, 0);
    if (!mask)
        memset(all, 0xff, sizeof all);
    long r = sys(__NR_sched_setaffinity, 0, mask ? op_length(op, 0) : sizeof all, mask ? (const void *)mask : all);
    return r < 0 ? fail(AT_NONE, r, NULL) : 0;
}

/* v: the execution domain */
EXECUTOR(PERSONALITY) {
    long r = sys(__NR_personality, op->v[0]);
    return r < 0 ? fail(AT_NONE, r, NULL) : 0;
}

/* s: the nodes as a mask; v: mode and MPOL_F_*. The kernel reads one bit less than it is told (set_mempolicy(2), BUGS). */
EXECUTOR(MEMORY_POLICY) {
    uint32_t size = op_length(op, 0);
    long r = sys(__NR_set_mempolicy, op->v[0], size ? op_text(op, 0) : NULL, size ? size * 8 + 1 : 0);
    return r < 0 ? fail(AT_NONE, r, NULL) : 0;
}
