/*
 * What the pushers of several secondaries share, so that it is made once for all of them: the
 * content of small files as it was read, and what was packed. Whoever needs something first makes
 * it and puts it here; the others take it. A pusher that finds nothing makes it itself, so nobody
 * ever waits for another, and what is lost here costs time only.
 *
 * Content is kept under the validators that it was read under, and only where those prove it
 * (never RECORD_RACY): taking it says as much as reading the file at that moment. Packed bytes are
 * kept under the very bytes that were packed.
 *
 * Thread-safe. Bounded: what all others took is dropped, as is the oldest of what is too much, and
 * everything when nobody shares any more.
 */
#ifndef PRIMARY_PUSH_PACK_SHELF_H
#define PRIMARY_PUSH_PACK_SHELF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "primary/site.h"
#include "tree/manifest/manifest.h"

struct shelf;

struct shelf *shelf_new(size_t most); /* bytes in all */
void shelf_free(struct shelf *s);     /* nobody is joined any more; NULL is fine */

/* A session has much to send, or is through with it. While fewer than two have, nothing is kept. */
void shelf_join(struct shelf *s);
void shelf_leave(struct shelf *s);
bool shelf_is_shared(const struct shelf *s); /* two or more; NULL: no */

/* The content of this site's file under these validators: its length with the bytes in
 * out[v->size] and its digest, or -1. NULL has nothing. */
ssize_t shelf_content(struct shelf *s, const struct site *site, struct bytes path,
    const struct validators *v, void *out, struct digest *digest);
void shelf_put_content(struct shelf *s, const struct site *site, struct bytes path,
    const struct validators *v, struct bytes content, const struct digest *digest);

/* What these bytes were packed to, in out[room]: its length, or 0. */
size_t shelf_packed(struct shelf *s, struct bytes plain, void *out, size_t room);
void shelf_put_packed(struct shelf *s, struct bytes plain, struct bytes packed);

size_t shelf_memory(struct shelf *s); /* bytes in use */

#endif
