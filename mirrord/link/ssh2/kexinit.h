/* The first packets of an SSH server, read along to tell why a negotiation failed. */
#ifndef LINK_KEXINIT_H
#define LINK_KEXINIT_H

#include <stdbool.h>
#include <stddef.h>

#define KEXINIT_MAX 8192 /* of the server's first bytes are enough */

enum kexinit_list {
    KEXINIT_KEX,
    KEXINIT_HOSTKEY,
    KEXINIT_CIPHER_CS,
    KEXINIT_CIPHER_SC,
    KEXINIT_MAC_CS,
    KEXINIT_MAC_SC,
    KEXINIT_LISTS
};

/* From the server's first n bytes (banner lines, then its KEXINIT packet) the comma-separated names
 * it offers in each list, allocated. False when the bytes are not that. */
bool kexinit_parse(const void *bytes, size_t n, char *lists[KEXINIT_LISTS]);

#endif
