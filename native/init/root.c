/* The root: prepared beside the old one, entered, and closed behind. */
#include "init.h"
#include "mount.h"

#include <linux/mount.h>
#include <linux/sched.h>

static bool same_place(int a, int b) {
    struct statx x, y;
    return sys(__NR_statx, a, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_MNT_ID, &x) == 0 &&
           sys(__NR_statx, b, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_MNT_ID, &y) == 0 && x.stx_ino == y.stx_ino &&
           x.stx_mnt_id == y.stx_mnt_id;
}

/* pivot_root(2) changes the root of the process. If that is a chroot, the root of the mount namespace stays what it was,
 * outside, and that is where setns(2) leads: an `exec`, or the container's own root, would find the host there. So a
 * chrooted runtime's root first becomes the root of a mount namespace. */
EXECUTOR(OWN_ROOT) {
    (void)op;
    int top = -1, root = path_open_retry(AT_FDCWD, "/", O_PATH | O_DIRECTORY, 0, 0);
    long ns = sys(__NR_openat, AT_FDCWD, "/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC, 0);
    long r = root < 0 ? root : ns < 0 ? ns : sys(__NR_setns, ns, CLONE_NEWNS);
    if (r == 0)
        top = path_open_retry(AT_FDCWD, "/", O_PATH | O_DIRECTORY, 0, 0);
    if (ns >= 0)
        sys(__NR_close, ns);
    if (r < 0 || top < 0)
        return fail(AT_SETNS, r < 0 ? r : top, NULL);
    bool chrooted = !same_place(root, top);
    fd_close(&top);
    if (chrooted && (r = sys(__NR_fchdir, root)) == 0 && (r = sys(__NR_unshare, CLONE_NEWNS)) == 0)
        r = sys(__NR_mount, 0, "/", 0, MS_SLAVE | MS_REC, 0);
    fd_close(&root);
    if (!chrooted)
        return 0;
    int tree = r < 0 ? fail(AT_UNSHARE, r, NULL) : mount_clone(AT_FDCWD, ".", true);
    if (tree < 0)
        return -1;
    r = sys(__NR_move_mount, tree, "", AT_FDCWD, ".", MOVE_MOUNT_F_EMPTY_PATH);
    if (r == 0)
        r = sys(__NR_fchdir, tree);
    if (r == 0)
        r = sys(__NR_pivot_root, ".", ".");
    if (r == 0)
        r = sys(__NR_umount2, ".", 2 /* MNT_DETACH */);
    if (r == 0)
        r = sys(__NR_chdir, "/");
    fd_close(&tree);
    return r < 0 ? fail(AT_PIVOTROOT, r, NULL) : 0;
}

/* s: a path of the host's; v: propagation */
EXECUTOR(PROPAGATE) {
    int fd = path_open_retry(AT_FDCWD, op_text(op, 0), O_PATH, 0, 0);
    if (fd < 0)
        return fail(AT_OPEN, fd, NULL);
    int r = mount_propagation(fd, op->v[0]);
    fd_close(&fd);
    return r;
}

/* pivot_root(2) wants a parent mount that is not shared; of a path only the mount's root can be told so. */
static int make_parent_private(int dir) {
    struct statx st;
    int fd = path_open_retry(dir, ".", O_PATH | O_DIRECTORY, 0, 0), result = -1;
    for (int depth = 0; depth < 256 && fd >= 0; depth++) {
        if (path_statx(fd, &st) == 0 && st.stx_attributes & STATX_ATTR_MOUNT_ROOT) {
            result = mount_attributes(fd, 0, 0, MS_PRIVATE, false);
            fd_close(&fd);
            return result;
        }
        int up = path_open_retry(fd, "..", O_PATH | O_DIRECTORY, 0, 0);
        fd_close(&fd);
        fd = up;
    }
    return fail(AT_OPEN, fd < 0 ? fd : ELOOP, "parent mount");
}

static int open_rootfs(const struct plan_op *op) {
    int dir = path_open_retry(AT_FDCWD, op_text(op, 0), O_PATH | O_DIRECTORY | O_NOFOLLOW, 0, 0);
    return dir < 0 ? fail(AT_OPEN, dir, NULL) : dir;
}

/* Root of a user namespace may not reach the root file system by its name. unshare(2) takes the working directory along
 * into the new mount namespace, and so to the place that is needed there. s: rootfs */
EXECUTOR(GO_TO_ROOT) {
    int dir = open_rootfs(op);
    if (dir < 0)
        return -1;
    long r = sys(__NR_fchdir, dir);
    fd_close(&dir);
    return r < 0 ? fail(AT_CHDIR, r, NULL) : 0;
}

/* open_tree(2) asks for no right to the directory itself, as to open "." would. */
static int open_here(void) {
    long fd = sys(__NR_open_tree, AT_FDCWD, "", AT_EMPTY_PATH | OPEN_TREE_CLOEXEC);
    return fd < 0 ? fail(AT_OPEN, fd, NULL) : (int)fd;
}

/* A copy of the bundle's root, with the mounts that lie in it, on top of itself: from here on it is only an fd.
 * s: rootfs; v: make the parent mount private, it is the working directory */
EXECUTOR(ROOT) {
    int dir = op->v[1] ? open_here() : open_rootfs(op);
    if (dir < 0)
        return -1;
    if (op->v[0] && make_parent_private(dir) < 0)
        return -1;
    int tree = mount_clone(dir, "", true);
    if (tree < 0)
        return -1;
    long r = sys(__NR_move_mount, tree, "", dir, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
    fd_close(&dir);
    init.slot[SLOT_ROOT] = tree;
    return r < 0 ? fail(AT_ATTACH, r, NULL) : 0;
}

/* For exec the root of the mount namespace just joined, "/"; without a mount namespace the rootfs, for ENTER_ROOT. */
EXECUTOR(OPEN_ROOT) {
    int fd = path_open_retry(AT_FDCWD, op_text(op, 0), O_PATH | O_DIRECTORY, 0, 0);
    init.slot[SLOT_ROOT] = fd;
    return fd < 0 ? fail(AT_OPEN, fd, NULL) : 0;
}

/* pivot_root(".", ".") stacks the old root onto the new one: no directory for it is needed in the image. */
EXECUTOR(PIVOT) {
    (void)op;
    int old = path_open_retry(AT_FDCWD, "/", O_PATH | O_DIRECTORY, 0, 0);
    if (old < 0)
        return fail(AT_OPEN, old, NULL);
    long r = sys(__NR_fchdir, init.slot[SLOT_ROOT]);
    if (r == 0)
        r = sys(__NR_pivot_root, ".", ".");
    if (r < 0)
        return fail(AT_PIVOTROOT, r, NULL);
    r = sys(__NR_fchdir, old);
    if (r == 0) /* unmounting must not reach the host's mounts */
        r = sys(__NR_mount, 0, ".", 0, MS_SLAVE | MS_REC, 0);
    if (r == 0)
        r = sys(__NR_umount2, ".", 2 /* MNT_DETACH */);
    fd_close(&old);
    if (r == 0)
        r = sys(__NR_chdir, "/");
    return r < 0 ? fail(AT_UNMOUNT, r, NULL) : 0;
}

/* A procfs or sysfs of the host's that --no-pivot would leave within reach. s: its mount point */
EXECUTOR(HIDE) {
    const char *path = op_text(op, 0);
    sys(__NR_mount, 0, path, 0, MS_PRIVATE, 0);
    long r = sys(__NR_umount2, path, 2 /* MNT_DETACH */);
    if (r == -EINVAL || r == -EPERM)
        r = sys(__NR_mount, "tmpfs", path, "tmpfs", MS_RDONLY, 0);
    return r < 0 ? fail(AT_UNMOUNT, r, NULL) : 0;
}

/* A root that nothing is mounted on: chroot(2), for a container that shares the host's mount namespace. */
EXECUTOR(ENTER_ROOT) {
    (void)op;
    long r = sys(__NR_fchdir, init.slot[SLOT_ROOT]);
    if (r == 0)
        r = sys(__NR_chroot, ".");
    if (r == 0)
        r = sys(__NR_chdir, "/");
    return r < 0 ? fail(AT_CHROOT, r, NULL) : 0;
}

/* --no-pivot: for a root on an initramfs, which cannot be pivoted away from. */
EXECUTOR(MOVE_ROOT) {
    long r = sys(__NR_fchdir, init.slot[SLOT_ROOT]);
    if (r == 0)
        r = sys(__NR_mount, ".", "/", 0, MS_MOVE, 0);
    return r < 0 ? fail(AT_ATTACH, r, NULL) : op_ENTER_ROOT(op);
}

EXECUTOR(ROOT_PROPAGATION) { return mount_propagation(init.slot[SLOT_ROOT], op->v[0]); }
