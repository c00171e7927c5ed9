/* pyrunc-init: carries out a plan, op by op, in the process that becomes the container's.
 *
 * It is started from a sealed memfd with an empty environment. argv[1] is the number of its first fd: the plan, a
 * SEQPACKET socket to the runtime, the step page and what the plan's header says was passed. The plan comes from the
 * runtime and is trusted as the runtime is; its bounds are checked all the same, once, here. The root file system is
 * hostile: see path.c for how anything in it is named.
 */
#include "init.h"

#include <asm/mman.h>
#include <linux/close_range.h>
#include <linux/memfd.h>
#include <linux/mman.h>
#include <linux/prctl.h>
#include <linux/signal.h>

struct init init;

#define NAME(name, number) [number] = op_##name,
static int (*const executors[])(const struct plan_op *) = {PLAN_OPS(NAME)};
#undef NAME

static const struct {
    uint16_t bit;
    int error;
} tolerated[] = {
#define PAIR(name, bit) {bit, name},
    PLAN_TOLERATED(PAIR)
#undef PAIR
};

/* How many strings an op cannot do without; beyond these an executor asks. */
static const uint8_t required[COUNT(executors)] = {
    [OP_OPEN_NS] = 1,    [OP_TIME_OFFSETS] = 1, [OP_OOM_SCORE] = 1,   [OP_PROPAGATE] = 1,     [OP_ROOT] = 1,
    [OP_OPEN_ROOT] = 1,  [OP_MOUNT] = 2,        [OP_MOUNT_DATA] = 2,  [OP_BIND] = 2,          [OP_DEVICE] = 1,
    [OP_SYMLINK] = 2,    [OP_BIND_DEVICE] = 2,  [OP_HOOK] = 5,        [OP_HIDE] = 1,          [OP_MAKE_CWD] = 1,
    [OP_MASK_PATH] = 1,  [OP_READONLY_PATH] = 1, [OP_HOSTNAME] = 1,   [OP_READONLY_MOUNT] = 1, [OP_DOMAINNAME] = 1,
    [OP_SYSCTL] = 2,     [OP_CHDIR] = 1,       [OP_LOOKUP] = 1,        [OP_EXEC] = 2,
    [OP_OPEN_CGROUP] = 1, [OP_MAKE_USERNS] = 2, [OP_OPEN_TREE] = 1,   [OP_NEW_TREE] = 1,      [OP_GO_TO_ROOT] = 1,
    [OP_REMOUNT] = 1,    [OP_VERIFY_MAPS] = 2,  [OP_LABEL] = 2,       [OP_FILE_LABEL] = 2,
};

int fail(int place, long error, const char *detail) {
    struct failure *f = &init.failure;
    size_t at = 0;
    f->place = place;
    f->error = (int)(error < 0 ? -error : error);
    f->detail[0] = 0;
    if (detail)
        text_add(f->detail, sizeof f->detail, &at, detail);
    return -1;
}

const char *op_text(const struct plan_op *op, int i) { return op->s[i] ? init.text + op->s[i] + 4 : NULL; }

uint32_t op_length(const struct plan_op *op, int i) {
    uint32_t n = 0;
    if (op->s[i])
        memcpy(&n, init.text + op->s[i], 4);
    return n;
}

char **op_vector(const struct plan_op *op, int i, uint64_t count, unsigned extra) {
    if (count > op_length(op, i)) /* an item is a byte at least, its NUL */
        return NULL;
    size_t size = (count + extra + 1) * sizeof(char *);
    char **vector = (char **)sys(__NR_mmap, 0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if ((unsigned long)vector > -4096ul)
        return NULL;
    const char *s = op_text(op, i), *end = s + op_length(op, i);
    uint64_t n = 0;
    while (s && s < end && n < count) {
        vector[n++] = (char *)s;
        s += text_length(s) + 1;
    }
    return vector;
}

void signal_set(int number, void *handler) {
    struct sigaction_raw action = {.handler = handler};
    sys(__NR_rt_sigaction, number, &action, 0, sizeof action.mask);
}

static void end(int number) {
    sys(__NR_exit_group, 128 + number);
    __builtin_unreachable();
}

/* The kernel keeps from process 1 every signal that it does not catch, SIGKILL from outside excepted (pid_namespaces(7)). */
void signals_end_us(bool really) {
    static const int ending[] = {SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGPIPE, SIGALRM, SIGTERM};
    struct sigaction_raw action = {.handler = really ? (void *)end : SIG_DFL};
#ifdef SA_RESTORER
    action.flags = SA_RESTORER; /* x86 wants an address to return to, which this handler never does */
    action.restorer = (void *)end;
#endif
    for (size_t i = 0; i < COUNT(ending); i++)
        sys(__NR_rt_sigaction, ending[i], &action, 0, sizeof action.mask);
}

void fd_close(int *fd) {
    if (*fd >= 0)
        sys(__NR_close, *fd);
    *fd = -1;
}

int fd_hold(uint64_t slot, int fd) {
    if (slot < SLOT_HELD || slot >= PLAN_NSLOTS) {
        fd_close(&fd);
        return fail(AT_OPEN, EMFILE, NULL);
    }
    fd_close(&init.slot[slot]);
    init.slot[slot] = fd;
    return 0;
}

int fd_take(uint64_t slot) {
    int fd = slot < SLOT_HELD || slot >= PLAN_NSLOTS ? -1 : init.slot[slot];
    if (fd < 0)
        return fail(AT_OPEN, EINVAL, "(nothing is held for it)");
    init.slot[slot] = -1;
    return fd;
}

/* The socket may not be there to say it with, and a plan this wrong is a bug of the runtime's own. */
static _Noreturn void refuse(void) { sys(__NR_exit_group, 125), __builtin_unreachable(); }

static void check_text(const struct plan_header *h, uint32_t offset) {
    uint32_t length, room = h->size - h->text;
    if (!offset)
        return;
    if (offset > room || room - offset < 5)
        refuse();
    memcpy(&length, (const char *)h + h->text + offset, 4);
    if (length > room - offset - 5 || ((const char *)h)[h->text + offset + 4 + length])
        refuse();
}

static void load(int fd) {
    const int seals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW;
    struct statx st;
    if ((sys(__NR_fcntl, fd, F_LINUX_SPECIFIC_BASE + 10, 0) & seals) != seals || path_statx(fd, &st) < 0)
        refuse();
    if (st.stx_size < sizeof(struct plan_header) || st.stx_size > PLAN_MAX_SIZE)
        refuse();
    long address = sys(__NR_mmap, 0, st.stx_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if ((unsigned long)address > -4096ul)
        refuse();
    const struct plan_header *h = (const struct plan_header *)address;
    if (h->magic != PLAN_MAGIC || h->version != PLAN_VERSION || h->size != st.stx_size || h->nops > PLAN_MAX_OPS)
        refuse();
    if (h->text > h->size || h->text - sizeof *h != h->nops * sizeof(struct plan_op) || h->npassed > PLAN_PASSED)
        refuse();
    init.plan = h;
    init.ops = (const struct plan_op *)(h + 1);
    init.text = (const char *)h + h->text;
    for (uint32_t i = 0; i < h->nops; i++) {
        if (init.ops[i].code >= COUNT(executors) || !executors[init.ops[i].code])
            refuse();
        for (int j = 0; j < PLAN_STRINGS; j++) {
            if (j < required[init.ops[i].code] && !init.ops[i].s[j])
                refuse();
            check_text(h, init.ops[i].s[j]);
        }
    }
}

/* Of the fds that were open in the runtime only stdio, the preserved ones and ours go on living. */
static void take_fds(int base) {
    const struct plan_header *h = init.plan;
    int end = base + 3 + h->npassed, first = 3 + h->preserve;
    for (int i = 0; i < PLAN_NSLOTS; i++)
        init.slot[i] = -1;
    init.masked = -1;
    if (first > base)
        refuse();
    if (first < base)
        sys(__NR_close_range, first, base - 1, 0);
    sys(__NR_close_range, end, ~0u, 0);
    if (sys(__NR_close_range, base, end - 1, CLOSE_RANGE_CLOEXEC) < 0)
        refuse();
    init.channel = base + 1;
    for (int i = 0; i < h->npassed; i++) {
        if (h->passed[i] >= SLOT_HELD)
            refuse();
        init.slot[h->passed[i]] = base + 3 + i;
    }
    long page = sys(__NR_mmap, 0, PLAN_STEP_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, base + 2, 0);
    if ((unsigned long)page > -4096ul)
        refuse();
    init.step = (struct plan_step *)page;
    sys(__NR_close, base + 2);
    sys(__NR_close, base);
}

/* Dies with the runtime (it may have died already), cannot be traced (CVE-2016-9962), starts with default signals. */
static void arm(void) {
    unsigned long none = 0;
    sys(__NR_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    sys(__NR_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
    if (init.plan->parent && sys(__NR_getppid) != init.plan->parent)
        refuse();
    for (int i = 1; i <= 64; i++)
        signal_set(i, SIG_DFL);
    sys(__NR_rt_sigprocmask, SIG_SETMASK, &none, 0, sizeof none);
}

static bool harmless(const struct plan_op *op) {
    for (size_t i = 0; i < COUNT(tolerated); i++)
        if ((op->tolerate & tolerated[i].bit) && init.failure.error == tolerated[i].error)
            return true;
    return false;
}

_Noreturn void init_main(int argc, char **argv) {
    const char *end;
    if (argc != 2 || !argv[1][0])
        refuse();
    unsigned long base = text_number(argv[1], &end);
    if (*end || base < 3 || base > 1 << 20)
        refuse();
    load((int)base);
    take_fds((int)base);
    arm();
    for (uint32_t i = 0; i < init.plan->nops; i++) {
        const struct plan_op *op = &init.ops[i];
        init.step->op = i;
        if (executors[op->code](op) < 0 && !harmless(op)) {
            channel_report(i);
            sys(__NR_exit_group, 1);
        }
    }
    refuse(); /* a plan ends in EXEC, which does not come back */
}
