#define _GNU_SOURCE
#include "sdbus.h"

#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

static const struct symbol {
    const char *name;
    size_t slot;
} symbols[] = {
    {"sd_bus_new", offsetof(struct shim_sdbus, new_)},
    {"sd_bus_set_address", offsetof(struct shim_sdbus, set_address)},
    {"sd_bus_set_bus_client", offsetof(struct shim_sdbus, set_bus_client)},
    {"sd_bus_start", offsetof(struct shim_sdbus, start)},
    {"sd_bus_is_ready", offsetof(struct shim_sdbus, is_ready)},
    {"sd_bus_process", offsetof(struct shim_sdbus, process)},
    {"sd_bus_wait", offsetof(struct shim_sdbus, wait)},
    {"sd_bus_close", offsetof(struct shim_sdbus, close)},
    {"sd_bus_unref", offsetof(struct shim_sdbus, unref)},
    {"sd_bus_call", offsetof(struct shim_sdbus, call)},
    {"sd_bus_error_free", offsetof(struct shim_sdbus, error_free)},
    {"sd_bus_message_new_method_call", offsetof(struct shim_sdbus, message_new_method_call)},
    {"sd_bus_message_append_basic", offsetof(struct shim_sdbus, message_append_basic)},
    {"sd_bus_message_open_container", offsetof(struct shim_sdbus, message_open_container)},
    {"sd_bus_message_close_container", offsetof(struct shim_sdbus, message_close_container)},
    {"sd_bus_message_is_signal", offsetof(struct shim_sdbus, message_is_signal)},
    {"sd_bus_message_peek_type", offsetof(struct shim_sdbus, message_peek_type)},
    {"sd_bus_message_read_basic", offsetof(struct shim_sdbus, message_read_basic)},
    {"sd_bus_message_enter_container", offsetof(struct shim_sdbus, message_enter_container)},
    {"sd_bus_message_exit_container", offsetof(struct shim_sdbus, message_exit_container)},
    {"sd_bus_message_unref", offsetof(struct shim_sdbus, message_unref)},
};

_Static_assert(sizeof symbols / sizeof symbols[0] * sizeof(void *) == sizeof(struct shim_sdbus), "a slot without a symbol");

int shim_sdbus_load(struct shim_sdbus *api)
{
    void *handle = dlopen("libsystemd.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!handle)
        return -ENOENT;
    for (size_t i = 0; i < sizeof symbols / sizeof symbols[0]; i++) {
        void *address = dlsym(handle, symbols[i].name);
        if (!address)
            return -ENOSYS;
        memcpy((char *)api + symbols[i].slot, &address, sizeof address);
    }
    return 0;
}
