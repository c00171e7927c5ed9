/* Unix sockets: the conversation with pyrunc-init, and an fd handed to a caller's socket. -errno on failure. */
#ifndef SHIM_CHANNEL_H
#define SHIM_CHANNEL_H

#include <stddef.h>

int pyrunc_channel(int fds[2]);
long pyrunc_receive(int channel, void *buffer, size_t size, int *passed);
int pyrunc_hand_over(const char *path, const char *payload, size_t size, int fd, int milliseconds);

#endif
