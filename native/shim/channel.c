#define _GNU_SOURCE
#include "channel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

union fd_message {
    struct cmsghdr header;
    char room[CMSG_SPACE(sizeof(int))];
};

int pyrunc_channel(int fds[2]) { return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0 ? -errno : 0; }

/* One message; *passed is the fd that came with it or -1. 0 at the end of the conversation. */
long pyrunc_receive(int channel, void *buffer, size_t size, int *passed) {
    union fd_message control;
    struct iovec vector = {buffer, size};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t n = recvmsg(channel, &message, MSG_CMSG_CLOEXEC);
    *passed = -1;
    if (n < 0)
        return -errno;
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
        memcpy(passed, CMSG_DATA(c), sizeof(int));
    return n;
}

/* A path too long for sun_path is reached through its directory's fd. A backlog that is full lets connect(2) wait for ever, and
 * in vain so a non-blocking one: unix(7) has EAGAIN for that and no poll(2). So it is a time-out, of what is sent as well. */
static int connect_to(const char *path, int milliseconds) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval limit = {milliseconds / 1000, milliseconds % 1000 * 1000};
    int dir = -1, error = 0, s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s < 0)
        return -errno;
    if (setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) < 0) {
        error = errno;
        close(s);
        return -error;
    }
    if (strlen(path) < sizeof address.sun_path)
        strcpy(address.sun_path, path);
    else {
        const char *name = strrchr(path, '/');
        char *parent = name ? strndup(path, (size_t)(name - path) + 1) : strdup(".");
        dir = parent ? open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
        error = dir < 0 ? errno : 0;
        free(parent);
        name = name ? name + 1 : path;
        int n = snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s", dir, name);
        if (!error && n >= (int)sizeof address.sun_path)
            error = ENAMETOOLONG;
    }
    if (!error && connect(s, (struct sockaddr *)&address, sizeof address) < 0)
        error = errno;
    if (dir >= 0)
        close(dir);
    if (!error)
        return s;
    close(s);
    return -error;
}

/* All of it: a stop and SIGCONT, or room for a part alone, end a call that has a time-out (signal(7)). */
static int send_all(int s, struct msghdr *message) {
    struct iovec *left = message->msg_iov;
    while (left->iov_len) {
        ssize_t n = sendmsg(s, message, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0) {
            left->iov_base = (char *)left->iov_base + n;
            left->iov_len -= (size_t)n;
            message->msg_control = NULL; /* the fd has gone with the first bytes */
            message->msg_controllen = 0;
        }
    }
    return 0;
}

/* Connects to somebody's stream socket and sends the payload with the fd: console-socket, pidfd-socket, a seccomp agent's.
 * -ETIMEDOUT if it is not accepted, or not read, for so long; -EINTR before anything was sent. */
int pyrunc_hand_over(const char *path, const char *payload, size_t size, int fd, int milliseconds) {
    union fd_message control = {.header = {.cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    struct iovec vector = {(void *)payload, size};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    int error, s = connect_to(path, milliseconds);
    if (s < 0)
        error = s;
    else {
        memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
        error = send_all(s, &message);
        close(s);
    }
    return error == -EAGAIN ? -ETIMEDOUT : error;
}
