#define _GNU_SOURCE
#include "apart.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <linux/keyctl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define BASE 3
#define APART 64 /* more than the fds that are ever passed */

/* possessor: all; user: view, read, link and search, so that who comes later finds it by its name. */
#define KEYRING_PERMISSIONS 0x3f1b0000

enum { STEP_KEYRING, STEP_NAMESPACE, STEP_ROOT, STEP_EXECUTE };

/* The interpreter's ignored signals and its mask are not the program's. */
static void usual_signals(void) {
    sigset_t none;
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static int own_keyring(const char *name, int *step) {
    *step = STEP_KEYRING;
    long ring = syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name, 0, 0, 0);
    return ring < 0 || syscall(SYS_keyctl, KEYCTL_SETPERM, ring, KEYRING_PERMISSIONS, 0, 0) < 0 ? -1 : 0;
}

/* What is mounted from here on is seen by nobody else, and is gone with the last process in the namespace. */
static int own_mounts(const char *root, int *step) {
    *step = STEP_NAMESPACE;
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
        return -1;
    *step = STEP_ROOT;
    return mount(root, root, NULL, MS_BIND | MS_REC, NULL);
}

/* What it has to say is in its log; our stderr may be a container's or a caller's who expects nothing on it. */
static int silence(void) {
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; null >= 0 && fd < BASE; fd++)
        if (dup2(null, fd) < 0)
            return -1;
    return null < 0 ? -1 : 0;
}

static int pass(const int *fds, int count) {
    int high[APART];
    for (int i = 0; i < count; i++)
        if ((high[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, BASE + APART)) < 0)
            return -1;
    for (int i = 0; i < count; i++)
        if (dup3(high[i], BASE + i, 0) < 0)
            return -1;
    return 0;
}

/* Starts `program` with fds[i] as its fd 3 + i; returns its pid. With `root`, that directory is a mount point of its own, in
 * a mount namespace of its own, our stdio is the program's too, and its session keyring is the new one of the name `keyring`.
 * It dies with us (PDEATHSIG). *step says what failed. */
int pyrunc_spawn_apart(const char *program, char *argv[], char *env[], const int *fds, int count, const char *root,
                       const char *keyring, int *step) {
    int report[2], told[2] = {0, STEP_EXECUTE};
    pid_t parent = getpid();
    if (count > APART)
        return -EMFILE;
    if (pipe2(report, O_CLOEXEC) < 0)
        return -errno;
    pid_t pid = fork();
    if (pid == 0) {
        usual_signals();
        if (root ? own_keyring(keyring, &told[1]) == 0 && own_mounts(root, &told[1]) == 0 : silence() == 0) {
            told[1] = STEP_EXECUTE;
            if (pass(fds, count) == 0 && prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent)
                execve(program, argv, env);
        }
        told[0] = errno;
        _exit(write(report[1], told, sizeof told) == sizeof told ? 127 : 126);
    }
    int error = pid < 0 ? errno : 0;
    close(report[1]);
    if (pid > 0 && read(report[0], told, sizeof told) == sizeof told) {
        waitpid(pid, NULL, 0);
        *step = told[1];
        error = told[0];
    }
    close(report[0]);
    return error ? -error : pid;
}
