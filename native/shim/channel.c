#define _GNU_SOURCE
#include "channel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
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

/* A path too long for sun_path is reached through its directory's fd. */
static int connect_to(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int dir = -1, error = 0, s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s < 0)
        return -errno;
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

/* Connects to the caller's stream socket and sends the payload with the fd: console-socket and pidfd-socket. */
int pyrunc_hand_over(const char *path, const char *payload, size_t size, int fd) {
    union fd_message control = {.header = {.cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    struct iovec vector = {(void *)payload, size};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    int s = connect_to(path);
    if (s < 0)
        return s;
    memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
    int error = sendmsg(s, &message, MSG_NOSIGNAL) < 0 ? errno : 0;
    close(s);
    return -error;
}
