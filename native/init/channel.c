/* The conversation with the runtime: one SEQPACKET socket, fixed messages up, one byte down. After WAIT only the reply
 * fifo of `start` is left to write to. */
#include "init.h"

#include <linux/uio.h>

#define MSG_NOSIGNAL 0x4000
#define SCM_RIGHTS 1
#define SOL_SOCKET_GENERIC 1

struct message_header {
    void *name;
    int name_length;
    struct iovec *vector;
    size_t vectors;
    void *control;
    size_t control_length;
    unsigned flags;
};

struct control_fd {
    size_t length;
    int level;
    int type;
    int fd;
    int padding;
};

/* Without an fd by write(2), which no seccomp profile forbids that lets a program do anything. */
int channel_send(const struct plan_message *message, size_t size, int fd) {
    struct iovec vector = {(void *)message, size};
    struct control_fd control = {offsetof(struct control_fd, padding), SOL_SOCKET_GENERIC, SCM_RIGHTS, fd, 0};
    struct message_header header = {
        .vector = &vector, .vectors = 1, .control = &control, .control_length = sizeof control,
    };
    long r = fd < 0 ? sys(__NR_write, init.channel, message, size)
                    : sys(__NR_sendmsg, init.channel, &header, MSG_NOSIGNAL);
    return r < 0 ? fail(AT_SOCKET, r, NULL) : 0;
}

static int say(uint32_t kind, uint32_t value, int fd) {
    struct plan_message message;
    message.kind = kind;
    message.op = init.step->op;
    message.value = value;
    message.error = 0;
    return channel_send(&message, PLAN_MESSAGE_HEAD, fd);
}

int channel_say(uint32_t kind, uint32_t value) { return say(kind, value, -1); }

/* Nothing to read means that the runtime is gone; so must this process be. */
int channel_wait(uint32_t point, int fd) {
    char go;
    if (say(MSG_SYNC, point, fd) < 0)
        return -1;
    long r;
    do
        r = sys(__NR_read, init.channel, &go, 1);
    while (r == -EINTR);
    return r == 1 ? 0 : fail(AT_SOCKET, r < 0 ? r : EPIPE, NULL);
}

void channel_report(uint32_t op_index) {
    struct plan_message message = {.kind = MSG_ERROR, .op = op_index};
    size_t at = 0;
    message.value = (uint32_t)init.failure.place;
    message.error = init.failure.error;
    text_add(message.detail, sizeof message.detail, &at, init.failure.detail);
    channel_send(&message, PLAN_MESSAGE_HEAD + at + 1, -1);
}
