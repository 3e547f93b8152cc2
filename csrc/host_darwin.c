/* SPDX-License-Identifier: MIT
 * The facts of this boot, and what this kernel tells. */
#include "pp.h"

#include <string.h>
#include <sys/sysctl.h>
#include <unistd.h>

#include "audit_darwin.h"
#include "facts_darwin.h"

/* Not kern.boottime, which moves with the clock, and not kern.bootuuid, which is the volume's. */
static int
read_boot_id(char boot_id[PP_BOOT_ID_SIZE])
{
    char text[PP_BOOT_ID_SIZE] = {0};
    size_t size = sizeof(text);

    if (sysctlbyname("kern.bootsessionuuid", text, &size, NULL, 0) < 0)
        return errno == ENOMEM ? -EPROTO : -errno;
    if (strnlen(text, sizeof(text)) != PP_BOOT_ID_SIZE - 1)
        return -EPROTO;
    /* In lower case, as tokens have it on every system. */
    for (size_t i = 0; i < sizeof(text); i++)
        boot_id[i] = text[i] >= 'A' && text[i] <= 'F' ? (char) (text[i] - 'A' + 'a') : text[i];
    return 0;
}

int
pp_host_read(uint32_t without, struct pp_host *ret_host)
{
    struct pp_host host = {.tick = 1000, .features = PP_HAS_KQUEUE};
    uint32_t version = 0;
    uint64_t unique_id = 0;
    int r;

    r = read_boot_id(host.boot_id);
    if (r < 0)
        return r;
    if (facts_unique(getpid(), &unique_id, &version) == 0 && unique_id) {
        host.features |= PP_HAS_UNIQUE;
        if (version && audit_signal_call())
            host.features |= PP_HAS_AUDIT;
    }
    host.features &= ~without;
    if (!(host.features & PP_HAS_UNIQUE))
        host.features &= ~(uint32_t) PP_HAS_AUDIT;
    *ret_host = host;
    return 0;
}
