/* The plan: what Python compiles and pyrunc-init carries out.
 *
 * This header is the one definition of the opcodes, the places where an op can fail, the points of synchronisation and
 * the well-known fd slots. native/gen_opcodes.py turns it into pyrunc/plan/opcodes.py; keep one entry a line.
 *
 *   header | ops[nops] | text
 *
 * A string is an offset into `text`: u32 length, the bytes, a NUL. Offset 0 means "none". A list of strings is one such
 * string whose bytes are NUL-terminated items. Everything is of the host's byte order: a plan never leaves its machine.
 */
#ifndef PYRUNC_PLAN_H
#define PYRUNC_PLAN_H

#include <stddef.h>
#include <stdint.h>

#define PLAN_MAGIC 0x6e757279u
#define PLAN_VERSION 1
#define PLAN_MAX_SIZE (64u << 20)
#define PLAN_MAX_OPS 8192
#define PLAN_STRINGS 5
#define PLAN_VALUES 6
#define PLAN_FILTER_MAX 32768 /* bytes; BPF_MAXINSNS instructions */
#define PLAN_PASSED 12 /* fds beyond plan, socket and step page */
#define PLAN_DETAIL 3072

/* opcode, number */
#define PLAN_OPS(OP) \
    OP(OPEN_PROC, 1) \
    OP(OPEN_NS, 2) \
    OP(SETNS, 3) \
    OP(JOIN, 4) \
    OP(UNSHARE, 5) \
    OP(SYNC, 6) \
    OP(BECOME_ROOT, 7) \
    OP(TIME_OFFSETS, 8) \
    OP(FORK, 9) \
    OP(OOM_SCORE, 10) \
    OP(SESSION, 11) \
    OP(KEYRING, 12) \
    OP(LOOPBACK, 13) \
    OP(PROPAGATE, 14) \
    OP(ROOT, 15) \
    OP(OPEN_ROOT, 16) \
    OP(MOUNT, 17) \
    OP(MOUNT_DATA, 18) \
    OP(BIND, 19) \
    OP(DEVICE, 20) \
    OP(BIND_DEVICE, 21) \
    OP(SYMLINK, 22) \
    OP(HOOK, 23) \
    OP(HIDE, 24) \
    OP(PIVOT, 25) \
    OP(MOVE_ROOT, 26) \
    OP(ROOT_PROPAGATION, 27) \
    OP(NULL_STDIO, 28) \
    OP(MAKE_CWD, 29) \
    OP(CONSOLE, 30) \
    OP(OWN_STDIO, 31) \
    OP(READONLY_MOUNT, 32) \
    OP(READONLY_PATH, 33) \
    OP(MASK_PATH, 34) \
    OP(UMASK, 35) \
    OP(HOSTNAME, 36) \
    OP(DOMAINNAME, 37) \
    OP(SYSCTL, 38) \
    OP(NO_NEW_PRIVS, 39) \
    OP(SECCOMP, 40) \
    OP(BOUNDING, 41) \
    OP(CHDIR, 42) \
    OP(USER, 43) \
    OP(CAPABILITIES, 44) \
    OP(HOME, 45) \
    OP(LOOKUP, 46) \
    OP(WAIT, 47) \
    OP(RELEASE, 48) \
    OP(EXEC, 49) \
    OP(ENTER_ROOT, 50) \
    OP(OPEN_CGROUP, 51) \
    OP(ENTER_CGROUPS, 52) \
    OP(OWN_ROOT, 53) \
    OP(SCHEDULER, 54) \
    OP(IO_PRIORITY, 55) \
    OP(AFFINITY, 56) \
    OP(PERSONALITY, 57) \
    OP(MEMORY_POLICY, 58) \
    OP(MAKE_USERNS, 59) \
    OP(OPEN_TREE, 60) \
    OP(NEW_TREE, 61) \
    OP(GO_TO_ROOT, 62) \
    OP(REMOUNT, 63) \
    OP(VERIFY_MAPS, 64) \
    OP(NET_DEVICES, 65) \
    OP(LABEL, 66) \
    OP(FILE_LABEL, 67)

/* place, number, what was tried there */
#define PLAN_PLACES(PLACE) \
    PLACE(NONE, 0, "") \
    PLACE(OPEN, 1, "open") \
    PLACE(RESOLVE, 2, "resolve in the root file system") \
    PLACE(MKDIR, 3, "create directory") \
    PLACE(CREATE, 4, "create file") \
    PLACE(STAT, 5, "stat") \
    PLACE(VERIFY, 6, "verify") \
    PLACE(NSTYPE, 7, "verify the namespace's type") \
    PLACE(SETNS, 8, "join namespace") \
    PLACE(UNSHARE, 9, "create namespaces") \
    PLACE(FORK, 10, "fork") \
    PLACE(SOCKET, 11, "talk to the runtime") \
    PLACE(WRITE, 12, "write") \
    PLACE(SETUID, 13, "set user") \
    PLACE(SETGID, 14, "set group") \
    PLACE(SETGROUPS, 15, "set additional groups") \
    PLACE(FSOPEN, 16, "find file system type") \
    PLACE(FSCONFIG, 17, "set mount option") \
    PLACE(FSCREATE, 18, "create file system") \
    PLACE(FSMOUNT, 19, "mount") \
    PLACE(SOURCE, 20, "open mount source") \
    PLACE(ATTRIBUTES, 21, "set mount attributes") \
    PLACE(ATTACH, 22, "attach mount") \
    PLACE(SETPROPAGATION, 23, "set propagation") \
    PLACE(INPROC, 24, "mount inside /proc") \
    PLACE(COPYUP, 25, "copy up") \
    PLACE(MKNOD, 26, "create device") \
    PLACE(CHMOD, 27, "set mode") \
    PLACE(CHOWN, 28, "set owner") \
    PLACE(LINK, 29, "create link") \
    PLACE(HOOKSTART, 30, "start hook") \
    PLACE(HOOKEXIT, 31, "run hook") \
    PLACE(HOOKTIME, 32, "wait for hook") \
    PLACE(PIVOTROOT, 33, "pivot_root") \
    PLACE(UNMOUNT, 34, "unmount the old root") \
    PLACE(CHROOT, 35, "chroot") \
    PLACE(PTMX, 36, "open the container's ptmx") \
    PLACE(PTY, 37, "set up pseudo-terminal") \
    PLACE(CTTY, 38, "set controlling terminal") \
    PLACE(CHDIR, 39, "change directory") \
    PLACE(OUTSIDE, 40, "stay inside the root (the working directory is outside)") \
    PLACE(SETHOSTNAME, 41, "sethostname") \
    PLACE(SETDOMAINNAME, 42, "setdomainname") \
    PLACE(PRCTL, 43, "prctl") \
    PLACE(LOADSECCOMP, 44, "load seccomp filter") \
    PLACE(DROPBOUNDING, 45, "drop bounding capabilities") \
    PLACE(CAPSET, 46, "set capabilities") \
    PLACE(AMBIENT, 47, "raise ambient capabilities") \
    PLACE(NOTFOUND, 48, "find executable in $PATH") \
    PLACE(ACCESS, 49, "access") \
    PLACE(EXECVE, 50, "execute") \
    PLACE(IOCTL, 51, "bring up the loopback device") \
    PLACE(JOINKEYRING, 52, "join session keyring") \
    PLACE(SETSID, 53, "start session") \
    PLACE(MEMORY, 54, "allocate memory") \
    PLACE(READ, 55, "read") \
    PLACE(EXISTS, 56, "use what exists there") \
    PLACE(NOTDEVNULL, 57, "verify that it is /dev/null (1:3)") \
    PLACE(MAPIDS, 58, "map the ids of") \
    PLACE(SAMEMAPS, 59, "find the mappings of the config in the namespace") \
    PLACE(USERNS, 60, "make a user namespace for the mappings") \
    PLACE(REMOUNT, 61, "remount") \
    PLACE(SETLABEL, 62, "set security label")

/* point, number: the child says it has come here and waits for one byte */
#define PLAN_SYNCS(AT) \
    AT(MAPS, 1) \
    AT(CGROUP, 2) \
    AT(HOOKS, 3) \
    AT(READY, 4) \
    AT(NETWORK, 5)

/* message kind, number */
#define PLAN_MESSAGES(MSG) \
    MSG(ERROR, 1) \
    MSG(SYNC, 2) \
    MSG(FORKED, 3) \
    MSG(CONSOLE, 4) \
    MSG(DONE, 5) \
    MSG(LISTENER, 6)

/* fd slot, number; namespaces take SLOT_NS and up, v1 cgroups SLOT_CGROUP and up, what is opened early SLOT_HELD and up */
#define PLAN_SLOTS(SLOT) \
    SLOT(PROC, 0) \
    SLOT(ROOT, 1) \
    SLOT(GO, 2) \
    SLOT(REPLY, 3) \
    SLOT(PIDFD, 4) \
    SLOT(CGROUP2, 5) \
    SLOT(NS, 8) \
    SLOT(CGROUP, 16) \
    SLOT(HELD, 48)
#define PLAN_NSLOTS 1072

/* errnos that an op may declare harmless, as bits of plan_op.tolerate */
#define PLAN_TOLERATED(ERR) \
    ERR(ENOENT, 1) \
    ERR(EPERM, 2) \
    ERR(ENOSYS, 4) \
    ERR(EINVAL, 8) \
    ERR(EACCES, 16) \
    ERR(ENOTDIR, 32) \
    ERR(EROFS, 64)

/* bits of the mode of what mounts; the upper half of MOUNT's and BIND's is the slot of a tree made before, or 0 */
#define PLAN_MODES(MODE) \
    MODE(REALDIR, 1) \
    MODE(INPROC, 2) \
    MODE(COPYUP, 4) \
    MODE(DIRMODE, 8) \
    MODE(RECURSIVE, 16) \
    MODE(MAPBELOW, 32) \
    MODE(MAPPED, 64)
#define PLAN_MODE_SLOT 32 /* bits to shift */

#define PLAN_ENUM_OP(name, number) OP_##name = number,
#define PLAN_ENUM_PLACE(name, number, text) AT_##name = number,
#define PLAN_ENUM_SYNC(name, number) SYNC_##name = number,
#define PLAN_ENUM_MSG(name, number) MSG_##name = number,
#define PLAN_ENUM_SLOT(name, number) SLOT_##name = number,
#define PLAN_ENUM_TOLERATE(name, bit) TOLERATE_##name = bit,
#define PLAN_ENUM_MODE(name, bit) MODE_##name = bit,
enum plan_opcode { PLAN_OPS(PLAN_ENUM_OP) };
enum plan_place { PLAN_PLACES(PLAN_ENUM_PLACE) };
enum plan_sync { PLAN_SYNCS(PLAN_ENUM_SYNC) };
enum plan_message_kind { PLAN_MESSAGES(PLAN_ENUM_MSG) };
enum plan_slot { PLAN_SLOTS(PLAN_ENUM_SLOT) };
enum plan_tolerate { PLAN_TOLERATED(PLAN_ENUM_TOLERATE) };
enum plan_mode { PLAN_MODES(PLAN_ENUM_MODE) };

/* Its size keeps the ops after it aligned. */
struct plan_header {
    uint32_t magic;
    uint16_t version;
    uint16_t preserve; /* fds 3 .. 3 + preserve - 1 go to the container as they are */
    uint32_t size;     /* of the whole plan, bytes */
    uint32_t nops;
    uint32_t text; /* offset of the text area */
    int32_t parent; /* pid of the runtime; 0: unchecked */
    uint16_t npassed;
    uint16_t reserved;
    uint8_t passed[PLAN_PASSED]; /* the slot that each passed fd goes into */
};

_Static_assert(sizeof(struct plan_header) % 8 == 0, "the ops follow");

struct plan_op {
    uint16_t code;
    uint16_t tolerate;
    uint32_t s[PLAN_STRINGS];
    uint64_t v[PLAN_VALUES];
};

struct plan_message {
    uint32_t kind;
    uint32_t op;    /* index of the op */
    uint32_t value; /* SYNC: the point; FORKED: the pid; ERROR: the place */
    int32_t error;  /* errno */
    char detail[PLAN_DETAIL];
};
#define PLAN_MESSAGE_HEAD 16

/* Shared with the runtime, so that a child killed without a word still tells how far it came; the last that is left to talk
 * by where a seccomp filter may answer for any system call; and the way of a filter that is got while the child is at its
 * mounts, complete before SYNC READY is answered: see native/init/identity.c, SECCOMP. */
struct plan_step {
    volatile uint32_t op;
    volatile uint32_t listener; /* number of the filter's listener + 1, 0: not yet */
    volatile uint32_t taken;    /* the runtime has it */
    volatile uint32_t flags;    /* SECCOMP_FILTER_FLAG_* */
    volatile uint32_t size;     /* bytes of the filter, 0: none was given */
    uint8_t filter[PLAN_FILTER_MAX];
};
#define PLAN_STEP_LISTENER 4
#define PLAN_STEP_TAKEN 8
#define PLAN_STEP_FLAGS 12
#define PLAN_STEP_SIZE 36864 /* whole pages of the mapping */

_Static_assert(offsetof(struct plan_step, listener) == PLAN_STEP_LISTENER, "as Python reads it");
_Static_assert(offsetof(struct plan_step, taken) == PLAN_STEP_TAKEN, "as Python writes it");
_Static_assert(offsetof(struct plan_step, flags) == PLAN_STEP_FLAGS, "as Python writes it, and behind it");
_Static_assert(offsetof(struct plan_step, filter) == PLAN_STEP_FLAGS + 8, "flags, size, filter");
_Static_assert(sizeof(struct plan_step) <= PLAN_STEP_SIZE, "room for the longest filter");

#endif
