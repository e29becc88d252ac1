/* What transfer.c and copy.c share. */
#ifndef SECONDARY_TRANSFER_IMPL_H
#define SECONDARY_TRANSFER_IMPL_H

#include "secondary/transfer.h"
#include "tree/delta.h"
#include "tree/digest.h"

struct transfer {
    struct job job;
    struct atom *atom;
    int fd;     /* the staged file; -1: none (verifying), or sealed */
    int source; /* the live file: a delta's base, or what is copied or verified; -1: none */
    struct digest_stream *sum;
    uint64_t written;
    uint64_t literal;       /* bytes of content or delta that came, unpacked */
    int data_kind;          /* of the frames so far; -1: none came */
    bool patched;           /* the delta is complete */
    bool waited_for;        /* the batch's commit waits for this job */
    bool cloned;            /* a copy that shares extents: only read, to be verified */
    struct validators seen; /* verifying: of the live file when it was opened */
    struct delta_sign *sign;
    struct delta_patch *patch;
    bool patching;            /* a job goes on with the delta that came; what follows waits */
    struct msg_finish finish; /* came meanwhile, where waited_for */
};

int transfer_create(struct atom *a);        /* the staged file, or -1 and the atom failed */
void transfer_seal(struct atom *a, int fd); /* metadata, then close: takes fd */
struct transfer *transfer_new(struct atom *a);
int transfer_write(struct transfer *t, const void *p, size_t n, struct err *err);
void transfer_end(struct atom *a);

#endif
