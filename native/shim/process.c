#define _GNU_SOURCE
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define STACK (64 << 10)
#define APART 64 /* more than the fds that are ever passed */

struct request {
    int exe, count, base, error;
    const int *fds;
    char number[12];
};

/* Shares the interpreter's memory until execveat(2), so it touches nothing but its own stack and *request. The fds
 * first go out of each other's way, then to base and up, where they survive execution. */
static int become_init(void *argument) {
    struct request *r = argument;
    char name[] = "pyrunc-init";
    char *argv[] = {name, r->number, NULL}, *env[] = {NULL};
    int high[APART];
    for (int i = 0; i < r->count; i++)
        if ((high[i] = fcntl(r->fds[i], F_DUPFD_CLOEXEC, r->base + APART)) < 0)
            goto failed;
    int exe = fcntl(r->exe, F_DUPFD_CLOEXEC, r->base + APART);
    if (exe < 0)
        goto failed;
    for (int i = 0; i < r->count; i++)
        if (dup3(high[i], r->base + i, 0) < 0)
            goto failed;
    syscall(SYS_execveat, exe, "", argv, env, AT_EMPTY_PATH);
failed:
    r->error = errno;
    _exit(127);
}

/* Starts the program in `exe` with fds[i] as its fd base + i, argv {"pyrunc-init", base} and no environment; returns
 * its pid. The memory of the interpreter is not copied: clone(2) with CLONE_VM and CLONE_VFORK. */
int pyrunc_spawn(int exe, const int *fds, int count, int base) {
    struct request r = {.exe = exe, .count = count, .base = base, .fds = fds};
    sigset_t all, before;
    if (count > APART)
        return -EMFILE;
    snprintf(r.number, sizeof r.number, "%d", base);
    char *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (stack == MAP_FAILED)
        return -errno;
    sigfillset(&all); /* no handler of the interpreter's may run in the child */
    sigprocmask(SIG_BLOCK, &all, &before);
    int pid = clone(become_init, stack + STACK, CLONE_VM | CLONE_VFORK | SIGCHLD, &r);
    int error = pid < 0 ? errno : r.error;
    sigprocmask(SIG_SETMASK, &before, NULL);
    munmap(stack, STACK);
    if (pid > 0 && error)
        waitpid(pid, NULL, 0);
    return error ? -error : pid;
}

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
