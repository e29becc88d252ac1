/*
 * A scripted primary for tests: starts a receiver over a socket pair and speaks to it message by
 * message. Every helper asserts that what it sends is taken and what it waits for comes.
 */
#ifndef TEST_PEER_H
#define TEST_PEER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/buf.h"
#include "protocol/msg.h"
#include "secondary/receive.h"

enum { PEER_PATH = 256, PEER_FAILURES = 5000, PEER_NOBODY = 65534 };

struct peer {
    char dir[64];          /* everything of this test; removed at its end */
    char root[PEER_PATH];  /* dir/site/root */
    char state[PEER_PATH]; /* dir/state */
    char fence[PEER_PATH]; /* dir/site */
    pid_t pid;             /* of the receiver's parent; 0: none */
    int fd;
    struct buf in;
    size_t taken; /* of the frame that was read last */
    struct wire_writer out;
    uint32_t batch, atom; /* numbers used last */
    unsigned drifts;      /* paths that the receiver said somebody else changed, unasked */
    uint8_t id;           /* the first byte of the primary's host id */
    uint32_t open_flags;
    uint64_t session, known;    /* of OPEN */
    uint64_t epoch;             /* likewise, with `id`; 0: none */
    uint8_t max_delete_percent; /* 100: no limit */
    uint32_t max_delete_count;
    bool as_nobody; /* the receiver runs without root */
    int unit_grace; /* seconds; 0: a minute, below 0: none */
    uint16_t keep_days;
    struct receive_policy policy;          /* of the receiver's own configuration */
    struct msg_trash trash;                /* as it came last */
    unsigned look_every_s, reread_every_s; /* of receive_options; 0: no content is read again */
    const char *exclude;                   /* a filter rule, or NULL */
    const struct filter *excludes; /* of the receiver's own configuration for this host, or NULL */
    const char *on_commit, *on_switch; /* its commands: names in `dir`, or NULL */
    const char *reload_error; /* what is wrong with its configuration when it is read again */
    uint16_t version;         /* the newest that HELLO names; 0: MSG_VERSION */
};

struct ack {
    size_t failures;
    uint32_t atoms[PEER_FAILURES];
    uint16_t reasons[PEER_FAILURES];
    uint8_t flags;
    char text[MSG_TEXT_MAX + 1]; /* of the last failure */
};

/* Fixture. */
void peer_setup(struct peer *p);
void peer_cleanup(struct peer *p);

/* The same for cmocka_unit_test_setup_teardown: *state is a struct peer. */
int peer_make(void **state);
int peer_unmake(void **state);

/* The command on_commit or on_switch, a script in the directory `dir`; before it is started. */
void peer_command(struct peer *p, bool on_switch, const char *body);

void peer_drop_root(struct peer *p); /* before it is started; nothing when we are not root */

/* The process. */
void peer_start(struct peer *p); /* without a HELLO */
void peer_kill(struct peer *p);  /* SIGKILL to both processes of the receiver, reaped */
int peer_wait(struct peer *p);   /* closes the stream; the receiver's exit status */

void peer_send(struct peer *p); /* what is in out */
/* Reads frames up to one of this type, skipping PROGRESS and TRASH; fails the test on another. */
struct bytes peer_expect(struct peer *p, uint8_t type);
/* ERROR comes with this reason and the stream ends. */
void peer_expect_error(struct peer *p, uint16_t reason);
void peer_end(struct peer *p); /* BYE, and a clean exit */

void peer_hello(struct peer *p);
void peer_send_open(struct peer *p, uint32_t site, const char *root);
struct msg_opened peer_open(struct peer *p); /* start, HELLO, site 1 at root */

/* Batches. Each returns the atom's number. */
uint32_t peer_batch(struct peer *p);
uint32_t peer_put(struct peer *p, const char *path, const struct entry *e, const void *content);
uint32_t peer_entry(
    struct peer *p, const char *path, const struct entry *e, uint8_t how, const char *source);
uint32_t peer_delete(struct peer *p, const char *path);
uint32_t peer_move(struct peer *p, const char *from, const char *to);
uint32_t peer_unit(struct peer *p, const char *path);
void peer_drop(struct peer *p); /* the last batch */
void peer_data(struct peer *p, uint32_t atom, uint8_t kind, const void *data, size_t n);
void peer_finish(struct peer *p, uint32_t atom, const struct entry *e);
void peer_send_commit(struct peer *p);
void peer_await_ack(struct peer *p, struct ack *out);
void peer_commit(struct peer *p, struct ack *out); /* COMMIT of the last batch, and its ACK */
void peer_commit_all(struct peer *p);              /* the same; no failures */

/* Entries. */
enum { PEER_TIME = 1600000000 };
struct entry a_file(const void *content, size_t n, uint16_t mode);
struct entry a_dir(uint16_t mode);
struct entry a_link(const char *target);

/* The secondary's disk, by paths beneath the root. */
char *on_root(struct peer *p, const char *path); /* absolute; valid until the next call but 3 */
void write_file(struct peer *p, const char *path, const void *content);
void assert_file(struct peer *p, const char *path, const void *content, const struct entry *e);
void assert_dir(struct peer *p, const char *path, const struct entry *e);
void assert_link(struct peer *p, const char *path, const struct entry *e);
void assert_absent(struct peer *p, const char *path);
/* Things set aside whose note names this path; NULL: all. */
unsigned foreign_count(struct peer *p, const char *path);
/* The same in "foreign" or "kept"; `item` is the directory of the last one, or "". */
unsigned aside_count(struct peer *p, const char *place, const char *path, char item[2048]);
/* Names in the stage other than its own furniture. */
unsigned staged_count(struct peer *p);
unsigned kept_count(struct peer *p); /* replaced units that wait for their time */

#endif
