/* Processes: starting pyrunc-init from a memfd, limits of another process. All return -errno on failure. */
#ifndef SHIM_PROCESS_H
#define SHIM_PROCESS_H

int pyrunc_spawn(int exe, const int *fds, int count, int base);
int pyrunc_spawn_error(void);
int pyrunc_prlimit(int pid, int resource, unsigned long long soft, unsigned long long hard);
int pyrunc_set_child_subreaper(void);
int pyrunc_signalfd(void);
int pyrunc_take_fd(int pid, int number);

#endif
