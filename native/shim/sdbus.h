/*
 * libsystemd's sd-bus(3) as far as a call to systemd and its JobRemoved signal need it. The library is loaded when the first
 * container asks for systemd; nothing else of pyrunc links to it.
 */
#ifndef PYRUNC_SHIM_SDBUS_H
#define PYRUNC_SHIM_SDBUS_H

#include <stdint.h>

/* sd_bus_error(3); `need_free` is the library's own. */
struct shim_sdbus_error {
    const char *name;
    const char *message;
    int need_free;
};

/* The entry points, by their names without sd_bus_. A bus and a message are pointers that only the library looks into. */
struct shim_sdbus {
    int (*new_)(void **bus);
    int (*set_address)(void *bus, const char *address);
    int (*set_bus_client)(void *bus, int yes);
    int (*start)(void *bus);
    int (*is_ready)(void *bus);
    int (*process)(void *bus, void **message);
    int (*wait)(void *bus, uint64_t microseconds);
    void (*close)(void *bus);
    void *(*unref)(void *bus);
    int (*call)(void *bus, void *message, uint64_t microseconds, struct shim_sdbus_error *error, void **reply);
    void (*error_free)(struct shim_sdbus_error *error);
    int (*message_new_method_call)(void *bus, void **message, const char *destination, const char *path, const char *interface,
                                   const char *member);
    int (*message_append_basic)(void *message, char type, const void *value);
    int (*message_open_container)(void *message, char type, const char *contents);
    int (*message_close_container)(void *message);
    int (*message_is_signal)(void *message, const char *interface, const char *member);
    int (*message_peek_type)(void *message, char *type, const char **contents);
    int (*message_read_basic)(void *message, char type, void *value);
    int (*message_enter_container)(void *message, char type, const char *contents);
    int (*message_exit_container)(void *message);
    void *(*message_unref)(void *message);
};

/* 0, -ENOENT without the library, -ENOSYS for one that is too old. */
int shim_sdbus_load(struct shim_sdbus *api);

#endif
