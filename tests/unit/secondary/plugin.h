/*
 * A site with plugins for tests of units: a plugin before and after its update, which has every
 * kind of change, and what must be true of it. Every helper asserts, as those of peer.h.
 */
#ifndef TEST_PLUGIN_H
#define TEST_PLUGIN_H

#include "peer.h"

struct entry old_dir(void);
struct entry new_dir(void);
struct entry text(const char *content, int later);  /* mtime PEER_TIME and `later` seconds */
const char *in(const char *unit, const char *name); /* valid until the next call but 3 */
void put_text(struct peer *p, const char *path, const char *content, int later);
void assert_text(struct peer *p, const char *path, const char *content, int later);
/* The path has this content, whatever its metadata. */
void stays_in_place(struct peer *p, const char *path, const char *content);

/* The plugin's directory, into the open batch. */
void send_old(struct peer *p, const char *unit);
void send_changes(struct peer *p, const char *unit);
void assert_old(struct peer *p, const char *unit);
void assert_new(struct peer *p, const char *unit);

/* Committed: "plugins/x", when `two` "plugins/y", and the file "outside". */
void send_site(struct peer *p, bool two);
/* A batch that switches plugins/x; it is left open. */
void send_update(struct peer *p);
/* COMMIT: all is done, and the ACK has these flags. Or just this atom failed. */
void commit_with(struct peer *p, uint8_t flags);
void expect_one_failure(struct peer *p, uint32_t atom, uint16_t reason);

ino_t inode_of(struct peer *p, const char *path);

/* What the manifest says of a directory in the root, without another walk. */
struct msg_sums sums_of(struct peer *p, const char *name);
void assert_sums(const struct msg_sums *a, const struct msg_sums *b);
/* The sums of "plugins" when everything was done path by path. */
struct msg_sums reference(bool two);
/* The manifest is as it should be, and agrees with the disk: the next walk reads nothing. */
void assert_known(struct peer *p, const struct msg_sums *want);

/* Until replaced units and what is dead are gone; or only what never was live. */
void let_jobs_end(struct peer *p);
void let_unwanted_go(struct peer *p);

/* A plugin of many files. Version 0 makes it; the others renew all times and change some files. The
 * batch is left open. */
enum { MANY = 5000 };
const char *numbered(int i);
void send_many(struct peer *p, int version);

#endif
