/* Who the container's process is: names, user, capabilities, filters. */
#include "init.h"

#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <linux/signal.h>

EXECUTOR(UMASK) {
    sys(__NR_umask, op->v[0]);
    return 0;
}

EXECUTOR(HOSTNAME) {
    long r = sys(__NR_sethostname, op_text(op, 0), op_length(op, 0));
    return r < 0 ? fail(AT_SETHOSTNAME, r, NULL) : 0;
}

EXECUTOR(DOMAINNAME) {
    long r = sys(__NR_setdomainname, op_text(op, 0), op_length(op, 0));
    return r < 0 ? fail(AT_SETDOMAINNAME, r, NULL) : 0;
}

EXECUTOR(NO_NEW_PRIVS) {
    (void)op;
    long r = sys(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    return r < 0 ? fail(AT_PRCTL, r, "no_new_privs") : 0;
}

/* The filter may put any system call before its listener, and nobody listens yet: so there is none until the runtime has
 * taken the listener out of our hands, and the two say by memory what they have to. That takes the runtime one look, and
 * its death is ours. */
static void give_listener(long fd) {
    init.step->listener = (uint32_t)fd + 1;
    while (!init.step->taken)
        ;
    sys(__NR_close, fd);
}

/* s: the filter's instructions, or nothing: they and their flags are in the step page; v: SECCOMP_FILTER_FLAG_*, become
 * dumpable for the moment, as the unprivileged runtime may take an fd of such a process only (pidfd_getfd(2)) */
EXECUTOR(SECCOMP) {
    const char *filter = op_text(op, 0);
    uint32_t size = filter ? op_length(op, 0) : init.step->size, count = size / sizeof(struct sock_filter);
    uint64_t flags = filter ? op->v[0] : init.step->flags;
    struct sock_fprog program = {
        .len = (unsigned short)count, .filter = (struct sock_filter *)(filter ? filter : (const char *)init.step->filter)};
    if (size % sizeof(struct sock_filter) || count > BPF_MAXINSNS) /* the kernel's count is of 16 bits */
        return fail(AT_LOADSECCOMP, EINVAL, NULL);
    bool listener = flags & SECCOMP_FILTER_FLAG_NEW_LISTENER;
    if (listener && channel_say(MSG_LISTENER, 0) < 0)
        return -1;
    if (listener && op->v[1])
        sys(__NR_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
    long r = sys(__NR_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
    if (r >= 0 && listener)
        give_listener(r);
    if (listener && op->v[1])
        sys(__NR_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
    return r < 0 ? fail(AT_LOADSECCOMP, r, NULL) : 0;
}

/* v: the capabilities that stay */
EXECUTOR(BOUNDING) {
    for (int cap = 0; cap < 64; cap++) {
        long r = sys(__NR_prctl, PR_CAPBSET_READ, cap, 0, 0, 0);
        if (r < 0)
            break; /* one past the last that this kernel has */
        if (r > 0 && !(op->v[0] >> cap & 1) && (r = sys(__NR_prctl, PR_CAPBSET_DROP, cap, 0, 0, 0)) < 0)
            return fail(AT_DROPBOUNDING, r, NULL);
    }
    return 0;
}

/* s: additional groups, an array of 32-bit numbers; v: uid, gid, set groups, keep capabilities for CAPABILITIES */
EXECUTOR(USER) {
    long r = 0;
    if (op->v[3] && (r = sys(__NR_prctl, PR_SET_KEEPCAPS, 1, 0, 0, 0)) < 0)
        return fail(AT_PRCTL, r, "keep capabilities");
    if (op->v[2] && (r = sys(__NR_setgroups, op_length(op, 0) / 4, op_text(op, 0))) < 0)
        return fail(AT_SETGROUPS, r, NULL);
    if ((r = sys(__NR_setresgid, op->v[1], op->v[1], op->v[1])) < 0)
        return fail(AT_SETGID, r, NULL);
    if ((r = sys(__NR_setresuid, op->v[0], op->v[0], op->v[0])) < 0)
        return fail(AT_SETUID, r, NULL);
    sys(__NR_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
    sys(__NR_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0); /* a change of credentials cleared it */
    return 0;
}

static uint64_t bounding_set(void) {
    uint64_t set = 0;
    for (int cap = 0; cap < 64; cap++)
        if (sys(__NR_prctl, PR_CAPBSET_READ, cap, 0, 0, 0) == 1)
            set |= 1ull << cap;
    return set;
}

/* v: effective, permitted, inheritable, ambient. What the kernel or the bounding set does not grant is left out, as
 * the specification asks: the runtime has warned. */
EXECUTOR(CAPABILITIES) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct now[2], want[2];
    const uint64_t bounding = bounding_set();
    long r = sys(__NR_capget, &header, now);
    if (r < 0)
        return fail(AT_CAPSET, r, NULL);
    for (int i = 0; i < 2; i++) {
        want[i].permitted = (uint32_t)(op->v[1] >> (32 * i)) & now[i].permitted;
        want[i].effective = (uint32_t)(op->v[0] >> (32 * i)) & want[i].permitted;
        want[i].inheritable = (uint32_t)(op->v[2] >> (32 * i)) &
                              (now[i].inheritable | (now[i].permitted & (uint32_t)(bounding >> (32 * i))));
    }
    if ((r = sys(__NR_capset, &header, want)) < 0)
        return fail(AT_CAPSET, r, NULL);
    sys(__NR_prctl, PR_SET_KEEPCAPS, 0, 0, 0, 0);
    if ((r = sys(__NR_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)) < 0)
        return fail(AT_AMBIENT, r, NULL);
    for (int cap = 0; cap < 64; cap++)
        if (op->v[3] >> cap & 1 && (want[cap / 32].permitted & want[cap / 32].inheritable) >> cap % 32 & 1)
            if ((r = sys(__NR_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0)) < 0)
                return fail(AT_AMBIENT, r, NULL);
    return 0;
}
