/*
 * The messages. A struct a message, an encoder and a decoder each, and one table with names.
 * PROTOCOL.md, beside this file, says what they mean and in which order they come; change both in
 * the same commit. Everything here is pure: bytes to structs and back.
 *
 * Decoders check every limit and name; a decoded struct points into the payload it came from.
 * Encoders append one whole frame to the writer.
 */
#ifndef PROTOCOL_MSG_H
#define PROTOCOL_MSG_H

#include "protocol/entry.h"
#include "protocol/frame.h"
#include "protocol/path.h"

enum {
    MSG_VERSION = 3,        /* newest version spoken */
    MSG_VERSION_OLDEST = 1, /* oldest version spoken */
    MSG_VERSION_RENEW = 2,  /* from which on there are RENEW and RENEWED */
    MSG_VERSION_NEWS =
        2, /* from which on HOOK, SPACE, OWED, TELL, PROVING, CAP_LACKS_… may be sent */
    MSG_VERSION_BASED = 2,       /* from which on there is HOW_BASED */
    MSG_VERSION_BUNDLE = 3,      /* from which on there is BUNDLE */
    MSG_TEXT_MAX = 1024,         /* error texts and software names */
    MSG_SITE_NAME_MAX = 255,     /* bytes */
    MSG_HOST_MAX = 255,          /* what a host of the configuration is called */
    MSG_ROOT_MAX = 4096,         /* an absolute path on the far end */
    MSG_SITES_MAX = 16384,       /* sites of one session */
    MSG_RULES_MAX = 512,         /* filter rules of a site */
    MSG_RULE_MAX = 1024,         /* bytes of a filter rule */
    MSG_BATCHES_MAX = 256,       /* batches of a session, open or not yet acknowledged */
    MSG_ATOMS_MAX = 4096,        /* atoms of one batch … */
    MSG_UNIT_ATOMS_MAX = 262144, /* … and of one that switches a unit */
    MSG_UNITS_MAX = 256,         /* units of one batch */
    MSG_OPENS_MAX = 67108864,    /* bytes of the OPENs of all sites that are open */
    MSG_HELD_MAX = 1073741824,   /* what all atoms hold that are not acknowledged: … */
    MSG_HELD_ATOM = 1024,        /* … so much each, and the bytes of its paths and its entry */
    MSG_CHUNK_MAX = 131072,      /* plain bytes that one DATA, inline content, PACK or BUNDLE has */
    MSG_FAILURES_MAX = 32,       /* failures in one ACK frame; more frames follow */
    MSG_ITEMS_MAX = 1024,        /* items in one LISTING frame */
    MSG_BUCKETS_MAX = 2048,      /* buckets of a directory in a LIST */
    MSG_KEEP_DAYS_MAX = 3650,    /* that what was deleted is kept */
    MSG_UNIT_GRACE_MAX = 86400,  /* seconds that a replaced unit stays */
    MSG_EXTENT = 262144,         /* bytes of an extent of an old file … */
    MSG_EXTENT_WINDOW = 64,      /* … of which these, its first, make its anchor … */
    MSG_EXTENTS_MAX = 262144,    /* … and extents of a file: 64 GiB */
    MSG_EXTENT_BYTES = 24,       /* one in an EXTENTS frame, which holds at most … */
    MSG_EXTENTS_FRAME = 2048,    /* … so many */
    MSG_RANGE_MAX = 16777216,    /* bytes of the old file that a signature or delta is about */
    MSG_STRANGERS_MAX = 1048576, /* names in one comparison that only the far end has */
    MSG_RANGES_MAX = 64,         /* signatures of ranges that are asked for and not yet answered */

    /* What fits one frame beside the other fields. */
    MSG_DATA_MAX = FRAME_PAYLOAD_MAX - 10,    /* content of a DATA or SIGNATURE */
    MSG_LISTING_MAX = FRAME_PAYLOAD_MAX - 14, /* items of a LISTING */
    MSG_PACK_MAX = FRAME_PAYLOAD_MAX - 4,     /* content of a PACK */
    MSG_BUNDLE_MAX = FRAME_PAYLOAD_MAX - 12,  /* content of a BUNDLE */
};

#define MSG_MAGIC 0x4452494du /* "MIRD" */

enum msg_type {
    MSG_HELLO = 1, /* both ways, first */
    MSG_ERROR = 2, /* both ways: the session ends */
    MSG_PING = 3,  /* primary to secondary, answered by PONG */
    MSG_PONG = 4,
    MSG_BYE = 5, /* primary: no more to come; the secondary ends */

    MSG_OPEN = 16, /* primary to secondary */
    MSG_LIST = 17,
    MSG_BEGIN = 18,
    MSG_ENTRY = 19,
    MSG_DATA = 20,
    MSG_FINISH = 21,
    MSG_DELETE = 22,
    MSG_MOVE = 23,
    MSG_ABORT = 24,
    MSG_COMMIT = 25,
    MSG_CLOSE = 26,
    MSG_UNIT = 27,
    MSG_DROP = 28,
    MSG_LEVEL = 29,
    MSG_CLAIM = 30,
    MSG_RANGE = 31,
    MSG_PACK = 32,
    MSG_RENEW = 33,
    MSG_OWED = 34,
    MSG_TELL = 35,
    MSG_BUNDLE = 36,

    MSG_OPENED = 48, /* secondary to primary */
    MSG_LISTING = 49,
    MSG_SIGNATURE = 50,
    MSG_ACK = 51,
    MSG_PROGRESS = 52,
    MSG_SITE_ERROR = 53,
    MSG_CLAIMED = 54,
    MSG_TRASH = 55,
    MSG_DRIFT = 56,
    MSG_EXTENTS = 57,
    MSG_RENEWED = 58,
    MSG_HOOK = 59,
    MSG_SPACE = 60,
    MSG_TOLD = 62,
    MSG_PROVING = 61,
};

/* Reasons in ERROR, SITE_ERROR and ACK. Numbers never change their meaning. */
enum msg_reason {
    REASON_NONE = 0,
    REASON_MALFORMED = 1,     /* a message that cannot be decoded or is not legal now */
    REASON_VERSION = 2,       /* no common version */
    REASON_PATH = 3,          /* a refused name, or a root outside the fence */
    REASON_LIMIT = 4,         /* a named limit */
    REASON_LOCKED = 5,        /* the root is held by another process; text says which */
    REASON_NO_ROOT = 6,       /* the root or its parent is missing, or not a directory */
    REASON_FENCED = 7,        /* the epoch is lower than the stored one */
    REASON_HELD = 8,          /* refused for safety */
    REASON_IO = 9,            /* a system call failed; errno_value and text say which */
    REASON_NEED_CONTENT = 10, /* send this path again, whole: no base, wrong digest, source gone */
    REASON_NO_PARENT = 11,    /* the directory above is not there */
    REASON_OWNER = 12,        /* a user or group that this host does not know */
    REASON_INTERNAL = 13,
    REASON_YIELD = 14, /* another session of the same primary took over, or a renewal is to */
    REASON_FULL = 15,  /* the far end has no room for what it keeps itself */
    REASON_LAST = REASON_FULL,
};

struct msg_hello {
    uint32_t magic;          /* MSG_MAGIC */
    uint16_t oldest, newest; /* primary: versions spoken; secondary's answer: both the chosen one */
    uint64_t session;        /* chosen by the primary; echoed */
    struct digest host_id;   /* of the sender's state directory */
    struct bytes software;   /* "mirrord 0.1.0" */
    struct bytes host;       /* what the sender calls itself */
};

struct msg_error {
    uint16_t reason;
    struct bytes text; /* for people */
};

struct msg_ping { /* PING and PONG */
    uint64_t token;
};

struct msg_renewed {
    struct bytes text; /* why the secondary's configuration is still the former; or empty */
};

enum msg_open_flags {
    OPEN_OWNER = 1 << 0,        /* mirror owner and group */
    OPEN_CHECKSUM = 1 << 1,     /* distrust validators: read all content */
    OPEN_ADOPT = 1 << 2,        /* a root without a marker becomes this primary's */
    OPEN_DRY_RUN = 1 << 3,      /* nothing will be pushed: create neither root nor marker */
    OPEN_FORCE = 1 << 4,        /* the operator overrules holds */
    OPEN_SPECIAL_BITS = 1 << 5, /* keep setuid and setgid of files */
    OPEN_FSYNC = 1 << 6,        /* an acknowledged batch is to survive a power loss */
    OPEN_FLAGS_ALL = (1 << 7) - 1,
};

struct msg_rule {
    uint8_t include; /* 1: mirrored although an exclusion matches */
    struct bytes pattern;
};

struct msg_open {
    uint32_t site;     /* number of the site in this session, chosen by the primary */
    struct bytes name; /* the site's name; empty for a one-shot resync */
    struct bytes root; /* absolute path asked for; empty: what the far end's configuration says */
    uint64_t epoch;    /* counter */
    struct digest epoch_id;     /* the primary that raised it */
    uint64_t session;           /* rises with every opening of this root by this primary; 0: none */
    uint64_t known;             /* the last one that this secondary answered; 0: none */
    uint32_t flags;             /* msg_open_flags */
    uint8_t max_delete_percent; /* more deletions than this and the count are held */
    uint32_t max_delete_count;
    uint16_t keep_days;  /* that deleted and overwritten files are kept; 0: not */
    uint32_t unit_grace; /* seconds that a replaced unit stays */
    uint16_t rule_count; /* the filter, in order */
    struct msg_rule rules[MSG_RULES_MAX];
};

enum msg_root_state {
    ROOT_CREATED = 1, /* was not there (or, in a dry run, is not) */
    ROOT_EMPTY = 2,   /* there, empty, no marker */
    ROOT_FOREIGN = 3, /* there, not empty, no marker: first contact */
    ROOT_OURS = 4,    /* carries the marker that an earlier session left */
};

enum msg_caps { /* what the secondary can do */
    CAP_SET_OWNER = 1 << 0,
    CAP_SET_ACL = 1 << 1,
    CAP_PARTS = 1 << 2,   /* has parts of large files from an earlier session */
    CAP_SANDBOX = 1 << 3, /* its receiver is confined by all that it should be; else it lacks: */
    CAP_LACKS_LANDLOCK = 1 << 4, /* these from MSG_VERSION_NEWS on */
    CAP_LACKS_CALLS = 1 << 5,
    CAP_LACKS_MOUNTS = 1 << 6,
    CAPS_LACKS = CAP_LACKS_LANDLOCK | CAP_LACKS_CALLS | CAP_LACKS_MOUNTS,
    CAPS_ALL = (1 << 7) - 1,
};

/* Digests over a directory's subtree as tree/manifest keeps them; entry counts include dirs. */
struct msg_sums {
    struct digest meta, owner, content;
    uint64_t entries;  /* beneath, not itself */
    uint64_t files;    /* of these, what is no directory */
    uint64_t bytes;    /* of files */
    uint64_t unproven; /* files without a known digest */
};

struct msg_opened {
    uint32_t site;
    uint8_t state;         /* msg_root_state */
    uint32_t caps;         /* msg_caps */
    struct entry root;     /* the root directory itself */
    struct msg_sums sums;  /* beneath the root */
    uint64_t free_bytes;   /* of the root's filesystem */
    uint64_t deleted;      /* entries, within the last ten minutes */
    uint64_t deleted_from; /* of so many, that were there before */
    uint64_t session;      /* the last one that was opened here before, by this primary; 0: none */
};

struct msg_close {
    uint32_t site;
};

struct msg_site_error { /* the site is closed; the session goes on */
    uint32_t site;
    uint16_t reason;
    uint32_t errno_value;
    struct bytes text;
    uint64_t epoch; /* REASON_FENCED: the one that is stored here; else zeros */
    struct digest epoch_id;
    struct bytes primary; /* the host that it belongs to, for people */
};

struct msg_level { /* all that the secondary has is what the primary has */
    uint32_t site;
};

enum owed_flags {
    OWED_LEVEL = 1 << 0,  /* all is well there, as the primary sees it */
    OWED_PAUSED = 1 << 1, /* its operator has it wait */
};

struct msg_owed { /* how far behind it is, for whoever asks there; when that changed */
    uint32_t site;
    uint8_t flags;           /* enum owed_flags, or'ed */
    uint64_t paths, failing; /* paths that are owed, and those of them that cannot be stored */
    uint64_t age_ms;         /* of the oldest; 0 without any */
};

struct msg_claim { /* an epoch was raised, or (take) this host is to raise it */
    uint32_t request;
    struct bytes name; /* of the site, not empty */
    uint64_t epoch;
    struct digest epoch_id;
    uint8_t take;
    struct bytes primary; /* the host that the epoch belongs to */
};

struct msg_claimed {
    uint32_t request;
    uint16_t reason; /* REASON_NONE: it counts here now */
    uint64_t epoch;  /* the one that is stored here by now */
    struct digest epoch_id;
    struct bytes primary;
    struct bytes text; /* of the refusal */
};

struct msg_progress { /* work that takes over a second: walks, reading content, signatures */
    uint32_t site;
    uint64_t done; /* entries, or bytes: only that it moves matters */
};

struct msg_trash { /* what is set aside there, whenever that changed */
    uint32_t site;
    uint64_t foreign, foreign_bytes; /* things that mirrord did not put there */
    uint64_t kept;                   /* of our own, by `keep_days` */
};

struct msg_space { /* what its filesystem has left, at OPENED and whenever that changed */
    uint32_t site;
    uint64_t free_bytes, all_bytes;
    uint64_t free_files, all_files;  /* inodes; 0 and 0 where the filesystem has no fixed number */
    uint64_t keep_bytes, keep_files; /* that its own configuration wants left free; 0: nothing */
};

struct msg_proving { /* how far reading is of what was taken for equal by size and time */
    uint32_t site;
    uint64_t unproven; /* files whose content was never read; 0: all were */
};

enum drift_kind {
    DRIFT_CHANGED = 1,
    DRIFT_ADDED = 2,
    DRIFT_REMOVED = 3,
    DRIFT_TIMES = 4, /* a directory of which only the times moved */
};

struct msg_drift { /* what stands at the path is not what was committed there, nor is it ours */
    uint32_t site;
    uint8_t kind; /* enum drift_kind */
    struct bytes path;
    struct entry committed; /* what was; ENTRY_NONE: nothing (DRIFT_ADDED) */
};

struct msg_hook { /* how the command after a commit goes there, whenever that changed */
    uint32_t site;
    uint32_t failures; /* in a row; 0: it works again */
    uint64_t since;    /* seconds since the epoch; 0 with no failure */
    struct bytes text; /* of the last one */
};

struct msg_tell { /* asks for TOLD when the command after a commit is through with all so far */
    uint32_t site;
    uint64_t token; /* echoed */
};

struct msg_list {
    uint32_t request; /* echoed */
    uint32_t site;
    struct bytes path;    /* a directory */
    struct bytes buckets; /* what the primary has of it: a u64 each, or empty: all is asked for */
};

struct msg_item {
    struct bytes name;
    struct entry entry;
    struct msg_sums sums; /* on the wire for directories only; else zeros */
};

/* One of the frames that answer a LIST; items in memcmp order of their names, across frames. A
 * directory that is not there answers missing = 1, last = 1, no items. Items are decoded one by
 * one with msg_item_decode from `items`; msg_get_listing has checked them all, and their order
 * within the frame. */
struct msg_listing {
    uint32_t request;
    uint8_t last;
    uint8_t missing;
    uint16_t count;
    struct bytes differ; /* first frame, where there were buckets: a bit each */
    struct bytes items;
};

struct msg_begin {
    uint32_t batch; /* number, rising through the session */
    uint32_t site;
};

enum msg_how {      /* what follows an ENTRY */
    HOW_META = 0,   /* nothing: directories, links, or a file whose content is there already */
    HOW_INLINE = 1, /* the content, in this message */
    HOW_DATA = 2,   /* DATA frames with the content, then FINISH */
    HOW_DELTA =
        3, /* the secondary answers SIGNATURE or EXTENTS; then delta or content, then FINISH */
    HOW_COPY = 4,  /* the content of `source`, whose digest must be entry.digest */
    HOW_BASED = 5, /* as HOW_DELTA answered with extents, but at once: `content` is the digest of
                    * the old file */
    HOW_LAST = HOW_BASED,
};

enum msg_encoding {
    ENCODING_RAW = 0,
    ENCODING_ZSTD = 1, /* one zstd frame that unpacks to at most MSG_CHUNK_MAX bytes */
};

struct msg_entry {
    uint32_t batch;
    uint32_t atom;        /* number, rising through the session; names the transfer */
    struct bytes path;    /* "" for the root itself (directory, HOW_META) */
    uint8_t how;          /* msg_how */
    uint8_t encoding;     /* of content */
    struct entry entry;   /* HOW_INLINE, HOW_META, HOW_COPY: digest set for files */
    struct bytes source;  /* HOW_COPY only */
    struct bytes content; /* HOW_INLINE; HOW_BASED: a digest */
};

enum msg_data_kind { DATA_CONTENT = 0, DATA_DELTA = 1 };

struct msg_data {
    uint32_t atom;
    uint8_t kind;     /* msg_data_kind; without extents the same in all frames of a transfer */
    uint8_t encoding; /* msg_encoding */
    struct bytes content;
};

struct msg_finish {
    uint32_t atom;
    struct digest digest; /* of the whole content */
    uint64_t size;        /* of the whole content */
};

struct msg_delete { /* whatever stands there, whole subtrees too; nothing there is success */
    uint32_t batch;
    uint32_t atom;
    struct bytes path;
};

struct msg_move { /* rename; fails with NEED_CONTENT where `from` is not there */
    uint32_t batch;
    uint32_t atom;
    struct bytes from, to;
};

struct msg_abort { /* the path changed while it was sent: drop the atom */
    uint32_t atom;
};

struct msg_commit {
    uint32_t batch;
};

struct msg_unit { /* this directory is switched as a whole, with the batch's atoms beneath it */
    uint32_t batch;
    uint32_t atom;
    struct bytes path; /* never the root */
};

struct msg_drop { /* instead of COMMIT: the batch is as if it had never begun */
    uint32_t batch;
};

struct msg_pack {         /* ENTRYs that travel packed together */
    struct bytes content; /* one zstd frame; it unpacks to whole frames */
};

struct msg_bundle { /* the same, where the ENTRYs' numbers are counted from these: */
    uint32_t batch;
    uint32_t atom;
    struct bytes content;
};

struct msg_signature { /* librsync signature of the old file, in pieces */
    uint32_t atom;
    uint8_t last;
    uint8_t none; /* no usable old file: send content */
    struct bytes content;
};

struct msg_extents { /* instead: the old file's extents, in order, in as many frames as needed */
    uint32_t atom;
    uint8_t last;
    uint64_t size;      /* of the old file; the same in all frames */
    struct bytes items; /* msg_extent_encode, one after the other */
};

struct msg_extent {
    struct digest digest; /* plain XXH3-128 of its bytes: MSG_EXTENT, in the last one fewer */
    uint64_t anchor;      /* of its first MSG_EXTENT_WINDOW bytes; 0 where there are fewer */
};

enum msg_range_use {
    RANGE_COPY = 0, /* comes next in the new file */
    RANGE_SIGN = 1, /* its signature is wanted: SIGNATURE, in the order of these */
    RANGE_BASE = 2, /* what the DATA_DELTA that follows is made against */
    RANGE_LAST = RANGE_BASE,
};

struct msg_range { /* of the old file, after EXTENTS */
    uint32_t atom;
    uint8_t use; /* msg_range_use */
    uint64_t offset, length;
};

struct msg_failure {
    uint32_t atom;
    uint16_t reason;
    uint32_t errno_value; /* Linux's numbers; 0: none */
    struct bytes text;
};

enum msg_ack_flags {       /* a unit could not be switched here and was renamed file by file: */
    ACK_EXCLUDED = 1 << 0, /* it holds entries that are not mirrored */
    ACK_MOUNT = 1 << 1,    /* another filesystem is mounted in it */
    ACK_EXCHANGE = 1 << 2, /* directories cannot be exchanged here */
    ACK_LINK = 1 << 3,     /* files cannot be linked here */
    ACK_PIECEMEAL = (1 << 4) - 1,
    ACK_FLAGS_ALL = ACK_PIECEMEAL,
};

struct msg_ack {
    uint32_t batch;
    uint8_t last;  /* of the frames for this batch */
    uint8_t flags; /* msg_ack_flags; the same in all its frames */
    uint64_t free_bytes;
    uint16_t count;
    struct msg_failure failures[MSG_FAILURES_MAX]; /* all other atoms are committed */
};

/* One frame each, appended to w. */
void msg_put_hello(struct wire_writer *w, const struct msg_hello *m);
void msg_put_error(struct wire_writer *w, const struct msg_error *m);
void msg_put_ping(struct wire_writer *w, const struct msg_ping *m);
void msg_put_pong(struct wire_writer *w, const struct msg_ping *m);
void msg_put_bye(struct wire_writer *w);
void msg_put_renew(struct wire_writer *w);
void msg_put_renewed(struct wire_writer *w, const struct msg_renewed *m);
void msg_put_open(struct wire_writer *w, const struct msg_open *m);
void msg_put_opened(struct wire_writer *w, const struct msg_opened *m);
void msg_put_close(struct wire_writer *w, const struct msg_close *m);
void msg_put_site_error(struct wire_writer *w, const struct msg_site_error *m);
void msg_put_level(struct wire_writer *w, const struct msg_level *m);
void msg_put_owed(struct wire_writer *w, const struct msg_owed *m);
void msg_put_claim(struct wire_writer *w, const struct msg_claim *m);
void msg_put_claimed(struct wire_writer *w, const struct msg_claimed *m);
void msg_put_progress(struct wire_writer *w, const struct msg_progress *m);
void msg_put_trash(struct wire_writer *w, const struct msg_trash *m);
void msg_put_hook(struct wire_writer *w, const struct msg_hook *m);
void msg_put_tell(struct wire_writer *w, const struct msg_tell *m);
void msg_put_told(struct wire_writer *w, const struct msg_tell *m);
void msg_put_space(struct wire_writer *w, const struct msg_space *m);
void msg_put_proving(struct wire_writer *w, const struct msg_proving *m);
void msg_put_drift(struct wire_writer *w, const struct msg_drift *m);
void msg_put_list(struct wire_writer *w, const struct msg_list *m);
void msg_put_listing(struct wire_writer *w, const struct msg_listing *m);
void msg_put_begin(struct wire_writer *w, const struct msg_begin *m);
void msg_put_entry(struct wire_writer *w, const struct msg_entry *m);
void msg_put_data(struct wire_writer *w, const struct msg_data *m);
void msg_put_finish(struct wire_writer *w, const struct msg_finish *m);
void msg_put_delete(struct wire_writer *w, const struct msg_delete *m);
void msg_put_move(struct wire_writer *w, const struct msg_move *m);
void msg_put_abort(struct wire_writer *w, const struct msg_abort *m);
void msg_put_commit(struct wire_writer *w, const struct msg_commit *m);
void msg_put_unit(struct wire_writer *w, const struct msg_unit *m);
void msg_put_drop(struct wire_writer *w, const struct msg_drop *m);
void msg_put_pack(struct wire_writer *w, const struct msg_pack *m);
void msg_put_bundle(struct wire_writer *w, const struct msg_bundle *m);
void msg_put_signature(struct wire_writer *w, const struct msg_signature *m);
void msg_put_ack(struct wire_writer *w, const struct msg_ack *m);
void msg_put_extents(struct wire_writer *w, const struct msg_extents *m);
void msg_put_range(struct wire_writer *w, const struct msg_range *m);

/* The two numbers in the payload of an encoded ENTRY, of at least MSG_NUMBERS bytes: read, and
 * replaced. In a BUNDLE they are counted from its own. */
enum { MSG_NUMBERS = 8 };
void msg_entry_numbers(const uint8_t *payload, uint32_t *batch, uint32_t *atom);
void msg_entry_renumber(uint8_t *payload, uint32_t batch, uint32_t atom);

/* One item, without a frame, for the bytes of a LISTING. */
void msg_item_encode(struct wire_writer *w, const struct msg_item *m);
void msg_item_decode(struct wire_reader *r, struct msg_item *out);

/* One extent, for the bytes of EXTENTS; how many a file of this size has. */
void msg_extent_encode(struct wire_writer *w, const struct msg_extent *e);
void msg_extent_decode(struct wire_reader *r, struct msg_extent *out);
uint64_t msg_extent_count(uint64_t size);

/* True when the payload is exactly one valid message of the kind; *out is undefined otherwise. */
bool msg_get_hello(struct bytes payload, struct msg_hello *out);
bool msg_get_error(struct bytes payload, struct msg_error *out);
bool msg_get_ping(struct bytes payload, struct msg_ping *out); /* PONG too */
bool msg_get_bye(struct bytes payload);
bool msg_get_renew(struct bytes payload);
bool msg_get_renewed(struct bytes payload, struct msg_renewed *out);
bool msg_get_open(struct bytes payload, struct msg_open *out);
bool msg_get_opened(struct bytes payload, struct msg_opened *out);
bool msg_get_close(struct bytes payload, struct msg_close *out);
bool msg_get_site_error(struct bytes payload, struct msg_site_error *out);
bool msg_get_level(struct bytes payload, struct msg_level *out);
bool msg_get_owed(struct bytes payload, struct msg_owed *out);
bool msg_get_claim(struct bytes payload, struct msg_claim *out);
bool msg_get_claimed(struct bytes payload, struct msg_claimed *out);
bool msg_get_progress(struct bytes payload, struct msg_progress *out);
bool msg_get_trash(struct bytes payload, struct msg_trash *out);
bool msg_get_hook(struct bytes payload, struct msg_hook *out);
bool msg_get_tell(struct bytes payload, struct msg_tell *out); /* TOLD too */
bool msg_get_space(struct bytes payload, struct msg_space *out);
bool msg_get_proving(struct bytes payload, struct msg_proving *out);
bool msg_get_drift(struct bytes payload, struct msg_drift *out);
bool msg_get_list(struct bytes payload, struct msg_list *out);
bool msg_get_listing(struct bytes payload, struct msg_listing *out);
bool msg_get_begin(struct bytes payload, struct msg_begin *out);
bool msg_get_entry(struct bytes payload, struct msg_entry *out);
bool msg_get_data(struct bytes payload, struct msg_data *out);
bool msg_get_finish(struct bytes payload, struct msg_finish *out);
bool msg_get_delete(struct bytes payload, struct msg_delete *out);
bool msg_get_move(struct bytes payload, struct msg_move *out);
bool msg_get_abort(struct bytes payload, struct msg_abort *out);
bool msg_get_commit(struct bytes payload, struct msg_commit *out);
bool msg_get_unit(struct bytes payload, struct msg_unit *out);
bool msg_get_drop(struct bytes payload, struct msg_drop *out);
bool msg_get_pack(struct bytes payload, struct msg_pack *out);
bool msg_get_bundle(struct bytes payload, struct msg_bundle *out);
bool msg_get_signature(struct bytes payload, struct msg_signature *out);
bool msg_get_ack(struct bytes payload, struct msg_ack *out);
bool msg_get_extents(struct bytes payload, struct msg_extents *out);
bool msg_get_range(struct bytes payload, struct msg_range *out);

/* Of a frame whose payload its decoder refused: REASON_PATH when the first fault is a name or path
 * that may not be sent, else REASON_MALFORMED. */
uint16_t msg_fault(const struct frame *f);

/* The name of a message type for logs ("OPEN"), or "unknown"; of a reason ("locked"). */
const char *msg_name(uint8_t type);
const char *msg_reason_name(uint16_t reason);

/* Why a unit was renamed file by file, for people: of the first of these flags. */
const char *msg_piecemeal_text(unsigned flags);

#endif
