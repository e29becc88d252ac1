/* AES-128-CTR for a caller that asks for one block at a time, as libssh2 does: 20 ns a block, of
 * which the cipher itself is two. Whoever asks OpenSSL for that cipher gets one that has OpenSSL
 * make a run of key stream in one call, and adds a block of it to each block that comes. The result
 * is the same, byte for byte. */
#ifndef LINK_AESCTR_H
#define LINK_AESCTR_H

#include <stdbool.h>

/* For the whole process, before the first session; once, from one thread. False: OpenSSL stays as
 * it is (it is told to use only validated modules, or will not), and all works as before. */
bool aesctr_install(void);

#endif
