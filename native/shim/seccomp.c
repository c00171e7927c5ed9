#define _GNU_SOURCE
#include "seccomp.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/seccomp.h>

/* The ABI of libseccomp.so.2, seccomp_init(3) and the pages that it refers to. */
enum { FLTATR_CTL_OPTIMIZE = 8, OPTIMIZE_BINARY_TREE = 2 };
enum { MULTIPLEXED_FIRST = -299, MULTIPLEXED_LAST = -101 };

#define WAIT_KILLABLE_RECV (1u << 5) /* in linux/seccomp.h since 5.19 */

#define ARCH_ARM 0x40000028u
#define ARM_PRIVATE 0x0f0000 /* __ARM_NR_BASE: cacheflush, set_tls and others, far above the growing table */

static struct libseccomp {
    void *(*init)(uint32_t);
    void (*release)(void *);
    uint32_t (*arch_native)(void);
    uint32_t (*arch_resolve_name)(const char *);
    int (*arch_add)(void *, uint32_t);
    int (*attr_set)(void *, int, uint32_t);
    int (*syscall_resolve_name)(const char *);
    int (*syscall_resolve_name_arch)(uint32_t, const char *);
    int (*rule_add_array)(void *, uint32_t, int, unsigned int, const struct shim_seccomp_argument *);
    int (*export_bpf)(const void *, int);
    int (*export_bpf_mem)(const void *, void *, size_t *); /* since 2.6; NULL before */
} api;

static const struct symbol {
    const char *name;
    size_t slot;
} symbols[] = {
    {"seccomp_init", offsetof(struct libseccomp, init)},
    {"seccomp_release", offsetof(struct libseccomp, release)},
    {"seccomp_arch_native", offsetof(struct libseccomp, arch_native)},
    {"seccomp_arch_resolve_name", offsetof(struct libseccomp, arch_resolve_name)},
    {"seccomp_arch_add", offsetof(struct libseccomp, arch_add)},
    {"seccomp_attr_set", offsetof(struct libseccomp, attr_set)},
    {"seccomp_syscall_resolve_name", offsetof(struct libseccomp, syscall_resolve_name)},
    {"seccomp_syscall_resolve_name_arch", offsetof(struct libseccomp, syscall_resolve_name_arch)},
    {"seccomp_rule_add_array", offsetof(struct libseccomp, rule_add_array)},
    {"seccomp_export_bpf", offsetof(struct libseccomp, export_bpf)},
    {"seccomp_export_bpf_mem", offsetof(struct libseccomp, export_bpf_mem)},
};

static int load(const char **library)
{
    void *handle = dlopen("libseccomp.so.2", RTLD_NOW | RTLD_LOCAL);
    if (!handle)
        return -ENOENT;
    for (size_t i = 0; i < sizeof symbols / sizeof symbols[0]; i++) {
        void *address = dlsym(handle, symbols[i].name);
        if (!address && symbols[i].slot != offsetof(struct libseccomp, export_bpf_mem))
            return -ENOSYS;
        memcpy((char *)&api + symbols[i].slot, &address, sizeof address);
    }

    Dl_info info;
    void *address = dlsym(handle, "seccomp_init");
    if (!dladdr(address, &info))
        return -ENOENT;
    *library = info.dli_fname;
    return 0;
}

/* The request, with the promise that every offset in it was checked. */
struct view {
    struct shim_seccomp_request head;
    const char *arguments, *rules, *arches, *text;
};

static bool view_open(struct view *view, const char *request, size_t size)
{
    if (size < sizeof view->head)
        return false;
    memcpy(&view->head, request, sizeof view->head);
    const struct shim_seccomp_request *head = &view->head;

    /* 32-bit counts of small records: the sums cannot overflow 64 bits. */
    uint64_t rules = sizeof *head + (uint64_t)head->argument_count * sizeof(struct shim_seccomp_argument);
    uint64_t arches = rules + (uint64_t)head->rule_count * sizeof(struct shim_seccomp_rule);
    uint64_t text = arches + (uint64_t)head->arch_count * sizeof(uint32_t);
    if (text + head->text_size != size || head->text_size == 0 || request[size - 1] != '\0')
        return false;
    view->arguments = request + sizeof *head;
    view->rules = request + rules;
    view->arches = request + arches;
    view->text = request + text;
    return true;
}

static const char *text_at(const struct view *view, uint32_t offset)
{
    return offset < view->head.text_size ? view->text + offset : NULL;
}

static int add_arch(void *filter, const struct view *view, uint32_t index, struct shim_seccomp_report *report)
{
    uint32_t offset;
    memcpy(&offset, view->arches + index * sizeof offset, sizeof offset);
    const char *name = text_at(view, offset);
    if (!name)
        return -EBADMSG;
    uint32_t arch = api.arch_resolve_name(name);
    if (arch == 0)
        return -EINVAL;
    int error = api.arch_add(filter, arch);
    if (error)
        return error == -EEXIST ? 0 : error;
    if (report->arch_count == SHIM_SECCOMP_ARCHES)
        return -E2BIG;
    report->arch[report->arch_count++] = arch;
    return 0;
}

static void note_numbers(const char *name, struct shim_seccomp_report *report)
{
    for (uint32_t i = 0; i < report->arch_count; i++) {
        int number = api.syscall_resolve_name_arch(report->arch[i], name);
        /* What socketcall(2) or ipc(2) does too gets a made-up number. The real one, which libseccomp allows as well but
         * does not tell, is below the first that all architectures share. */
        if (number <= MULTIPLEXED_LAST && number >= MULTIPLEXED_FIRST)
            number = api.syscall_resolve_name_arch(report->arch[i], "pidfd_send_signal");
        if (number > report->last[i] && !(report->arch[i] == ARCH_ARM && number >= ARM_PRIVATE))
            report->last[i] = number;
    }
}

static int add_rule(void *filter, const struct view *view, uint32_t index, struct shim_seccomp_report *report)
{
    struct shim_seccomp_rule rule;
    memcpy(&rule, view->rules + index * sizeof rule, sizeof rule);
    const char *name = text_at(view, rule.name);
    struct shim_seccomp_argument arguments[6]; /* as many as a system call has */
    if (!name || rule.argument_count > 6 || rule.first_argument > view->head.argument_count
        || rule.argument_count > view->head.argument_count - rule.first_argument)
        return -EBADMSG;
    memcpy(arguments, view->arguments + rule.first_argument * sizeof arguments[0], rule.argument_count * sizeof arguments[0]);

    int number = api.syscall_resolve_name(name);
    if (number == -1) {
        if (report->unknown_count < SHIM_SECCOMP_UNKNOWN)
            report->unknown[report->unknown_count] = index;
        report->unknown_count++;
        return 0;
    }
    note_numbers(name, report);
    /* libseccomp answers EACCES to a rule that says what happens anyway. */
    if (rule.action == view->head.default_action)
        return 0;
    return api.rule_add_array(filter, rule.action, number, rule.argument_count, arguments);
}

static int export_by_file(const void *filter, void *bpf, size_t capacity, size_t *size)
{
    int fd = memfd_create("seccomp", MFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    int error = api.export_bpf(filter, fd);
    off_t end = error ? 0 : lseek(fd, 0, SEEK_CUR);
    if (end < 0)
        error = -errno;
    else if ((size_t)end > capacity)
        error = -ERANGE;
    else if (!error && pread(fd, bpf, (size_t)end, 0) != end)
        error = -EIO;
    close(fd);
    *size = (size_t)end;
    return error;
}

static int fill(void *filter, const struct view *view, void *bpf, size_t capacity, struct shim_seccomp_report *report)
{
    /* Absent before 2.5; the filter then decides the same, only slower. */
    if (view->head.binary_tree)
        (void)api.attr_set(filter, FLTATR_CTL_OPTIMIZE, OPTIMIZE_BINARY_TREE);

    report->stage = SHIM_SECCOMP_ARCH;
    report->arch[report->arch_count++] = api.arch_native();
    for (report->index = 0; report->index < view->head.arch_count; report->index++) {
        int error = add_arch(filter, view, report->index, report);
        if (error)
            return error;
    }

    report->stage = SHIM_SECCOMP_RULE;
    for (report->index = 0; report->index < view->head.rule_count; report->index++) {
        int error = add_rule(filter, view, report->index, report);
        if (error)
            return error;
    }

    report->stage = SHIM_SECCOMP_EXPORT;
    if (!api.export_bpf_mem)
        return export_by_file(filter, bpf, capacity, &report->bpf_size);
    report->bpf_size = capacity;
    return api.export_bpf_mem(filter, bpf, &report->bpf_size);
}

int shim_seccomp_compile(const void *request, size_t size, void *bpf, size_t capacity, struct shim_seccomp_report *report)
{
    struct view view;
    memset(report, 0, sizeof *report);
    memset(report->last, 0xff, sizeof report->last);
    report->stage = SHIM_SECCOMP_REQUEST;
    if (!view_open(&view, request, size))
        return -EBADMSG;

    report->stage = SHIM_SECCOMP_LOAD;
    int error = load(&report->library);
    if (error)
        return error;

    report->stage = SHIM_SECCOMP_INIT;
    void *filter = api.init(view.head.default_action);
    if (!filter)
        return -EINVAL;
    error = fill(filter, &view, bpf, capacity, report);
    api.release(filter);
    return error;
}

uint32_t shim_seccomp_flags(uint32_t flags)
{
    uint32_t known = 0;
    for (uint32_t flag = 1; flag != 0; flag <<= 1) {
        uint32_t probe = flag;
        if (flag == WAIT_KILLABLE_RECV)
            probe |= SECCOMP_FILTER_FLAG_NEW_LISTENER; /* the one is refused without the other */
        /* Without a program the kernel can only answer EFAULT, and it looks at the flags first. */
        if ((flags & flag) && syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, probe, NULL) == -1 && errno == EFAULT)
            known |= flag;
    }
    return known;
}
