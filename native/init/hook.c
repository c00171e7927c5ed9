/* createContainer and startContainer hooks: the only ones that run inside the container's namespaces. */
#include "init.h"

#include <linux/eventpoll.h>
#include <linux/poll.h>
#include <linux/sched.h>
#include <linux/signal.h>
#include <linux/time.h>
#include <linux/wait.h>

#define CAPTURE 1024 /* bytes kept of each of the hook's two outputs: the last ones */
#define PIPE 65536   /* what a pipe holds, pipe(7) */
#define SLICE 20     /* ms to sleep where no pidfd wakes us: an old seccomp profile may not know pidfd_open(2) */

struct output {
    int fd;
    size_t length;
    char text[CAPTURE + 1];
};

struct hook {
    long pid;
    int pidfd, in;
    struct output out, err;
    const char *state[3];
    size_t state_length[3];
    int part;
    size_t sent;
};

static uint64_t now_ms(void) {
    struct __kernel_timespec t = {0, 0};
    sys(__NR_clock_gettime, 1 /* CLOCK_MONOTONIC */, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* The hook sees stdio and nothing else, from the root of its file system: the bundle's root before PIVOT, "/" after. */
static _Noreturn void become_hook(const struct plan_op *op, char **argv, char **env, const int *pipes) {
    unsigned long none = 0;
    signal_set(SIGPIPE, SIG_DFL);
    sys(__NR_rt_sigprocmask, SIG_SETMASK, &none, 0, sizeof none);
    if (sys(__NR_fchdir, init.slot[SLOT_ROOT]) < 0) /* closed by WAIT */
        sys(__NR_chdir, "/");
    if (sys(__NR_dup3, pipes[0], 0, 0) >= 0 && sys(__NR_dup3, pipes[3], 1, 0) >= 0 && sys(__NR_dup3, pipes[5], 2, 0) >= 0) {
        sys(__NR_close_range, 3, ~0u, 0);
        sys(__NR_execve, op_text(op, 0), argv, env);
    }
    sys(__NR_exit_group, 127);
    __builtin_unreachable();
}

static int start_hook(const struct plan_op *op, struct hook *h) {
    int pipes[6] = {-1, -1, -1, -1, -1, -1};
    long r = 0;
    for (int i = 0; i < 6 && r == 0; i += 2)
        r = sys(__NR_pipe2, pipes + i, O_CLOEXEC);
    /* What execve(2) would say is lost in the child; asking beforehand keeps it. Execution itself is not prejudged. */
    if (r == 0)
        r = sys(__NR_faccessat, AT_FDCWD, op_text(op, 0), 1 /* X_OK */);
    char **argv = op_vector(op, 1, op->v[1], 0), **env = op_vector(op, 2, op->v[2], 0);
    if (r == 0 && (!argv || !env))
        r = -ENOMEM;
    if (r == 0)
        r = sys(__NR_clone, SIGCHLD, 0, 0, 0, 0);
    if (r < 0)
        return fail(AT_HOOKSTART, r, NULL);
    if (r == 0)
        become_hook(op, argv, env, pipes);
    h->pid = r;
    h->in = pipes[1];
    h->out.fd = pipes[2];
    h->err.fd = pipes[4];
    fd_close(&pipes[0]);
    fd_close(&pipes[3]);
    fd_close(&pipes[5]);
    h->pidfd = (int)sys(__NR_pidfd_open, h->pid, 0);
    const int ours[] = {h->in, h->out.fd, h->err.fd};
    for (size_t i = 0; i < COUNT(ours); i++)
        sys(__NR_fcntl, ours[i], F_SETFL, O_NONBLOCK);
    return 0;
}

/* A hook that does not read its state is no error. */
static void feed(struct hook *h) {
    while (h->in >= 0) {
        while (h->part < 3 && h->sent == h->state_length[h->part])
            h->part++, h->sent = 0;
        long n = h->part == 3 ? -EPIPE
                              : sys(__NR_write, h->in, h->state[h->part] + h->sent, h->state_length[h->part] - h->sent);
        if (n == -EAGAIN)
            return;
        if (n < 0)
            fd_close(&h->in);
        else
            h->sent += (size_t)n;
    }
}

/* What the pipe holds by now; a hook that never stops writing must not hold us up beyond its timeout. */
static void drain(struct output *o) {
    char some[CAPTURE];
    for (int i = 0; i < PIPE / CAPTURE && o->fd >= 0; i++) {
        long n = sys(__NR_read, o->fd, some, sizeof some);
        if (n == -EAGAIN)
            return;
        if (n <= 0) {
            fd_close(&o->fd);
            return;
        }
        size_t keep = o->length + (size_t)n > CAPTURE ? CAPTURE - (size_t)n : o->length;
        memmove(o->text, o->text + o->length - keep, keep);
        memcpy(o->text + keep, some, (size_t)n);
        o->length = keep + (size_t)n;
        o->text[o->length] = 0;
    }
}

/* True: it has ended, with *status; false: its time is over. */
static bool attend(struct hook *h, uint64_t timeout, int *status) {
    uint64_t end = now_ms() + timeout;
    for (;;) {
        struct pollfd fds[] = {{h->pidfd, POLLIN, 0}, {h->in, POLLOUT, 0}, {h->out.fd, POLLIN, 0}, {h->err.fd, POLLIN, 0}};
        uint64_t now = now_ms(), left = !timeout ? UINT64_MAX : now < end ? end - now : 0;
        if (h->pidfd < 0 && left > SLICE)
            left = SLICE;
        struct __kernel_timespec wait = {(long long)(left / 1000), (long long)(left % 1000) * 1000000};
        sys(__NR_ppoll, fds, COUNT(fds), left == UINT64_MAX ? 0 : &wait, 0, 8);
        bool ended = sys(__NR_wait4, h->pid, status, WNOHANG, 0) == h->pid;
        feed(h);
        drain(&h->out);
        drain(&h->err);
        if (ended || (timeout && now_ms() >= end))
            return ended;
    }
}

static int judge(struct hook *h, int status, bool in_time) {
    char detail[PLAN_DETAIL];
    size_t at = 0;
    if (in_time && !status)
        return 0;
    detail[0] = 0;
    if (in_time) {
        bool signalled = status & 0x7f;
        text_add(detail, sizeof detail, &at, signalled ? "signal " : "exit status ");
        text_add_number(detail, sizeof detail, &at, (unsigned long)(signalled ? status & 0x7f : status >> 8 & 0xff));
    }
    text_add(detail, sizeof detail, &at, ", stdout: ");
    text_add(detail, sizeof detail, &at, h->out.text);
    text_add(detail, sizeof detail, &at, ", stderr: ");
    text_add(detail, sizeof detail, &at, h->err.text);
    return fail(in_time ? AT_HOOKEXIT : AT_HOOKTIME, in_time ? 0 : ETIMEDOUT, detail);
}

/* s: path, argv, env, the state's JSON before and after the pid; v: timeout in ms or 0, argc, envc. The pid stands in
 * the state as this process sees itself: runtime-spec 1.0.2, config.md, "namespaces of hooks". */
EXECUTOR(HOOK) {
    struct hook h = {.pidfd = -1, .in = -1};
    char pid[24];
    size_t at = 0;
    int status = 0;
    text_add_number(pid, sizeof pid, &at, (unsigned long)sys(__NR_getpid));
    h.state[0] = op_text(op, 3), h.state_length[0] = op_length(op, 3);
    h.state[1] = pid, h.state_length[1] = at;
    h.state[2] = op_text(op, 4), h.state_length[2] = op_length(op, 4);
    signal_set(SIGPIPE, SIG_IGN);
    if (start_hook(op, &h) < 0)
        return -1;
    bool in_time = attend(&h, op->v[0], &status);
    if (!in_time) {
        sys(__NR_kill, h.pid, SIGKILL);
        sys(__NR_wait4, h.pid, &status, 0, 0);
    }
    signal_set(SIGPIPE, SIG_DFL);
    fd_close(&h.pidfd);
    fd_close(&h.in);
    fd_close(&h.out.fd);
    fd_close(&h.err.fd);
    return judge(&h, status, in_time);
}
