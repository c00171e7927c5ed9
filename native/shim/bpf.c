#define _GNU_SOURCE
#include "bpf.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/bpf.h>

#define NAME "pyrunc_devices"

/*
 * The whole union is cleared before use and given with its whole size: a kernel that knows a shorter one insists on zeros
 * beyond, one that knows a longer one fills it up with them. bpf(2) makes every descriptor close-on-exec.
 */
static int call(enum bpf_cmd command, union bpf_attr *attr)
{
    long result = syscall(SYS_bpf, command, attr, sizeof *attr);
    return result < 0 ? -errno : (int) result;
}

static uint64_t address(const void *pointer)
{
    return (uint64_t) (uintptr_t) pointer;
}

int shim_bpf_load_device(const void *insns, uint32_t count, char *log, uint32_t log_size)
{
    union bpf_attr attr;
    memset(&attr, 0, sizeof attr);
    attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
    attr.expected_attach_type = BPF_CGROUP_DEVICE;
    attr.insns = address(insns);
    attr.insn_cnt = count;
    attr.license = address("Apache-2.0");
    if (log_size) {
        attr.log_level = 1;
        attr.log_buf = address(log);
        attr.log_size = log_size;
    }
    memcpy(attr.prog_name, NAME, sizeof NAME);
    return call(BPF_PROG_LOAD, &attr);
}

int shim_bpf_query_device(int cgroup, uint32_t *ids, uint32_t capacity)
{
    union bpf_attr attr;
    memset(&attr, 0, sizeof attr);
    attr.query.target_fd = (uint32_t) cgroup;
    attr.query.attach_type = BPF_CGROUP_DEVICE;
    attr.query.prog_ids = address(ids);
    attr.query.prog_cnt = capacity;
    int result = call(BPF_PROG_QUERY, &attr);
    return result < 0 ? result : (int) attr.query.prog_cnt;
}

int shim_bpf_open(uint32_t id)
{
    union bpf_attr attr;
    memset(&attr, 0, sizeof attr);
    attr.prog_id = id;
    return call(BPF_PROG_GET_FD_BY_ID, &attr);
}

int shim_bpf_is_ours(int program)
{
    struct bpf_prog_info info;
    union bpf_attr attr;
    memset(&info, 0, sizeof info);
    memset(&attr, 0, sizeof attr);
    attr.info.bpf_fd = (uint32_t) program;
    attr.info.info_len = sizeof info;
    attr.info.info = address(&info);
    int result = call(BPF_OBJ_GET_INFO_BY_FD, &attr);
    return result < 0 ? result : strcmp(info.name, NAME) == 0;
}

int shim_bpf_attach_device(int cgroup, int program, int replace)
{
    union bpf_attr attr;
    memset(&attr, 0, sizeof attr);
    attr.target_fd = (uint32_t) cgroup;
    attr.attach_bpf_fd = (uint32_t) program;
    attr.attach_type = BPF_CGROUP_DEVICE;
    attr.attach_flags = BPF_F_ALLOW_MULTI;
    if (replace >= 0) {
        attr.attach_flags |= BPF_F_REPLACE;
        attr.replace_bpf_fd = (uint32_t) replace;
    }
    return call(BPF_PROG_ATTACH, &attr);
}

int shim_bpf_detach_device(int cgroup, int program)
{
    union bpf_attr attr;
    memset(&attr, 0, sizeof attr);
    attr.target_fd = (uint32_t) cgroup;
    attr.attach_bpf_fd = (uint32_t) program;
    attr.attach_type = BPF_CGROUP_DEVICE;
    return call(BPF_PROG_DETACH, &attr);
}
