/* Taking away what was mounted below a directory that others may write to. Returns -errno on failure. */
#ifndef SHIM_MOUNTS_H
#define SHIM_MOUNTS_H

int pyrunc_unmount_below(int dir, const char *path, int id, int detach);

#endif
