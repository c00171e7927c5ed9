/* tmpcopyup: a new tmpfs begins with what the image had at its destination. */
#include "init.h"
#include "mount.h"

#include <linux/limits.h>

struct entry { /* of getdents64(2) */
    uint64_t ino;
    int64_t off;
    unsigned short length;
    unsigned char type;
    char name[];
};

#define DEPTH_MAX 64

static long copy_data(int from, int to) {
    long n;
    do
        n = sys(__NR_copy_file_range, from, 0, to, 0, 1 << 30, 0);
    while (n > 0);
    if (n != -EXDEV && n != -EINVAL && n != -EOPNOTSUPP)
        return n;
    do
        n = sys(__NR_sendfile, to, from, 0, 1 << 30);
    while (n > 0);
    return n;
}

static long copy_file(int from, int to, const char *name, const struct statx *st) {
    long in = path_open_retry(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0, RESOLVE_SAFE_CHILD);
    if (in < 0)
        return in;
    long r, out = sys(__NR_openat, to, name, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0600);
    r = out < 0 ? out : copy_data((int)in, (int)out);
    if (r >= 0)
        r = sys(__NR_fchown, out, st->stx_uid, st->stx_gid);
    if (r >= 0)
        r = sys(__NR_fchmod, out, st->stx_mode & 07777);
    if (out >= 0)
        sys(__NR_close, out);
    sys(__NR_close, in);
    return r;
}

static long copy_link(int from, int to, const char *name, const struct statx *st) {
    char text[PATH_MAX];
    long n = sys(__NR_readlinkat, from, name, text, sizeof text - 1);
    if (n < 0)
        return n;
    text[n] = 0;
    n = sys(__NR_symlinkat, text, to, name);
    return n < 0 ? n : sys(__NR_fchownat, to, name, st->stx_uid, st->stx_gid, AT_SYMLINK_NOFOLLOW);
}

static long copy_dir(int from, int to, int depth);

static long copy_subdir(int from, int to, const char *name, const struct statx *st, int depth) {
    long r = sys(__NR_mkdirat, to, name, 0700);
    if (r < 0)
        return r;
    int in = path_open_retry(from, name, O_PATH | O_DIRECTORY | O_NOFOLLOW, 0, RESOLVE_SAFE_CHILD);
    int out = path_open_retry(to, name, O_PATH | O_DIRECTORY | O_NOFOLLOW, 0, RESOLVE_SAFE_CHILD);
    r = in < 0 ? in : out < 0 ? out : copy_dir(in, out, depth + 1);
    if (r >= 0)
        r = sys(__NR_fchownat, out, "", st->stx_uid, st->stx_gid, AT_EMPTY_PATH);
    if (r >= 0)
        r = sys(__NR_fchmodat, to, name, st->stx_mode & 07777);
    fd_close(&in);
    fd_close(&out);
    return r;
}

static long copy_entry(int from, int to, const char *name, int depth) {
    struct statx st;
    long r = sys(__NR_statx, from, name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &st);
    if (r < 0)
        return r;
    switch (st.stx_mode & S_IFMT) {
    case S_IFREG:
        return copy_file(from, to, name, &st);
    case S_IFLNK:
        return copy_link(from, to, name, &st);
    case S_IFDIR:
        return copy_subdir(from, to, name, &st, depth);
    case S_IFIFO:
        r = sys(__NR_mknodat, to, name, st.stx_mode, 0);
        return r < 0 ? r : sys(__NR_fchownat, to, name, st.stx_uid, st.stx_gid, AT_SYMLINK_NOFOLLOW);
    default:
        return 0; /* a socket is dead without its server, a device is not the image's to make */
    }
}

static long copy_dir(int from, int to, int depth) {
    char buffer[4096] __attribute__((aligned(8)));
    long n, r = 0;
    if (depth > DEPTH_MAX)
        return -ELOOP;
    long dir = sys(__NR_openat, from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (dir < 0)
        return dir;
    while (r >= 0 && (n = sys(__NR_getdents64, dir, buffer, sizeof buffer)) > 0)
        for (long i = 0; r >= 0 && i < n; i += ((struct entry *)(buffer + i))->length) {
            const char *name = ((struct entry *)(buffer + i))->name;
            if (!text_equal(name, ".") && !text_equal(name, ".."))
                r = copy_entry(from, to, name, depth);
        }
    sys(__NR_close, dir);
    return r < 0 ? r : n;
}

int copy_up(int from, int to) {
    long r = copy_dir(from, to, 0);
    return r < 0 ? fail(AT_COPYUP, r, NULL) : 0;
}
