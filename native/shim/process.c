#define _GNU_SOURCE
#include "process.h"

#include "init/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define STACK (64 << 10)
#define APART 64 /* more than the fds that are ever passed */

/* At the foot of the child's stack. The kernel clears `here` when the child has left our memory (CLONE_CHILD_CLEARTID). */
struct request {
    volatile pid_t here;
    volatile int error;
    int exe, count, base, fds[APART];
    char number[12];
};
static struct request *latest;

/* Runs beside the interpreter in the interpreter's memory until execveat(2): it touches nothing but its own stack, and makes
 * system calls of its own, because errno belongs to the interpreter's thread. The fds first go out of each other's way, then
 * to base and up, where they survive execution. */
static int become_init(void *argument) {
    struct request *r = argument;
    char name[] = "pyrunc-init";
    char *argv[] = {name, r->number, NULL}, *env[] = {NULL};
    long high[APART], n = 0;
    for (int i = 0; i < r->count && n >= 0; i++)
        n = high[i] = sys(__NR_fcntl, r->fds[i], F_DUPFD_CLOEXEC, r->base + APART);
    long exe = n < 0 ? n : (n = sys(__NR_fcntl, r->exe, F_DUPFD_CLOEXEC, r->base + APART));
    for (int i = 0; i < r->count && n >= 0; i++)
        n = sys(__NR_dup3, high[i], r->base + i, 0);
    if (n >= 0)
        n = sys(__NR_execveat, exe, "", argv, env, AT_EMPTY_PATH);
    r->error = (int)-n;
    sys(__NR_exit_group, 127);
    __builtin_unreachable();
}

/* Starts the program in `exe` with fds[i] as its fd base + i, argv {"pyrunc-init", base} and no environment; returns its pid at
 * once: that it could not be executed is for pyrunc_spawn_error() to say. The memory of the interpreter is not copied, and
 * the table of fds is the child's own from the beginning, so that ours may be closed. */
int pyrunc_spawn(int exe, const int *fds, int count, int base) {
    sigset_t all, before;
    if (count > APART)
        return -EMFILE;
    if (latest && !latest->here)
        munmap(latest, STACK);
    char *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (stack == MAP_FAILED) {
        latest = NULL;
        return -errno;
    }
    struct request *r = latest = (struct request *)stack;
    *r = (struct request){.here = 1, .exe = exe, .count = count, .base = base};
    memcpy(r->fds, fds, (size_t)count * sizeof *fds);
    snprintf(r->number, sizeof r->number, "%d", base);
    sigfillset(&all); /* no handler of the interpreter's may run in the child */
    sigprocmask(SIG_BLOCK, &all, &before);
    int pid = clone(become_init, stack + STACK, CLONE_VM | CLONE_CHILD_CLEARTID | SIGCHLD, r, NULL, NULL, &r->here);
    int error = pid < 0 ? errno : 0;
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (pid < 0)
        r->here = 0;
    return error ? -error : pid;
}

int pyrunc_spawn_error(void) { return latest ? latest->error : 0; }

int pyrunc_prlimit(int pid, int resource, unsigned long long soft, unsigned long long hard) {
    struct rlimit64 limit = {soft, hard};
    return prlimit64(pid, resource, &limit, NULL) < 0 ? -errno : 0;
}

int pyrunc_set_child_subreaper(void) { return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0 ? -errno : 0; }

/* Holds every signal that can be held, and gives an fd to read them from. */
int pyrunc_signalfd(void) {
    sigset_t all;
    sigfillset(&all);
    if (sigprocmask(SIG_BLOCK, &all, NULL) < 0)
        return -errno;
    int fd = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

/* A copy of another process's fd, which that process needs to do nothing for. */
int pyrunc_take_fd(int pid, int number) {
    int process = (int)syscall(SYS_pidfd_open, pid, 0);
    if (process < 0)
        return -errno;
    int fd = (int)syscall(SYS_pidfd_getfd, process, number, 0);
    int error = fd < 0 ? errno : 0;
    close(process);
    return error ? -error : fd;
}
