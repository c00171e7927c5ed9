/* User namespaces beside the container's own: for their mappings alone. */
#include "init.h"

#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/signal.h>

/* A process in a new user namespace, which waits to be killed, by us or with us. */
static long start_holder(void) {
    long parent = sys(__NR_getpid), pid = sys(__NR_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) {
        sys(__NR_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        while (sys(__NR_getppid) == parent)
            sys(__NR_ppoll, 0, 0, 0, 0, 0);
        sys(__NR_exit_group, 1);
    }
    return pid;
}

/* For an ID-mapped mount, mount_setattr(2): only the mappings count, so nobody need live in the namespace. It is made
 * while this process still has the host's right to map any id. s: lines of uid_map, of gid_map; v: slot */
EXECUTOR(MAKE_USERNS) {
    char dir[32];
    size_t at = 0;
    int result = -1, status;
    long fd = -1, pid = start_holder();
    if (pid < 0)
        return fail(AT_USERNS, pid, NULL);
    dir[0] = 0;
    text_add_number(dir, sizeof dir, &at, (unsigned long)pid);
    if (proc_write(dir, "uid_map", op_text(op, 0), op_length(op, 0)) == 0 &&
        proc_write(dir, "gid_map", op_text(op, 1), op_length(op, 1)) == 0) {
        text_add(dir, sizeof dir, &at, "/ns/user");
        fd = sys(__NR_openat, init.slot[SLOT_PROC], dir, O_RDONLY | O_CLOEXEC, 0);
        result = fd < 0 ? fail(AT_USERNS, fd, NULL) : fd_hold(op->v[0], (int)fd);
    }
    sys(__NR_kill, pid, SIGKILL);
    sys(__NR_wait4, pid, &status, 0, 0);
    return result;
}

struct line {
    unsigned long inside, outside, count;
};

static unsigned long number(const char **s) {
    while (**s == ' ')
        ++*s;
    return text_number(*s, s);
}

/* The next line of *s, which the kernel pads with blanks and we do not. False at the end, and where there is no number. */
static bool next_line(const char **s, struct line *line) {
    const char *begin = *s;
    line->inside = number(s);
    line->outside = number(s);
    line->count = number(s);
    if (**s == '\n')
        ++*s;
    return *s != begin;
}

static size_t lines(const char *map) {
    size_t n = 0;
    for (; *map; map++)
        n += *map == '\n';
    return n;
}

/* The kernel may have sorted the lines. */
static bool same_map(const char *ours, const char *theirs) {
    struct line a, b;
    if (lines(ours) != lines(theirs))
        return false;
    while (next_line(&ours, &a)) {
        const char *s = theirs;
        bool found = false;
        while (!found && next_line(&s, &b))
            found = a.inside == b.inside && a.outside == b.outside && a.count == b.count;
        if (!found)
            return false;
    }
    return true;
}

/* The maps of the user namespace that was just joined, as they stand against its parent's ids, and no others.
 * s: lines of uid_map, of gid_map */
EXECUTOR(VERIFY_MAPS) {
    static const char *const names[] = {"uid_map", "gid_map"};
    char map[1 << 14]; /* 340 lines of three numbers: user_namespaces(7) */
    const char *ours[] = {op_text(op, 0), op_text(op, 1)};
    for (size_t i = 0; i < COUNT(names); i++) {
        if (proc_read_own(names[i], map, sizeof map) < 0)
            return -1;
        if (*ours[i] && !same_map(ours[i], map))
            return fail(AT_SAMEMAPS, EINVAL, map);
    }
    return 0;
}
