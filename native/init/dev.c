/* Device nodes, links, and the terminal. A node is believed for its type and number, never for its name. */
#include "init.h"
#include "mount.h"

#include <asm/ioctls.h>
#include <asm/termbits.h>
#include <asm/termios.h>
#include <linux/limits.h>
#include <linux/magic.h>

#define DEVPTS_MAGIC 0x1cd1

static bool is_device(int fd, uint32_t type, uint32_t major, uint32_t minor) {
    struct statx st;
    if (path_statx(fd, &st) < 0 || (st.stx_mode & S_IFMT) != type)
        return false;
    return type == S_IFIFO || (st.stx_rdev_major == major && st.stx_rdev_minor == minor);
}

/* The kernel's encoding of a device number for mknod(2). */
static uint32_t device_number(uint32_t major, uint32_t minor) {
    return (minor & 0xff) | (major << 8) | ((minor & ~0xffu) << 12);
}

/* s: path; v: type and mode, major, minor, uid, gid */
EXECUTOR(DEVICE) {
    const char *name;
    uint32_t type = op->v[0] & S_IFMT, major = (uint32_t)op->v[1], minor = (uint32_t)op->v[2];
    int parent = path_parent(op_text(op, 0), &name);
    if (parent < 0)
        return -1;
    long made = sys(__NR_mknodat, parent, name, op->v[0], device_number(major, minor));
    int fd = made < 0 && made != -EEXIST ? (int)made : path_open_retry(parent, name, O_PATH | O_NOFOLLOW, 0, RESOLVE_SAFE_CHILD);
    fd_close(&parent);
    if (fd < 0)
        return fail(AT_MKNOD, fd, NULL);
    long r = 0;
    if (!is_device(fd, type, major, minor))
        r = fail(AT_EXISTS, EEXIST, "it is not this device");
    else if (made == 0 && (r = sys(__NR_fchownat, fd, "", op->v[3], op->v[4], AT_EMPTY_PATH)) < 0)
        r = fail(AT_CHOWN, r, NULL);
    fd_close(&fd);
    return (int)r;
}

/* Where mknod(2) is not for us, in a user namespace: the host's node, if it is what it is called.
 * s: path, source on the host; v: type, major, minor, the slot of a tree made before or 0 */
EXECUTOR(BIND_DEVICE) {
    int result = -1, target = -1, tree = mount_held(op->v[3], op_text(op, 1), 0);
    if (tree < 0)
        return -1;
    if (!is_device(tree, (uint32_t)op->v[0] & S_IFMT, (uint32_t)op->v[1], (uint32_t)op->v[2]))
        fail(AT_VERIFY, ENODEV, op_text(op, 1));
    else
        target = path_target(op_text(op, 0), TARGET_FILE, false);
    if (target >= 0)
        result = mount_attach(tree, target, 0);
    fd_close(&tree);
    fd_close(&target);
    return result;
}

/* s: link, its text; v: replace what is there. Otherwise an existing name is the image's choice. (CVE-2026-41579) */
EXECUTOR(SYMLINK) {
    const char *name;
    int parent = path_parent(op_text(op, 0), &name);
    if (parent < 0)
        return -1;
    long r = sys(__NR_symlinkat, op_text(op, 1), parent, name);
    if (r == -EEXIST && op->v[0]) {
        r = sys(__NR_unlinkat, parent, name, 0);
        if (r == 0)
            r = sys(__NR_symlinkat, op_text(op, 1), parent, name);
    }
    fd_close(&parent);
    return r < 0 && (r != -EEXIST || op->v[0]) ? fail(AT_LINK, r, NULL) : 0;
}

/* The character device at path, or a negative errno. It is looked at before it is opened, because that alone may do
 * something (a watchdog starts), and again after, because the name may lead elsewhere by then. */
static int open_device(const char *path, uint64_t flags, uint32_t major, uint32_t minor) {
    int fd = -1;
    for (int use = 0; use < 2; use++) {
        fd_close(&fd);
        fd = path_in_root(path, (use ? flags : O_PATH) | O_NOFOLLOW, 0);
        if (fd < 0)
            return fd;
        if (!is_device(fd, S_IFCHR, major, minor)) {
            fd_close(&fd);
            return -EINVAL;
        }
    }
    return fd;
}

/* stdio that is the host's /dev/null becomes the container's: the host's inode is none of the container's business. */
EXECUTOR(NULL_STDIO) {
    (void)op;
    int null = -1;
    long r = 0;
    for (int fd = 0; fd < 3 && r >= 0; fd++) {
        if (!is_device(fd, S_IFCHR, 1, 3))
            continue;
        if (null < 0)
            null = open_device("/dev/null", O_RDWR, 1, 3);
        if (null == -ENOENT || null == -ENOTDIR)
            return 0;
        r = null < 0 ? null : sys(__NR_dup3, null, fd, 0);
    }
    fd_close(&null);
    return r < 0 ? fail(AT_NOTDEVNULL, r, NULL) : 0;
}

/* v: uid. The caller's files may be read-only, on a file system of somebody else's, or not ours: then they stay. */
EXECUTOR(OWN_STDIO) {
    struct statx st;
    for (int fd = 0; fd < 3; fd++) {
        if (path_statx(fd, &st) < 0 || is_device(fd, S_IFCHR, 1, 3) || st.stx_uid == op->v[0])
            continue;
        long r = sys(__NR_fchown, fd, op->v[0], st.stx_gid);
        if (r < 0 && r != -EINVAL && r != -EPERM && r != -EROFS)
            return fail(AT_CHOWN, r, NULL);
    }
    return 0;
}

/* The multiplexer of the container's own devpts, by number and file system (CVE-2025-52565). */
static int open_ptmx(void) {
    static const char path[] = "/dev/pts/ptmx";
    int dir = path_in_root("/dev/pts", O_PATH | O_DIRECTORY, 0);
    int fd = dir < 0 ? dir : path_is_fs(dir, DEVPTS_MAGIC) ? open_device(path, O_RDWR | O_NOCTTY, 5, 2) : -EINVAL;
    fd_close(&dir);
    if (fd >= 0 && !path_is_fs(fd, DEVPTS_MAGIC)) {
        fd_close(&fd);
        fd = -EINVAL;
    }
    return fd >= 0 ? fd : fail(AT_PTMX, fd, fd == -EINVAL ? "/dev/pts/ptmx is not the multiplexer of a devpts" : NULL);
}

static int open_pty(int master, const struct plan_op *op) {
    const int unlocked = 0;
    struct termios mode;
    struct winsize size = {.ws_row = (unsigned short)op->v[0], .ws_col = (unsigned short)op->v[1]};
    long r = sys(__NR_ioctl, master, TIOCSPTLCK, &unlocked);
    long pty = r < 0 ? r : sys(__NR_ioctl, master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (pty < 0)
        return fail(AT_PTY, pty, NULL);
    r = sys(__NR_ioctl, pty, TCGETS, &mode);
    mode.c_oflag &= ~(tcflag_t)ONLCR; /* as runc: conmon and the shims expect bare newlines */
    if (r == 0)
        r = sys(__NR_ioctl, pty, TCSETS, &mode);
    if (r == 0 && size.ws_row && size.ws_col)
        r = sys(__NR_ioctl, pty, TIOCSWINSZ, &size);
    return r < 0 ? fail(AT_PTY, r, "set mode or size") : (int)pty;
}

static int bind_console(int pty) {
    const char *name;
    int result = -1, parent = path_parent("/dev/console", &name);
    if (parent < 0)
        return -1;
    long made = sys(__NR_openat, parent, name, O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_WRONLY, 0620);
    if (made >= 0)
        sys(__NR_close, made);
    int target = path_open_retry(parent, name, O_PATH, 0, RESOLVE_SAFE_CHILD);
    fd_close(&parent);
    if (target < 0)
        return fail(AT_CREATE, target, "/dev/console");
    int tree = mount_clone(pty, "", false);
    if (tree >= 0)
        result = mount_attach(tree, target, 0);
    fd_close(&tree);
    fd_close(&target);
    return result;
}

/* v: rows, columns, bind the pty on /dev/console. The master goes to the runtime, the pty becomes stdio. */
EXECUTOR(CONSOLE) {
    struct plan_message message = {.kind = MSG_CONSOLE};
    int master = open_ptmx();
    int pty = master < 0 ? -1 : open_pty(master, op);
    if (pty < 0 || (op->v[2] && bind_console(pty) < 0) || channel_send(&message, PLAN_MESSAGE_HEAD, master) < 0)
        return -1;
    fd_close(&master);
    long r = sys(__NR_ioctl, pty, TIOCSCTTY, 0);
    if (r < 0)
        return fail(AT_CTTY, r, NULL);
    for (int fd = 0; fd < 3 && r >= 0; fd++)
        r = sys(__NR_dup3, pty, fd, 0);
    fd_close(&pty);
    return r < 0 ? fail(AT_PTY, r, NULL) : 0;
}
