/* Mounting by fd, shared by the files that mount. All return -1 after fail(). */
#ifndef PYRUNC_MOUNT_H
#define PYRUNC_MOUNT_H

#include "sys.h"

#include <linux/openat2.h>

/* One component below a directory that is already safe: no way out of it. */
#define RESOLVE_SAFE_CHILD (RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS)

int mount_attributes(int fd, uint64_t set, uint64_t clear, uint64_t propagation, bool recursive);
int mount_propagation(int fd, uint64_t list);
int mount_attach(int tree, int target, uint64_t mode);
int mount_new(const char *type, const char *options, const char *end, uint64_t attributes);
/* A detached copy of the mount at path below dir, or of dir itself when path is "". */
int mount_clone(int dir, const char *path, bool recursive);
/* What lies in the directory `from` (O_PATH) is copied into the mount `to`: tmpcopyup. */
int copy_up(int from, int to);

#endif
