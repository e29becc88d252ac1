/* See site_names.h. */
#include "primary/daemon/site_names.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/un.h>

#include "base/mem.h"

/* FNV-1a of 64 bits, since every PHP has it. */
static uint64_t hash(const char *text)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (const char *c = text; *c; c++)
        h = (h ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
    return h;
}

static char *hashed(const char *kind, const char *text)
{
    return mem_format("%s:%016llx", kind, (unsigned long long)hash(text));
}

/* No site's name has a colon: none can be taken for another's hash. */
char *site_socket_name(const char *dir, const char *site)
{
    size_t len = strlen(dir) + 1 + strlen(site);
    bool fits = len < sizeof((struct sockaddr_un *)0)->sun_path && strlen(site) <= 64;
    return fits && site[0] != '.' && !strchr(site, '/') ? mem_copy_string(site)
                                                        : hashed("site", site);
}

char *site_socket_alias(const char *root)
{
    return hashed("root", root);
}
