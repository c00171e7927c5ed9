/* What the executors share. An executor carries out one op and returns 0, or fail(...). */
#ifndef PYRUNC_INIT_H
#define PYRUNC_INIT_H

#include "../plan.h"
#include "sys.h"

#include <asm-generic/fcntl.h>
#include <linux/fcntl.h>
#include <linux/stat.h>

struct failure {
    int place;
    int error;
    char detail[PLAN_DETAIL];
};

/* All there is to know: one process, one thread, one plan. */
struct init {
    const struct plan_header *plan;
    const struct plan_op *ops;
    const char *text;
    struct plan_step *step;
    int channel; /* to the runtime: the socket, after WAIT the reply fifo */
    int slot[PLAN_NSLOTS];
    int masked;      /* a detached, empty, read-only tmpfs, made at the first masked directory */
    bool cwd_done;
    const char *home;  /* "HOME=..." found by HOME */
    const char *program; /* the path found by LOOKUP */
    struct failure failure;
};
extern struct init init;

_Noreturn void init_main(int argc, char **argv);

/* Records why the op failed and returns -1. `detail` may be NULL. */
int fail(int place, long error, const char *detail);

/* Strings of an op: bounds were checked when the plan was loaded. NULL when absent. */
const char *op_text(const struct plan_op *op, int i);
uint32_t op_length(const struct plan_op *op, int i);
/* A list's items as a NULL-terminated vector with room for `extra` more; NULL when there is no memory. */
char **op_vector(const struct plan_op *op, int i, uint64_t count, unsigned extra);

/* channel.c */
int channel_send(const struct plan_message *message, size_t size, int fd);
int channel_say(uint32_t kind, uint32_t value);
/* Says that the plan has come to `point`, with `fd` unless that is negative, and waits for the answer. */
int channel_wait(uint32_t point, int fd);
void channel_report(uint32_t op_index);

/* path.c: everything below the root goes through these */
int path_in_root(const char *path, uint64_t flags, uint64_t resolve);
/* An O_PATH fd of what `path` means inside the root; what is missing is made: directories, and a file or directory at
 * the end. -1 after fail(). With `real`, no symbolic link may be on the way (CVE-2023-27561). */
enum target { TARGET_DIR, TARGET_FILE };
int path_target(const char *path, enum target kind, bool real);
/* The parent directory of path as an O_PATH fd, made if missing, and its last component. -1 after fail(). */
int path_parent(const char *path, const char **name);
int path_statx(int fd, struct statx *st);
bool path_is_fs(int fd, long magic);
int path_open_retry(int dir, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve);

/* ns.c: into `name` in the directory `below` of the host's procfs, out of which it cannot lead */
int proc_write(const char *below, const char *name, const char *text, size_t length);
/* A file of this process's own directory there, as a string; what is longer is an error. */
int proc_read_own(const char *name, char *text, size_t size);

/* The kernel's own structure is not in its headers for user space. */
struct sigaction_raw {
    void *handler;
    unsigned long flags;
    void *restorer;
    unsigned long mask;
};
void signal_set(int number, void *handler);
/* Signals that end a process end this one, although it is process 1 of its namespace; or all are as at the start. */
void signals_end_us(bool really);
void fd_close(int *fd);
/* Keeps fd in this slot for a later op, closing it where there is no such slot; 0, or -1 after fail(). */
int fd_hold(uint64_t slot, int fd);
/* What a slot holds, which it holds no longer: the caller's to close. -1 if there is nothing. */
int fd_take(uint64_t slot);

#define EXECUTOR(name) int op_##name(const struct plan_op *op)
EXECUTOR(OPEN_PROC);
EXECUTOR(OPEN_NS);
EXECUTOR(SETNS);
EXECUTOR(JOIN);
EXECUTOR(UNSHARE);
EXECUTOR(SYNC);
EXECUTOR(BECOME_ROOT);
EXECUTOR(TIME_OFFSETS);
EXECUTOR(FORK);
EXECUTOR(OOM_SCORE);
EXECUTOR(SESSION);
EXECUTOR(KEYRING);
EXECUTOR(LOOPBACK);
EXECUTOR(PROPAGATE);
EXECUTOR(ROOT);
EXECUTOR(OPEN_ROOT);
EXECUTOR(MOUNT);
EXECUTOR(MOUNT_DATA);
EXECUTOR(BIND);
EXECUTOR(DEVICE);
EXECUTOR(BIND_DEVICE);
EXECUTOR(SYMLINK);
EXECUTOR(HOOK);
EXECUTOR(HIDE);
EXECUTOR(PIVOT);
EXECUTOR(MOVE_ROOT);
EXECUTOR(ROOT_PROPAGATION);
EXECUTOR(NULL_STDIO);
EXECUTOR(MAKE_CWD);
EXECUTOR(CONSOLE);
EXECUTOR(OWN_STDIO);
EXECUTOR(READONLY_MOUNT);
EXECUTOR(READONLY_PATH);
EXECUTOR(MASK_PATH);
EXECUTOR(UMASK);
EXECUTOR(HOSTNAME);
EXECUTOR(DOMAINNAME);
EXECUTOR(SYSCTL);
EXECUTOR(NO_NEW_PRIVS);
EXECUTOR(SECCOMP);
EXECUTOR(BOUNDING);
EXECUTOR(CHDIR);
EXECUTOR(USER);
EXECUTOR(CAPABILITIES);
EXECUTOR(HOME);
EXECUTOR(LOOKUP);
EXECUTOR(WAIT);
EXECUTOR(RELEASE);
EXECUTOR(EXEC);
EXECUTOR(ENTER_ROOT);
EXECUTOR(OPEN_CGROUP);
EXECUTOR(ENTER_CGROUPS);
EXECUTOR(OWN_ROOT);
EXECUTOR(LABEL);
EXECUTOR(FILE_LABEL);
EXECUTOR(SCHEDULER);
EXECUTOR(IO_PRIORITY);
EXECUTOR(AFFINITY);
EXECUTOR(PERSONALITY);
EXECUTOR(MEMORY_POLICY);
EXECUTOR(MAKE_USERNS);
EXECUTOR(OPEN_TREE);
EXECUTOR(NEW_TREE);
EXECUTOR(GO_TO_ROOT);
EXECUTOR(REMOUNT);
EXECUTOR(VERIFY_MAPS);
EXECUTOR(NET_DEVICES);

#endif
