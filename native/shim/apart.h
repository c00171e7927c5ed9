/* A helper program of the host's, started in a mount namespace of its own. Returns -errno on failure. */
#ifndef SHIM_APART_H
#define SHIM_APART_H

int pyrunc_spawn_apart(const char *program, char *argv[], char *env[], const int *fds, int count, const char *root,
                       const char *keyring, int *step);

#endif
