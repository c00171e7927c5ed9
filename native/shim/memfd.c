#define _GNU_SOURCE
#include "memfd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8u
#endif
#ifndef MFD_EXEC
#define MFD_EXEC 16u
#endif

/* The kind's flag is known since Linux 6.3, where a sysctl may demand it. */
static int create(const char *name, unsigned kind) {
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | kind);
    return fd < 0 && errno == EINVAL ? memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING) : fd;
}

static int finish(int fd, int failed) {
    int error = failed ? errno : 0;
    if (!error && fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        error = errno;
    if (!error)
        return fd;
    close(fd);
    return -error;
}

int pyrunc_sealed_data(const char *name, const void *data, size_t size) {
    int fd = create(name, MFD_NOEXEC_SEAL);
    if (fd < 0)
        return -errno;
    ssize_t n = 0;
    for (size_t done = 0; done < size && n >= 0; done += (size_t)n)
        n = write(fd, (const char *)data + done, size - done);
    return finish(fd, n < 0);
}

int pyrunc_sealed_program(const char *name, const char *path) {
    int from = open(path, O_RDONLY | O_CLOEXEC);
    if (from < 0)
        return -errno;
    int fd = create(name, MFD_EXEC);
    if (fd < 0) {
        int error = errno;
        close(from);
        return -error;
    }
    ssize_t n;
    do
        n = sendfile(fd, from, NULL, 1 << 20);
    while (n > 0);
    int saved = errno;
    close(from);
    errno = saved;
    return finish(fd, n < 0);
}
