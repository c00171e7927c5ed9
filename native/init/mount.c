/* Mounts. Each is made detached, gets its attributes while nobody can reach it, and is then attached to an fd that was
 * resolved inside the root: there is no path to be raced for (CVE-2021-30465) and no moment without its flags. */
#include "init.h"
#include "mount.h"

#include <asm/statfs.h>
#include <linux/limits.h>
#include <linux/magic.h>
#include <linux/mount.h>

/* What of the flags of a mount may be locked (mount_namespaces(7)), as statfs(2) tells them. */
static void flag_names(int fd, char *text, size_t size) {
    static const struct {
        long flag;
        const char *name;
    } names[] = {{1, " ro"}, {2, " nosuid"}, {4, " nodev"}, {8, " noexec"}, {1024, " noatime"}, {2048, " nodiratime"}};
    struct statfs fs = {0};
    size_t at = 0;
    sys(__NR_fstatfs, fd, &fs);
    text_add(text, size, &at, "(the mount is");
    for (size_t i = 0; i < COUNT(names); i++)
        if (fs.f_flags & names[i].flag)
            text_add(text, size, &at, names[i].name);
    text_add(text, size, &at, ")");
}

int mount_attributes(int fd, uint64_t set, uint64_t clear, uint64_t propagation, bool recursive) {
    struct mount_attr attr = {.attr_set = set, .attr_clr = clear, .propagation = propagation};
    char detail[80] = "";
    long r = sys(__NR_mount_setattr, fd, "", AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0), &attr, sizeof attr);
    if (r == -EPERM && !propagation)
        flag_names(fd, detail, sizeof detail);
    return r < 0 ? fail(propagation ? AT_SETPROPAGATION : AT_ATTRIBUTES, r, detail) : 0;
}

/* The list is bytes, first one first: bits 0-3 are MS_UNBINDABLE..MS_SHARED >> 17, bit 4 means with everything below. */
int mount_propagation(int fd, uint64_t list) {
    for (; list; list >>= 8)
        if (mount_attributes(fd, 0, 0, (list & 15) << 17, list & 16) < 0)
            return -1;
    return 0;
}

static bool is_root(int fd) {
    struct statx a, b;
    return path_statx(fd, &a) == 0 && path_statx(init.slot[SLOT_ROOT], &b) == 0 && a.stx_ino == b.stx_ino &&
           a.stx_dev_major == b.stx_dev_major && a.stx_dev_minor == b.stx_dev_minor;
}

/* Whatever names led here: nothing is hidden inside a procfs, except where the plan says so (CVE-2019-16884). */
int mount_attach(int tree, int target, uint64_t mode) {
    if (!(mode & MODE_INPROC) && path_is_fs(target, PROC_SUPER_MAGIC))
        return fail(AT_INPROC, EPERM, NULL);
    if (is_root(target))
        return fail(AT_ATTACH, EBUSY, "the destination is the root itself");
    long r = sys(__NR_move_mount, tree, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
    return r < 0 ? fail(AT_ATTACH, r, NULL) : 0;
}

/* Says with the errno what the file system itself said: its last message, without the severity in front. */
static int fail_context(int place, long error, int context, const char *option) {
    char said[512], detail[768];
    size_t at = 0;
    detail[0] = 0;
    if (option)
        text_add(detail, sizeof detail, &at, option);
    long n, last = 0;
    while ((n = sys(__NR_read, context, said, sizeof said - 1)) > 0)
        last = n;
    if (last > 2) {
        said[last] = 0;
        if (at)
            text_add(detail, sizeof detail, &at, ": ");
        text_add(detail, sizeof detail, &at, said + 2);
    }
    return fail(place, error, detail);
}

int mount_option(int context, const char *option) {
    char key[256];
    size_t n = 0;
    while (option[n] && option[n] != '=')
        n++;
    if (n >= sizeof key)
        return fail(AT_FSCONFIG, ENAMETOOLONG, option);
    memcpy(key, option, n);
    key[n] = 0;
    long r = option[n] ? sys(__NR_fsconfig, context, FSCONFIG_SET_STRING, key, option + n + 1, 0)
                       : sys(__NR_fsconfig, context, FSCONFIG_SET_FLAG, key, 0, 0);
    return r < 0 ? fail_context(AT_FSCONFIG, r, context, option) : 0;
}

/* The ids that the mount shows, and takes from who writes, are mapped by the user namespace: mount_setattr(2). What cannot be
 * mapped is told by the number of its file system, statfs(2). */
int mount_map_ids(int tree, int userns, bool recursive) {
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)userns};
    struct statfs fs = {0};
    char magic[24];
    size_t at = 0;
    long r = sys(__NR_mount_setattr, tree, "", AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0), &attr, sizeof attr);
    if (r == 0)
        return 0;
    sys(__NR_fstatfs, tree, &fs);
    text_add_number(magic, sizeof magic, &at, (unsigned long)fs.f_type & 0xffffffff);
    return fail(AT_MAPIDS, r, magic);
}

static int set_options(int context, const char *options, const char *end) {
    for (; options && options < end; options += text_length(options) + 1)
        if (mount_option(context, options) < 0)
            return -1;
    return 0;
}

/* An overlay that cannot write to its upper layer becomes read-only, and says so in the kernel's log alone. */
static bool turned_read_only(int tree, const char *options, const char *end, uint64_t attributes) {
    struct statfs fs;
    bool upper = false;
    for (; options && options < end; options += text_length(options) + 1) {
        upper |= text_starts(options, "upperdir=");
        if (text_equal(options, "ro"))
            return false;
    }
    return upper && !(attributes & MOUNT_ATTR_RDONLY) && sys(__NR_fstatfs, tree, &fs) == 0 && fs.f_flags & 1 /* ST_RDONLY */;
}

int mount_new(const char *type, const char *options, const char *end, uint64_t attributes, const struct mapping *map) {
    static struct layers layers;
    bool overlay = text_equal(type, "overlay");
    int tree = -1, context = (int)sys(__NR_fsopen, type, FSOPEN_CLOEXEC);
    if (context < 0)
        return fail(AT_FSOPEN, context, type);
    layers.count = 0;
    int ready = map && overlay ? overlay_options(context, options, end, map->userns, &layers) : set_options(context, options, end);
    long r = ready < 0        ? 0
             : map && overlay ? overlay_create(context, map->uid, map->gid)
                              : sys(__NR_fsconfig, context, FSCONFIG_CMD_CREATE, 0, 0, 0);
    if (r < 0)
        fail_context(AT_FSCREATE, r, context, NULL);
    else if (ready == 0 && (tree = (int)sys(__NR_fsmount, context, FSMOUNT_CLOEXEC, attributes)) < 0)
        fail_context(AT_FSMOUNT, tree, context, NULL);
    if (tree >= 0 && overlay && turned_read_only(tree, options, end, attributes)) {
        fail(AT_FSCREATE, EROFS, "upperdir or workdir cannot be written to");
        fd_close(&tree);
    } else if (tree >= 0 && map && !overlay && mount_map_ids(tree, map->userns, false) < 0)
        fd_close(&tree);
    overlay_close(&layers);
    fd_close(&context);
    return tree < 0 ? -1 : tree;
}

static int take_over(int tree, int target, uint64_t mode) {
    struct statx st;
    if (mode & (MODE_DIRMODE | MODE_COPYUP)) {
        long r = path_statx(target, &st);
        if (r == 0)
            r = sys(__NR_fchmodat, tree, ".", st.stx_mode & 07777);
        if (r == 0 && mode & MODE_COPYUP)
            r = sys(__NR_fchownat, tree, "", st.stx_uid, st.stx_gid, AT_EMPTY_PATH);
        if (r < 0)
            return fail(AT_CHMOD, r, NULL);
    }
    return mode & MODE_COPYUP ? copy_up(target, tree) : 0;
}

static bool exists(const char *path) {
    int fd = path_in_root(path, O_PATH, 0);
    bool found = fd >= 0;
    fd_close(&fd);
    return found;
}

/* Nothing to see and nowhere to write. */
static int empty_tree(const char *options, size_t length) {
    static const char usual[] = "nr_blocks=1\0nr_inodes=1\0mode=755";
    if (!options) {
        options = usual;
        length = sizeof usual;
    }
    const uint64_t flags = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
    return mount_new("tmpfs", options, options + length, flags, NULL);
}

/* A user namespace that does not own the network namespace gets no sysfs, one that does not own the cgroup namespace no
 * cgroup2. What the host shows there must do then; of a cgroup2 that is nobody's, nothing (CVE-2023-25809). */
static int instead(const struct plan_op *op) {
    const char *source = op_text(op, 3);
    if (!source || (init.failure.error != EPERM && init.failure.error != EBUSY))
        return -1;
    int tree = *source ? mount_clone(AT_FDCWD, source, true) : empty_tree(NULL, 0);
    if (tree >= 0 && op->v[3] && mount_attributes(tree, op->v[3], 0, 0, true) < 0)
        fd_close(&tree);
    return tree;
}

static int file_system(const struct plan_op *op) {
    const char *options = op_text(op, 2);
    uint64_t slot = op->v[2] >> PLAN_MODE_SLOT;
    int tree = slot ? fd_take(slot) : mount_new(op_text(op, 0), options, options + op_length(op, 2), op->v[0], NULL);
    return tree < 0 ? instead(op) : tree;
}

/* s: type, destination, options, what is bound where the kernel refuses ("" for an empty directory); v: attributes,
 * propagation, mode and slot, attributes of what is bound instead, with all below */
EXECUTOR(MOUNT) {
    uint64_t mode = op->v[2];
    if (mode & MODE_DIRMODE && !exists(op_text(op, 1))) /* one that is made for it has no mode to be kept */
        mode &= ~(uint64_t)MODE_DIRMODE;
    int result = -1, tree = -1, target = path_target(op_text(op, 1), TARGET_DIR, mode & MODE_REALDIR);
    if (target >= 0)
        tree = file_system(op);
    if (tree >= 0 && take_over(tree, target, mode) == 0 && mount_attach(tree, target, mode) == 0)
        result = mount_propagation(tree, op->v[1]);
    fd_close(&tree);
    fd_close(&target);
    return result;
}

/* The label of a mount's root directory, where the file system takes none as an option. s: path, label */
EXECUTOR(FILE_LABEL) {
    int fd = path_in_root(op_text(op, 0), O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return fail(AT_RESOLVE, fd, NULL);
    long r = sys(__NR_fsetxattr, fd, "security.selinux", op_text(op, 1), op_length(op, 1), 0);
    fd_close(&fd);
    return r < 0 ? fail(AT_SETLABEL, r, NULL) : 0;
}

/* What is mounted at path by now, found as the target was: a link there leads to the same place. If somebody has moved it
 * meanwhile, what is found is no mount, or one of the container's own. */
static int reopen(const char *path) {
    struct statx st;
    int fd = path_in_root(path, O_PATH, 0);
    long r = fd < 0 ? fd : path_statx(fd, &st);
    if (r == 0 && st.stx_attributes & STATX_ATTR_MOUNT_ROOT)
        return fd;
    fd_close(&fd);
    return r < 0 ? fail(AT_RESOLVE, r, NULL) : fail(AT_RESOLVE, EINVAL, "(nothing is mounted there)");
}

/* mount(2), for options that are too long for fsconfig(2), whose limit is 255 bytes: overlay's lowerdir.
 * s: type, destination, data, source; v: MS_* flags, propagation, mode */
EXECUTOR(MOUNT_DATA) {
    char path[40];
    size_t at = 0;
    int target = path_target(op_text(op, 1), TARGET_DIR, op->v[2] & MODE_REALDIR);
    if (target < 0)
        return -1;
    if (!(op->v[2] & MODE_INPROC) && path_is_fs(target, PROC_SUPER_MAGIC))
        return fail(AT_INPROC, EPERM, NULL);
    if (is_root(target))
        return fail(AT_ATTACH, EBUSY, "the destination is the root itself");
    text_add(path, sizeof path, &at, "/proc/self/fd/");
    text_add_number(path, sizeof path, &at, (unsigned long)target);
    long r = sys(__NR_mount, op_text(op, 3), path, op_text(op, 0), op->v[0], op_text(op, 2));
    fd_close(&target);
    if (r < 0)
        return fail(AT_FSMOUNT, r, NULL);
    if (!op->v[1])
        return 0;
    int tree = reopen(op_text(op, 1));
    int result = tree < 0 ? -1 : mount_propagation(tree, op->v[1]);
    fd_close(&tree);
    return result;
}

int mount_clone(int dir, const char *path, bool recursive) {
    long flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (recursive ? AT_RECURSIVE : 0) | (*path ? 0 : AT_EMPTY_PATH);
    long tree = sys(__NR_open_tree, dir, path, flags);
    return tree < 0 ? fail(AT_SOURCE, tree, *path ? path : NULL) : (int)tree;
}

static int bind_attributes(int tree, const struct plan_op *op) {
    if ((op->v[0] || op->v[1]) && mount_attributes(tree, op->v[0], op->v[1], 0, false) < 0)
        return -1;
    if ((op->v[2] || op->v[3]) && mount_attributes(tree, op->v[2], op->v[3], 0, true) < 0)
        return -1;
    return 0;
}

/* By its name if that leads there from in here, because then the kernel locks what is mounted below, mount_namespaces(7): root of
 * the user namespace cannot look under it. A bind that is not recursive is refused for that (EINVAL), and may: it was asked to. */
int mount_held(uint64_t slot, const char *path, uint64_t mode) {
    bool held = slot >= SLOT_HELD && slot < PLAN_NSLOTS && init.slot[slot] >= 0;
    int tree = held && mode & MODE_MAPPED ? -1 : mount_clone(AT_FDCWD, path, mode & MODE_RECURSIVE);
    bool refused = tree < 0 && (mode & MODE_MAPPED || init.failure.error == EACCES || init.failure.error == EINVAL);
    if (!held || (tree < 0 && !refused))
        return tree;
    if (tree < 0)
        return fd_take(slot);
    fd_close(&init.slot[slot]);
    return tree;
}

/* s: source, destination; v: attributes set, cleared, set below, cleared below, propagation, mode and slot */
EXECUTOR(BIND) {
    struct statx st;
    int result = -1, target = -1;
    int tree = mount_held(op->v[5] >> PLAN_MODE_SLOT, op_text(op, 0), op->v[5]);
    if (tree < 0)
        return -1;
    if (path_statx(tree, &st) < 0)
        st.stx_mode = 0;
    bool dir = (st.stx_mode & S_IFMT) == S_IFDIR;
    if (bind_attributes(tree, op) == 0)
        target = path_target(op_text(op, 1), dir ? TARGET_DIR : TARGET_FILE, op->v[5] & MODE_REALDIR);
    if (target >= 0 && mount_attach(tree, target, op->v[5]) == 0)
        result = mount_propagation(tree, op->v[4]);
    fd_close(&tree);
    fd_close(&target);
    return result;
}

/* What is opened on the host, with the rights of the host, before a user namespace is entered that may not have them: the
 * source of a bind mount. The copy is no longer of the container's mount namespace when that is made, so the propagation
 * that all of it has there is given to the copy here. s: source; v: slot, propagation, mode, slot of the user namespace that
 * maps its ids */
EXECUTOR(OPEN_TREE) {
    int tree = mount_clone(AT_FDCWD, op_text(op, 0), op->v[2] & MODE_RECURSIVE);
    if (tree < 0)
        return -1;
    if ((op->v[3] && mount_map_ids(tree, init.slot[op->v[3] % PLAN_NSLOTS], op->v[2] & MODE_MAPBELOW) < 0) ||
        mount_propagation(tree, op->v[1]) < 0) {
        fd_close(&tree);
        return -1;
    }
    return fd_hold(op->v[0], tree);
}

/* A file system whose ids are mapped is the host's, because only then the one who makes it may map them.
 * s: type, options; v: slot, attributes, slot of the user namespace, uid and gid of its root */
EXECUTOR(NEW_TREE) {
    const char *options = op_text(op, 1);
    const struct mapping map = {init.slot[op->v[2] % PLAN_NSLOTS], (uint32_t)op->v[3], (uint32_t)op->v[4]};
    if (map.userns < 0)
        return fail(AT_MAPIDS, EINVAL, NULL);
    int tree = mount_new(op_text(op, 0), options, options + op_length(op, 1), op->v[1], &map);
    return tree < 0 ? -1 : fd_hold(op->v[0], tree);
}

/* A mount that is there already. Without options it alone changes, with them its file system does too, wherever that is
 * mounted. s: destination, options; v: attributes set, cleared, set below, cleared below, propagation */
EXECUTOR(REMOUNT) {
    const char *options = op_text(op, 1), *end = options + op_length(op, 1);
    int result = 0, fd = reopen(op_text(op, 0));
    if (fd < 0)
        return -1;
    if (options) {
        int context = (int)sys(__NR_fspick, fd, "", FSPICK_CLOEXEC | FSPICK_EMPTY_PATH);
        if (context < 0)
            result = fail(AT_REMOUNT, context, NULL);
        for (; result == 0 && options < end; options += text_length(options) + 1)
            result = mount_option(context, options);
        long r = result == 0 ? sys(__NR_fsconfig, context, FSCONFIG_CMD_RECONFIGURE, 0, 0, 0) : 0;
        if (r < 0)
            result = fail_context(AT_REMOUNT, r, context, NULL);
        fd_close(&context);
    }
    if (result == 0)
        result = bind_attributes(fd, op) < 0 ? -1 : mount_propagation(fd, op->v[4]);
    fd_close(&fd);
    return result;
}

/* s: path ("/" is the root); its topmost mount becomes read-only, its other flags stay. */
EXECUTOR(READONLY_MOUNT) {
    if (text_equal(op_text(op, 0), "/"))
        return mount_attributes(init.slot[SLOT_ROOT], MOUNT_ATTR_RDONLY, 0, 0, false);
    int fd = path_in_root(op_text(op, 0), O_PATH, 0);
    if (fd < 0)
        return fail(AT_RESOLVE, fd, NULL);
    int r = mount_attributes(fd, MOUNT_ATTR_RDONLY, 0, 0, false);
    fd_close(&fd);
    return r;
}

EXECUTOR(READONLY_PATH) {
    int result = -1, tree, target = path_in_root(op_text(op, 0), O_PATH, 0);
    if (target < 0)
        return fail(AT_RESOLVE, target, NULL);
    tree = mount_clone(target, "", true);
    if (tree >= 0 && mount_attributes(tree, MOUNT_ATTR_RDONLY, 0, 0, false) == 0)
        result = mount_attach(tree, target, MODE_INPROC);
    fd_close(&tree);
    fd_close(&target);
    return result;
}

/* One empty file system serves all masked directories; a detached mount cannot be cloned before Linux 6.15, so the
 * first place takes it and the others clone that. */
static int masked_tree(const struct plan_op *op) {
    return init.masked >= 0 ? mount_clone(init.masked, "", false) : empty_tree(op_text(op, 1), op_length(op, 1));
}

/* The container's own /dev/null may be anything an image's author likes: only the device 1:3 will do (CVE-2025-31133). */
static int null_tree(void) {
    struct statx st;
    int fd = path_in_root("/dev/null", O_PATH | O_NOFOLLOW, 0);
    if (fd < 0)
        return fail(AT_NOTDEVNULL, fd == -ENOENT ? ENODEV : fd, NULL);
    long r = path_statx(fd, &st);
    if (r < 0 || (st.stx_mode & S_IFMT) != S_IFCHR || st.stx_rdev_major != 1 || st.stx_rdev_minor != 3) {
        fd_close(&fd);
        return fail(AT_NOTDEVNULL, EINVAL, NULL);
    }
    int tree = mount_clone(fd, "", false);
    fd_close(&fd);
    return tree;
}

/* s: path, options of the empty file system if not the usual ones: with a security label */
EXECUTOR(MASK_PATH) {
    struct statx st;
    int result = -1, target = path_in_root(op_text(op, 0), O_PATH, 0);
    if (target < 0)
        return fail(AT_RESOLVE, target, NULL);
    long r = path_statx(target, &st);
    bool dir = r == 0 && (st.stx_mode & S_IFMT) == S_IFDIR;
    int tree = r < 0 ? fail(AT_STAT, r, NULL) : dir ? masked_tree(op) : null_tree();
    if (tree >= 0)
        result = mount_attach(tree, target, MODE_INPROC);
    fd_close(&target);
    if (dir && result == 0 && init.masked < 0)
        init.masked = tree;
    else
        fd_close(&tree);
    return result;
}
