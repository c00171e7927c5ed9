/* The last steps: the working directory, the program, the wait for `start`, execve(2). */
#include "init.h"

#include <linux/limits.h>
#include <linux/prctl.h>

EXECUTOR(MAKE_CWD) {
    int fd = path_target(op_text(op, 0), TARGET_DIR, false);
    if (fd < 0)
        return -1;
    fd_close(&fd);
    return 0;
}

/* An inherited fd of a directory of the host's could be the working directory by way of /proc/self/fd: then the kernel
 * names it "(unreachable)", or not at all (CVE-2024-21626). */
static int verify_cwd(void) {
    char path[PATH_MAX];
    long n = sys(__NR_getcwd, path, sizeof path);
    if (n < 0)
        return fail(AT_OUTSIDE, n, NULL);
    return path[0] == '/' ? 0 : fail(AT_OUTSIDE, EPERM, NULL);
}

/* Tried as root, because the directory may be root's alone, and if that is refused as the user, whose it may be alone.
 * s: directory; v: 1 for the second and last time */
EXECUTOR(CHDIR) {
    if (init.cwd_done)
        return 0;
    long r = sys(__NR_chdir, op_text(op, 0));
    if (r < 0 && !op->v[0] && (r == -EACCES || r == -EPERM))
        return 0;
    if (r < 0)
        return fail(AT_CHDIR, r, NULL);
    init.cwd_done = true;
    return verify_cwd();
}

/* Finds field 6 of the user's line in passwd text; the line must be whole. */
static bool home_in(const char *line, const char *end, uint64_t uid, char *home, size_t size) {
    int field = 0;
    size_t at = 5;
    const char *rest;
    for (const char *s = line; s < end; s++) {
        if (field == 2 && s[-1] == ':' && (text_number(s, &rest) != uid || *rest != ':' || rest == s))
            return false;
        if (*s == ':')
            field++;
        else if (field == 5 && at + 1 < size)
            home[at++] = *s;
    }
    home[at] = 0;
    return field >= 5 && at > 5;
}

/* HOME from the container's /etc/passwd, which is read as what it is, a hostile file: bounded, regular, not followed
 * out of the root. v: uid */
EXECUTOR(HOME) {
    static char home[PATH_MAX] = "HOME=/";
    static char text[1 << 16];
    struct statx st;
    init.home = home;
    int fd = path_in_root("/etc/passwd", O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
    if (fd < 0)
        return 0;
    if (path_statx(fd, &st) < 0 || (st.stx_mode & S_IFMT) != S_IFREG) {
        fd_close(&fd);
        return 0;
    }
    size_t kept = 0;
    for (int blocks = 0; blocks < 64; blocks++) {
        long n = sys(__NR_read, fd, text + kept, sizeof text - 1 - kept);
        size_t length = kept + (n > 0 ? (size_t)n : 0), begin = 0;
        if (n <= 0 && length)
            text[length++] = '\n';
        for (size_t i = 0; i < length; i++)
            if (text[i] == '\n') {
                text[i] = 0;
                if (home_in(text + begin, text + i, op->v[0], home, sizeof home))
                    goto found;
                begin = i + 1;
            }
        kept = begin || length < sizeof text - 1 ? length - begin : 0; /* a line longer than the buffer is nobody's */
        memmove(text, text + begin, kept);
        if (n <= 0)
            break;
    }
    memcpy(home, "HOME=/", 7);
found:
    fd_close(&fd);
    return 0;
}

/* 0, or the errno that execve(2) would give; a directory is told apart. Old system calls on purpose: a seccomp filter
 * may be loaded already, and profiles of some years ago know no statx or faccessat2. */
static long runnable(const char *path) {
    long fd = sys(__NR_openat, AT_FDCWD, path, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd >= 0) {
        sys(__NR_close, fd);
        return -EISDIR;
    }
    long r = sys(__NR_faccessat, AT_FDCWD, path, 1 /* X_OK */);
    return r == 0 && fd != -ENOTDIR ? fd : r;
}

/* The search of execvp(3), as the container's user, so that `create` can already tell. s: name, PATH */
EXECUTOR(LOOKUP) {
    static char found[PATH_MAX];
    const char *name = op_text(op, 0), *dir = op_text(op, 1);
    for (const char *s = name; *s; s++)
        if (*s == '/') {
            long r = runnable(name);
            init.program = name;
            return r < 0 ? fail(r == -ENOENT || r == -ENOTDIR ? AT_STAT : AT_ACCESS, r, NULL) : 0;
        }
    while (dir) {
        size_t at = 0, n = 0;
        while (dir[n] && dir[n] != ':')
            n++;
        if (n < sizeof found) {
            text_add(found, n + 1, &at, dir);
            text_add(found, sizeof found, &at, n ? "/" : "./");
            text_add(found, sizeof found, &at, name);
            if (at == n + (n ? 1 : 2) + text_length(name) && runnable(found) == 0) {
                init.program = found;
                return 0;
            }
        }
        dir = dir[n] ? dir + n + 1 : NULL;
    }
    return fail(AT_NOTFOUND, ENOENT, NULL);
}

/* Of all fds beyond stdio and the preserved ones only the channel stays, as number `last`; execve(2) closes it, and until
 * then it must be able to say that execve failed. An old seccomp profile may not know close_range(2). */
static int keep_only(int channel, int last) {
    if (channel != last && sys(__NR_dup3, channel, last, O_CLOEXEC) < 0)
        return fail(AT_OPEN, EBADF, NULL);
    if (sys(__NR_close_range, last + 1, ~0u, 0) < 0)
        for (int fd = last + 1; fd < 1024; fd++)
            sys(__NR_close, fd);
    for (int i = 0; i < PLAN_NSLOTS; i++)
        init.slot[i] = -1;
    init.masked = -1;
    init.channel = last;
    return 0;
}

/* Until here the runtime's death is ours. From here the process is the container's: it waits, with nothing but its
 * stdio, what was preserved, and two fifos, for one byte from `start`. */
EXECUTOR(WAIT) {
    (void)op;
    char go;
    int go_fd = 3 + init.plan->preserve;
    long n = channel_say(MSG_DONE, 0);
    if (n < 0)
        return -1;
    sys(__NR_prctl, PR_SET_PDEATHSIG, 0, 0, 0, 0);
    /* The fifos lie above the plan, the socket and the step page, those above what was preserved: no copy hits another. */
    if (sys(__NR_dup3, init.slot[SLOT_GO], go_fd, O_CLOEXEC) < 0)
        return fail(AT_OPEN, EBADF, NULL);
    if (keep_only(init.slot[SLOT_REPLY], go_fd + 1) < 0)
        return -1;
    signals_end_us(true);
    do
        n = sys(__NR_read, go_fd, &go, 1);
    while (n == -EINTR);
    signals_end_us(false);
    sys(__NR_close, go_fd);
    return n == 1 ? 0 : fail(AT_READ, n < 0 ? n : EPIPE, NULL);
}

/* For `run` and `exec`, which do not wait: the socket's end at execve(2) tells the runtime that all went well. */
EXECUTOR(RELEASE) {
    (void)op;
    sys(__NR_prctl, PR_SET_PDEATHSIG, 0, 0, 0, 0);
    return keep_only(init.channel, 3 + init.plan->preserve);
}

/* Everything else was closed before, so that a seccomp filter may come in between. s: argv, env; v: argc, envc */
EXECUTOR(EXEC) {
    char **argv = op_vector(op, 0, op->v[0], 0), **env = op_vector(op, 1, op->v[1], 1);
    if (!argv || !env)
        return fail(AT_MEMORY, ENOMEM, NULL);
    if (init.home)
        env[op->v[1]] = (char *)init.home;
    return fail(AT_EXECVE, sys(__NR_execve, init.program, argv, env), NULL);
}
