/* What stream.c and mosaic.c share: one file's content on its way. */
#ifndef PRIMARY_PUSH_SEND_STREAM_IMPL_H
#define PRIMARY_PUSH_SEND_STREAM_IMPL_H

#include "primary/push/push_impl.h"
#include "tree/content/delta.h"

enum { STREAM_RAW_MAX = 60 * 1024 }; /* content of a DATA frame that is not packed */

enum stream_state { SENDING_CONTENT, AWAITING_SIGNATURE, SENDING_DELTA, SENDING_MOSAIC };

struct mosaic;

struct stream {
    struct atom *atom;
    struct source *source;
    enum stream_state state;
    struct delta_make *delta;
    struct mosaic *mosaic;
    struct outline *base; /* what the far end has, without being asked; NULL: it is */
    bool refused;         /* it has something else */
    bool probed;          /* zip: whether it is worthwhile has been decided */
    bool zip;
    bool eof;
    uint8_t *block; /* delta: what was read and not yet consumed */
    size_t block_len, block_at;
};

/* DATA frames of at most MSG_CHUNK_MAX plain bytes, packed where that is worthwhile. */
void stream_put_data(
    struct push *p, struct stream *t, uint8_t kind, const uint8_t *bytes, size_t n);
/* The same into w with what m says of atom and kind, packed where it becomes shorter. */
void stream_put_packed(
    struct wire_writer *w, const struct packing *p, struct msg_data *m, struct bytes plain);
enum stream_outcome stream_give_up(struct push *p, struct stream *t); /* ABORT is out */
enum stream_outcome stream_finish(struct push *p, struct stream *t);  /* FINISH, or the same */

/* mosaic.c */
struct mosaic *mosaic_new(struct stream *t);
void mosaic_free(struct mosaic *m); /* NULL is fine */
int mosaic_extents(struct mosaic *m, const struct msg_extents *e, struct err *err);
int mosaic_signature(struct mosaic *m, const struct msg_signature *s, struct err *err);
int mosaic_step(struct push *p, struct stream *t, struct err *err); /* as stream_step */

#endif
