/*
 * Valid messages, at least one of each kind and one of each variant that a decoder tells apart.
 * Tests break them; the fuzzers' corpus begins with them.
 */
#ifndef TEST_SAMPLE_H
#define TEST_SAMPLE_H

#include "protocol/msg.h"

struct sample {
    const char *name;
    uint8_t type;
    void (*put)(struct wire_writer *w); /* appends one frame */
};

extern const struct sample samples[];
extern const size_t sample_count;

/* Entries with every field that their type may have; pointers to static storage. */
struct entry sample_file(void);
struct entry sample_dir(void);
struct entry sample_link(void);
struct digest sample_digest(uint8_t first); /* bytes counting up */
struct msg_sums sample_sums(void);
struct msg_open sample_open(void);

/* An ENTRY message for `e` at "a/b" with nothing that only one `how` wants. */
struct msg_entry sample_atom(struct entry e, uint8_t how);

/* The items of a listing: a directory, a file and a link, in order; appended to w. */
enum { SAMPLE_ITEMS = 3 };
void sample_items(struct wire_writer *w);

#endif
