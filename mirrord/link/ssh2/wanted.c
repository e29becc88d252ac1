/* The algorithms that are wanted; see wanted.h. What of it the library has is ssh2.c's to know. */
#include "link/ssh2/wanted.h"

#include <stddef.h>

/* The short keys first, as OpenSSH has them: what encrypts is what a copy of pictures waits for. */
static const char ciphers[] = "aes128-gcm@openssh.com,aes256-gcm@openssh.com,aes128-ctr,"
                              "aes256-ctr,aes192-ctr";
static const char macs[] = "hmac-sha2-256-etm@openssh.com,hmac-sha2-256,"
                           "hmac-sha2-512-etm@openssh.com,hmac-sha2-512,hmac-sha1";
static const char hostkey_types[] = "ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,"
                                    "ecdsa-sha2-nistp521,rsa-sha2-512,rsa-sha2-256,ssh-rsa";

static const struct {
    const char *name;
    const char *ours; /* NULL: all the library has */
} lists[KEXINIT_LISTS] = {
    [KEXINIT_KEX] = {"key exchange", NULL},
    [KEXINIT_HOSTKEY] = {"host key type", hostkey_types},
    [KEXINIT_CIPHER_CS] = {"cipher", ciphers},
    [KEXINIT_CIPHER_SC] = {"cipher", ciphers},
    [KEXINIT_MAC_CS] = {"MAC", macs},
    [KEXINIT_MAC_SC] = {"MAC", macs},
};

const char *wanted_list(enum kexinit_list which)
{
    return lists[which].ours;
}

const char *wanted_name(enum kexinit_list which)
{
    return lists[which].name;
}
