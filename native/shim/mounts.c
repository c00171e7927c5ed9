#define _GNU_SOURCE
#include "mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <linux/stat.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int open_below(int dir, const char *path) {
    struct open_how how = {
        .flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    long fd;
    do /* EAGAIN: something was renamed meanwhile */
        fd = syscall(SYS_openat2, dir, path, &how, sizeof how);
    while (fd < 0 && (errno == EAGAIN || errno == EINTR));
    return (int)fd;
}

/* The mount with this number (statx(2), STATX_MNT_ID) whose root is at `path` below `dir`, with all that is mounted on it, becomes
 * private: else what is detached from a copy of a shared mount is detached from the original too, mount_namespaces(7).
 * Then, if `detach`, it goes. Who may write below `dir` can put a link on the way or move a directory away, but what is found then
 * is not this mount, or not at all (ESTALE, ENOENT, ELOOP). */
int pyrunc_unmount_below(int dir, const char *path, int id, int detach) {
    char name[32];
    struct statx st;
    int error = 0, fd = open_below(dir, path);
    if (fd < 0)
        return -errno;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &st) < 0)
        error = errno;
    else if (st.stx_mnt_id != (unsigned)id || !(st.stx_attributes & STATX_ATTR_MOUNT_ROOT))
        error = ESTALE;
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    if (!error && mount(NULL, name, NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        error = errno;
    if (!error && detach && umount2(name, MNT_DETACH) < 0)
        error = errno;
    close(fd);
    return -error;
}
