/* Sealed memfds: nobody who gets hold of one can change what it says (CVE-2019-5736). */
#ifndef SHIM_MEMFD_H
#define SHIM_MEMFD_H

#include <stddef.h>

int pyrunc_sealed_data(const char *name, const void *data, size_t size);
int pyrunc_sealed_program(const char *name, const char *path);

#endif
