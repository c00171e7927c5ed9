/* A container's network devices: the loopback device, which a new namespace has, but down, and those of the host's. */
#include "init.h"

#include <linux/if.h>
#include <linux/netlink.h>
#include <linux/sockios.h>

EXECUTOR(LOOPBACK) {
    (void)op;
    struct ifreq request = {.ifr_name = "lo"};
    long s = sys(__NR_socket, AF_INET, SOCK_DGRAM | O_CLOEXEC, 0);
    if (s < 0)
        return fail(AT_IOCTL, s, NULL);
    long r = sys(__NR_ioctl, s, SIOCGIFFLAGS, &request);
    request.ifr_flags |= IFF_UP;
    if (r == 0)
        r = sys(__NR_ioctl, s, SIOCSIFFLAGS, &request);
    sys(__NR_close, s);
    return r < 0 ? fail(AT_IOCTL, r, NULL) : 0;
}

/* A socket of this network namespace for the runtime, which alone has the rights over the host's devices (it is root there, while
 * we may be root of a user namespace), and moves them before it answers. s: which, for people */
EXECUTOR(NET_DEVICES) {
    (void)op;
    long s = sys(__NR_socket, AF_NETLINK, SOCK_RAW | O_CLOEXEC, NETLINK_ROUTE);
    if (s < 0)
        return fail(AT_NONE, s, NULL);
    int r = channel_wait(SYNC_NETWORK, (int)s);
    sys(__NR_close, s);
    return r;
}
