/*
 * What waits to be sent, in order, and a thread that packs it meanwhile: frames as they are, runs
 * of ENTRYs that become one PACK, content that becomes DATA. All functions are the pusher's; they
 * never wait for the thread, which knows nothing but the bytes. It is started by the first thing to
 * pack.
 */
#ifndef PRIMARY_PUSH_PACK_PACKER_H
#define PRIMARY_PUSH_PACK_PACKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/msg.h"

struct packer;
struct shelf;
struct zip;

/* What is packed is looked for on the shelf first, and put there (NULL: there is none). */
struct packer *packer_new(int level, struct shelf *shelf);
void packer_free(struct packer *k); /* NULL is fine */

void packer_frames(struct packer *k, const void *frames, size_t n);
/* n ≤ MSG_CHUNK_MAX; a BUNDLE, or a PACK for who does not know that */
void packer_run(struct packer *k, const void *entries, size_t n, bool bundle);
/* Content of at most MSG_CHUNK_MAX bytes; of it only atom and kind are read of m. */
void packer_data(struct packer *k, const struct msg_data *m, const void *plain, size_t n);

bool packer_is_empty(const struct packer *k); /* all that was given has been drained */
size_t packer_waiting(struct packer *k);      /* bytes; of what is not packed yet, its plain ones */

/* The first bytes that can be sent: none where they are still being packed. Valid until the drain.
 */
struct bytes packer_ready(struct packer *k);
void packer_drain(struct packer *k, size_t n);

/* While the first bytes are still being packed, as packer_ready saw it last: to be polled for
 * reading, and readable when that would give something. −1 else: the thread need not be awaited. */
int packer_fd(const struct packer *k);

/* One PACK or BUNDLE of this run of ENTRYs, all of one batch, in w, or nothing where that would not
 * be shorter. The run is changed meanwhile. */
struct packing {
    struct zip *zip;
    struct shelf *shelf; /* NULL: none */
    void *room;          /* scratch of MSG_PACK_MAX bytes */
};
void packer_pack(
    const struct packing *p, uint8_t *entries, size_t n, bool bundle, struct wire_writer *w);
/* These bytes packed to at most `most`, in p->room: how many, or 0 where they hardly shrink. */
size_t packer_shrink(const struct packing *p, struct bytes plain, size_t most);

#endif
