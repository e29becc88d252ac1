/* What transfer.c, copy.c, patch.c and rebuild.c share. */
#ifndef SECONDARY_STAGE_TRANSFER_IMPL_H
#define SECONDARY_STAGE_TRANSFER_IMPL_H

#include "secondary/stage/transfer.h"
#include "tree/content/delta.h"
#include "tree/content/digest.h"
#include "tree/content/extents.h"

struct rebuild;

struct transfer {
    struct job job;
    struct atom *atom;
    int fd;     /* the staged file; -1: none (verifying), or sealed */
    int source; /* the live file: a delta's base, or what is copied or verified; -1: none */
    struct digest_stream *sum;
    uint64_t written;
    uint64_t literal;       /* bytes of content or delta that came, unpacked */
    int data_kind;          /* of the frames so far; -1: none came */
    bool hole;              /* what was written last is one */
    bool patched;           /* the delta is complete */
    bool waited_for;        /* the batch's commit waits for this job */
    bool cloned;            /* a copy that shares extents: only read, to be verified */
    struct validators seen; /* verifying: of the live file when it was opened */
    struct delta_sign *sign;
    struct delta_patch *patch;
    struct rebuild *rebuild;  /* a delta by extents; NULL: none */
    bool patching;            /* a job goes on with the delta that came; what follows waits */
    struct msg_finish finish; /* came meanwhile, where waited_for */
};

static inline struct replica *transfer_replica(const struct atom *a)
{
    return a->batch->replica;
}

int transfer_create(struct atom *a);        /* the staged file, or -1 and the atom failed */
void transfer_seal(struct atom *a, int fd); /* metadata, then close: takes fd */
struct transfer *transfer_new(struct atom *a);
/* After the last byte, which may be of a hole. */
int transfer_set_length(struct transfer *t, struct err *err);
int transfer_write(struct transfer *t, const void *p, size_t n, struct err *err);
void transfer_end(struct atom *a);
/* What came is compared with what was announced, and staged as good or not. */
void transfer_complete(struct transfer *t, uint64_t size, const struct digest *digest, bool whole);
void transfer_finished(struct transfer *t, const struct msg_finish *m); /* the same, of FINISH */
/* The atom fails and its content is no longer wanted; the primary may go on sending it. The
 * transfer is gone, and with the last job of a batch so may be the atom. */
void transfer_give_up(struct atom *a, const struct err *why);

/* patch.c */
/* Begins to send the signature of the old file, t->source; where there is none, says so. */
void patch_begin(struct transfer *t, uint64_t size);
/* A frame of a signature; none: there is no signature, nor will there be. */
void patch_put_signature(struct atom *a, struct bytes piece, bool last, bool none);
/* The next bytes of the delta: what they make is written now or in later steps. -1 with err. */
int patch_take(struct transfer *t, struct bytes delta, struct err *err);
void patch_stop(struct transfer *t); /* no step comes any more; fine where none would */

/* rebuild.c */
/* Begins to tell the primary what the old file, t->source, holds. */
void rebuild_start(struct transfer *t, uint64_t size);
/* The same of a file that the primary knows: it is told nothing, and gives orders at once. */
void rebuild_start_known(struct transfer *t, uint64_t size);
void rebuild_free(struct rebuild *r); /* NULL is fine */
/* The transfer fails before its end: the primary still waits for what it asked. */
void rebuild_abandon(struct rebuild *r);
/* The transfer is going to write the staged file up to here. */
void rebuild_give_way(struct rebuild *r, uint64_t end);
/* What is to be done comes in order, and is done in steps. -1 with err: it cannot be. */
int rebuild_range(struct rebuild *r, const struct msg_range *m, struct err *err);
void rebuild_data(struct rebuild *r, uint8_t kind, struct bytes plain);
void rebuild_finish(struct rebuild *r, const struct msg_finish *m);
bool rebuild_is_full(const struct rebuild *r); /* of RANGE_SIGN */

#endif
