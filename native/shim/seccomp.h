/*
 * A seccomp profile to BPF, by libseccomp, which is loaded when the first profile is compiled.
 *
 * The request is one flat buffer, in the machine's byte order and without padding between its parts:
 *
 *     struct shim_seccomp_request | arguments[] | rules[] | architectures[] (u32, into the text) | text, each name ended by NUL
 */
#ifndef PYRUNC_SHIM_SECCOMP_H
#define PYRUNC_SHIM_SECCOMP_H

#include <stddef.h>
#include <stdint.h>

#define SHIM_SECCOMP_ARCHES 24
#define SHIM_SECCOMP_UNKNOWN 64

struct shim_seccomp_request {
    uint32_t default_action;
    uint32_t binary_tree; /* as SCMP_FLTATR_CTL_OPTIMIZE(2) instead of a list of comparisons */
    uint32_t argument_count;
    uint32_t rule_count;
    uint32_t arch_count;
    uint32_t text_size;
};

/* libseccomp's struct scmp_arg_cmp, seccomp_rule_add(3). For the masked operator `first` is the mask. */
struct shim_seccomp_argument {
    uint32_t index;
    uint32_t op;
    uint64_t first;
    uint64_t second;
};

struct shim_seccomp_rule {
    uint32_t name; /* offset in the text */
    uint32_t action;
    uint32_t first_argument;
    uint32_t argument_count;
};

enum shim_seccomp_stage {
    SHIM_SECCOMP_REQUEST = 1, /* the buffer itself is wrong */
    SHIM_SECCOMP_LOAD = 2,
    SHIM_SECCOMP_INIT = 3,
    SHIM_SECCOMP_ARCH = 4,
    SHIM_SECCOMP_RULE = 5,
    SHIM_SECCOMP_EXPORT = 6,
};

struct shim_seccomp_report {
    uint32_t stage;      /* on failure: what was being done ... */
    uint32_t index;      /* ... with which architecture or rule of the request */
    const char *library; /* where libseccomp was found; lives as long as the process */
    size_t bpf_size;
    uint32_t arch_count; /* the filter's architectures, the machine's own first, each with ... */
    uint32_t arch[SHIM_SECCOMP_ARCHES];
    int32_t last[SHIM_SECCOMP_ARCHES]; /* ... the greatest system call number that a rule names, -1 for none */
    uint32_t unknown_count; /* rules left out because libseccomp does not know the name, and the first of them by index */
    uint32_t unknown[SHIM_SECCOMP_UNKNOWN];
};

/* 0 and the program in `bpf`, or a negative errno with the report's stage and index. */
int shim_seccomp_compile(const void *request, size_t size, void *bpf, size_t capacity, struct shim_seccomp_report *report);

/* Those of the SECCOMP_FILTER_FLAG_* in `flags` that this kernel knows. */
uint32_t shim_seccomp_flags(uint32_t flags);

#endif
