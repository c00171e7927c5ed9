/* A new network namespace has a loopback device, down. */
#include "init.h"

#include <linux/if.h>
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
