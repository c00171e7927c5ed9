/* An overlay with mapped ids. overlayfs cannot be ID-mapped itself, but shows its layers as they are: so each layer is mapped.
 * The layers are detached mounts, given by their fds, which needs Linux 6.15. */
#include "init.h"
#include "mount.h"

#include <linux/capability.h>
#include <linux/limits.h>
#include <linux/mount.h>
#include <linux/openat2.h>

#define TOO_OLD "layers that are detached need Linux 6.15"

/* Kept until the file system is made: without its fd a detached mount goes. */
static int keep(struct layers *layers, int fd) {
    if (layers->count == OVERLAY_LAYERS) {
        fd_close(&fd);
        return fail(AT_FSCONFIG, E2BIG, "layers");
    }
    layers->fd[layers->count++] = fd;
    return fd;
}

static int mapped(const char *path, int userns, struct layers *layers) {
    int fd = mount_clone(AT_FDCWD, path, false);
    if (fd >= 0 && mount_map_ids(fd, userns, false) < 0)
        fd_close(&fd);
    return fd < 0 ? -1 : keep(layers, fd);
}

static int give(int context, const char *key, int fd) {
    if (fd < 0)
        return -1;
    long r = sys(__NR_fsconfig, context, FSCONFIG_SET_FD, key, 0, fd);
    return r < 0 ? fail(AT_FSCONFIG, r, r == -EINVAL ? TOO_OLD : key) : 0;
}

/* lowerdir=A:B::C: the first is the uppermost; what comes after two colons has data alone; \ quotes. */
static int lower_layers(int context, const char *s, int userns, struct layers *layers) {
    char path[PATH_MAX];
    const char *key = "lowerdir+";
    while (*s) {
        size_t n = 0;
        for (; *s && *s != ':'; s++) {
            if (*s == '\\' && s[1])
                s++;
            if (n + 1 == sizeof path)
                return fail(AT_FSCONFIG, ENAMETOOLONG, "lowerdir");
            path[n++] = *s;
        }
        path[n] = 0;
        if (give(context, key, mapped(path, userns, layers)) < 0)
            return -1;
        if (s[0] == ':' && s[1] == ':') {
            key = "datadir+";
            s++;
        }
        s += *s == ':';
    }
    return 0;
}

/* lowerdir+=A or datadir+=A, as a name is without quoting */
static int one_layer(int context, const char *option, int userns, struct layers *layers) {
    bool lower = option[0] == 'l';
    return give(context, lower ? "lowerdir+" : "datadir+", mapped(option + (lower ? 10 : 9), userns, layers));
}

/* upperdir and workdir must be of one mount: their common parent is what is mapped. */
static int upper_layer(int context, const char *upper, const char *work, int userns, struct layers *layers) {
    char parent[PATH_MAX];
    size_t common = 0, at = 0;
    for (size_t i = 0; upper[i] && upper[i] == work[i]; i++)
        if (upper[i] == '/')
            common = i + 1;
    if (!common || common >= sizeof parent || !upper[common] || !work[common])
        return fail(AT_FSCONFIG, EINVAL, "upperdir and workdir need a common parent");
    text_add(parent, common + 1, &at, upper);
    int tree = mapped(parent, userns, layers);
    const char *const names[] = {upper + common, work + common}, *const keys[] = {"upperdir", "workdir"};
    for (size_t i = 0; i < COUNT(names); i++) {
        int fd = tree < 0 ? -1 : path_open_retry(tree, names[i], O_PATH | O_DIRECTORY, 0, RESOLVE_BENEATH | RESOLVE_NO_XDEV);
        if (tree < 0)
            return -1;
        if (fd < 0)
            return fail(AT_SOURCE, fd, i ? work : upper);
        if (keep(layers, fd) < 0 || give(context, keys[i], fd) < 0)
            return -1;
    }
    return 0;
}

int overlay_options(int context, const char *options, const char *end, int userns, struct layers *layers) {
    const char *upper = NULL, *work = NULL;
    layers->count = 0;
    for (; options && options < end; options += text_length(options) + 1) {
        int result = 0;
        if (text_starts(options, "lowerdir="))
            result = lower_layers(context, options + 9, userns, layers);
        else if (text_starts(options, "lowerdir+=") || text_starts(options, "datadir+="))
            result = one_layer(context, options, userns, layers);
        else if (text_starts(options, "upperdir="))
            upper = options + 9;
        else if (text_starts(options, "workdir="))
            work = options + 8;
        else
            result = mount_option(context, options);
        if (result < 0)
            return -1;
    }
    if (!upper != !work) /* without both an overlay would be read-only in silence */
        return fail(AT_FSCONFIG, EINVAL, upper ? "upperdir without workdir" : "workdir without upperdir");
    return upper ? upper_layer(context, upper, work, userns, layers) : 0;
}

/* Every capability that is permitted is in force again, where a change of fsuid has taken some (capabilities(7)). */
static long raise_all(void) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct sets[2];
    long r = sys(__NR_capget, &header, sets);
    for (size_t i = 0; i < COUNT(sets); i++)
        sets[i].effective = sets[i].permitted;
    return r < 0 ? r : sys(__NR_capset, &header, sets);
}

/* overlayfs works in its layers as who has made it. The mappings do not know the host's root, so it could write nothing, and
 * would be read-only in silence. */
int overlay_create(int context, uint32_t uid, uint32_t gid) {
    sys(__NR_setfsgid, gid);
    sys(__NR_setfsuid, uid);
    long r = raise_all();
    if (r == 0)
        r = sys(__NR_fsconfig, context, FSCONFIG_CMD_CREATE, 0, 0, 0);
    sys(__NR_setfsuid, 0);
    sys(__NR_setfsgid, 0);
    return (int)r;
}

void overlay_close(struct layers *layers) {
    while (layers->count)
        fd_close(&layers->fd[--layers->count]);
}
