/*
 * bpf(2) as far as cgroup v2's device rules need it. Each function is one call and returns its result or a negative errno.
 */
#ifndef PYRUNC_SHIM_BPF_H
#define PYRUNC_SHIM_BPF_H

#include <stddef.h>
#include <stdint.h>

/* Load a BPF_PROG_TYPE_CGROUP_DEVICE program: a descriptor, close-on-exec. The verifier's words go to `log`, if any. */
int shim_bpf_load_device(const void *insns, uint32_t count, char *log, uint32_t log_size);

/* The ids of the device programs attached to this very cgroup: their number, at most `capacity` of them in `ids`. */
int shim_bpf_query_device(int cgroup, uint32_t *ids, uint32_t capacity);

/* A descriptor of a loaded program. */
int shim_bpf_open(uint32_t id);

/* 1 for a program that pyrunc has loaded, by its name; 0 for another's. */
int shim_bpf_is_ours(int program);

/* Attach beside other programs (BPF_F_ALLOW_MULTI) or, unless `replace` is negative, in the place of that one (Linux 5.6). */
int shim_bpf_attach_device(int cgroup, int program, int replace);

int shim_bpf_detach_device(int cgroup, int program);

#endif
