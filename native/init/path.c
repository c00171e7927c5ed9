/* Names inside the root.
 *
 * The root file system is hostile: any component may be a symbolic link, and another container that shares a volume may
 * swap one at any moment (CVE-2021-30465, CVE-2024-45310). So nothing here is checked and then used: a name is
 * resolved by openat2(2) with the root as its "/", and from then on only its fd counts. Where components must be made,
 * links are expanded here, one at a time, and each step is opened with RESOLVE_NO_SYMLINKS below the root: a component
 * that turns into a link meanwhile is an error, not an escape.
 */
#include "init.h"

#include <asm/statfs.h>
#include <linux/limits.h>
#include <linux/openat2.h>

#define IS(mode, type) (((mode) & S_IFMT) == (type))
#define LINKS_MAX 40

int path_open_retry(int dir, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve) {
    struct open_how how = {.flags = flags | O_CLOEXEC, .mode = mode, .resolve = resolve};
    long fd;
    int tries = 128; /* EAGAIN: a rename somewhere raced with a ".." of ours, openat2(2) */
    do
        fd = sys(__NR_openat2, dir, path, &how, sizeof how);
    while ((fd == -EAGAIN || fd == -EINTR) && --tries);
    return (int)fd;
}

int path_in_root(const char *path, uint64_t flags, uint64_t resolve) {
    return path_open_retry(init.slot[SLOT_ROOT], path, flags, 0, resolve | RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

int path_statx(int fd, struct statx *st) {
    return (int)sys(__NR_statx, fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, st);
}

bool path_is_fs(int fd, long magic) {
    struct statfs fs;
    return sys(__NR_fstatfs, fd, &fs) == 0 && fs.f_type == magic;
}

struct walk {
    char done[PATH_MAX]; /* components known to be real directories, "" or "/a/b" */
    char rest[PATH_MAX]; /* what is still to walk */
    char part[256];
    int links;
    bool real; /* a link is an error */
};

/* Takes the next component off rest into part. 1: there is one; 0: the end; negative: too long. */
static int next_part(struct walk *w) {
    char *s = w->rest;
    size_t n = 0, skip;
    while (*s == '/')
        s++;
    while (s[n] && s[n] != '/')
        n++;
    if (n >= sizeof w->part)
        return -ENAMETOOLONG;
    memcpy(w->part, s, n);
    w->part[n] = 0;
    skip = (size_t)(s - w->rest) + n;
    memmove(w->rest, w->rest + skip, text_length(w->rest + skip) + 1);
    return n > 0;
}

static bool at_end(const struct walk *w) {
    const char *s = w->rest;
    while (*s == '/')
        s++;
    return !*s;
}

static void drop_last(struct walk *w) {
    size_t n = text_length(w->done);
    while (n && w->done[n - 1] != '/')
        n--;
    w->done[n ? n - 1 : 0] = 0;
}

static int open_done(const struct walk *w, uint64_t flags) {
    return path_in_root(w->done[0] ? w->done : "/", flags | O_PATH, RESOLVE_NO_SYMLINKS);
}

/* Puts the link's text before the rest of the way. */
static int follow(struct walk *w, int link) {
    char text[PATH_MAX];
    long n = sys(__NR_readlinkat, link, "", text, sizeof text - 1);
    if (n < 0)
        return (int)n;
    if (++w->links > LINKS_MAX)
        return -ELOOP;
    size_t rest = text_length(w->rest);
    if ((size_t)n + rest + 2 > sizeof w->rest)
        return -ENAMETOOLONG;
    memmove(w->rest + n + 1, w->rest, rest + 1);
    memcpy(w->rest, text, (size_t)n);
    w->rest[n] = '/';
    if (text[0] == '/')
        w->done[0] = 0;
    return 0;
}

static int make_part(const struct walk *w, enum target kind) {
    int dir = open_done(w, O_DIRECTORY);
    if (dir < 0)
        return fail(AT_RESOLVE, dir, w->part);
    bool file = kind == TARGET_FILE && at_end(w);
    long r = file ? sys(__NR_openat, dir, w->part, O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_WRONLY, 0644)
                  : sys(__NR_mkdirat, dir, w->part, 0755);
    sys(__NR_close, dir);
    if (file && r >= 0)
        sys(__NR_close, r);
    return r < 0 && r != -EEXIST ? fail(file ? AT_CREATE : AT_MKDIR, r, w->part) : 0;
}

/* One component further; 1 when *fd is the end of the way, 0 to go on, -1 after fail(). */
static int step(struct walk *w, enum target kind, int *fd) {
    size_t n = text_length(w->done), at = n;
    struct statx st;
    text_add(w->done, sizeof w->done, &at, "/");
    text_add(w->done, sizeof w->done, &at, w->part);
    if (at - n != text_length(w->part) + 1)
        return fail(AT_RESOLVE, ENAMETOOLONG, NULL);
    for (int tries = 0;; tries++) {
        *fd = open_done(w, O_NOFOLLOW);
        if (*fd != -ENOENT || tries)
            break;
        w->done[n] = 0;
        if (make_part(w, kind) < 0)
            return -1;
        w->done[n] = '/';
    }
    if (*fd < 0)
        return fail(AT_RESOLVE, *fd, w->done);
    long r = path_statx(*fd, &st);
    if (r == 0 && IS(st.stx_mode, S_IFLNK)) {
        w->done[n] = 0;
        r = w->real ? -ELOOP : follow(w, *fd);
    } else if (r == 0 && at_end(w))
        return 1;
    else if (r == 0 && !IS(st.stx_mode, S_IFDIR))
        r = -ENOTDIR;
    fd_close(fd);
    return r < 0 ? fail(AT_RESOLVE, r, w->done) : 0;
}

static int walk_and_make(const char *path, enum target kind, bool real) {
    struct walk w;
    size_t at = 0;
    int r, fd = -1;
    w.done[0] = 0;
    w.links = 0;
    w.real = real;
    text_add(w.rest, sizeof w.rest, &at, path);
    if (text_length(path) >= sizeof w.rest)
        return fail(AT_RESOLVE, ENAMETOOLONG, NULL);
    while ((r = next_part(&w)) > 0) {
        if (text_equal(w.part, "."))
            continue;
        if (text_equal(w.part, "..")) {
            drop_last(&w);
            continue;
        }
        r = step(&w, kind, &fd);
        if (r)
            return r < 0 ? -1 : fd;
    }
    if (r < 0)
        return fail(AT_RESOLVE, r, path);
    fd = open_done(&w, O_DIRECTORY);
    return fd < 0 ? fail(AT_RESOLVE, fd, path) : fd;
}

int path_target(const char *path, enum target kind, bool real) {
    struct statx st;
    int fd = path_in_root(path, O_PATH, real ? RESOLVE_NO_SYMLINKS : 0);
    if (fd == -ENOENT)
        fd = walk_and_make(path, kind, real);
    else if (fd < 0)
        return fail(AT_RESOLVE, fd, fd == -ELOOP ? "a symbolic link is on the way" : NULL);
    if (fd < 0)
        return -1;
    const char *detail = NULL;
    long r = path_statx(fd, &st);
    if (r == 0 && IS(st.stx_mode, S_IFDIR) != (kind == TARGET_DIR)) {
        r = -ENOTDIR; /* mount(2)'s word for both, which Docker explains to its user */
        detail = kind == TARGET_DIR ? "(it is no directory)" : "(it is a directory, the source is not)";
    }
    if (r < 0) {
        fd_close(&fd);
        return fail(AT_RESOLVE, r, detail);
    }
    return fd;
}

int path_parent(const char *path, const char **name) {
    char parent[PATH_MAX];
    size_t n = text_length(path), at = 0;
    while (n && path[n - 1] != '/')
        n--;
    *name = path + n;
    if (n >= sizeof parent || !**name)
        return fail(AT_RESOLVE, **name ? ENAMETOOLONG : EINVAL, NULL);
    text_add(parent, n + 1, &at, path);
    return path_target(n > 1 ? parent : "/", TARGET_DIR, false);
}
