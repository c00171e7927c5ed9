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
/* Mappings of ids: a user namespace that has them, and whom of the host's they make root (or its like). */
struct mapping {
    int userns;
    uint32_t uid, gid;
};
/* A detached mount of a new file system. `end` is where the list of options ends. `map` may be NULL. */
int mount_new(const char *type, const char *options, const char *end, uint64_t attributes, const struct mapping *map);
int mount_map_ids(int tree, int userns, bool recursive);
int mount_option(int context, const char *option);
/* overlay.c: the options of an overlay whose layers are ID-mapped, because it cannot be so itself. What is opened for it is
 * closed by overlay_close(), after the file system has been made. */
#define OVERLAY_LAYERS 512
struct layers {
    int count;
    int fd[OVERLAY_LAYERS];
};
int overlay_options(int context, const char *options, const char *end, int userns, struct layers *layers);
int overlay_create(int context, uint32_t uid, uint32_t gid);
void overlay_close(struct layers *layers);
/* A detached copy of the mount at path below dir, or of dir itself when path is "". */
int mount_clone(int dir, const char *path, bool recursive);
/* A copy of the mount at path: the one that a slot holds, if it is mapped or the path leads nowhere from here. `mode` has
 * MODE_RECURSIVE and MODE_MAPPED. */
int mount_held(uint64_t slot, const char *path, uint64_t mode);
/* What lies in the directory `from` (O_PATH) is copied into the mount `to`: tmpcopyup. */
int copy_up(int from, int to);

#endif
