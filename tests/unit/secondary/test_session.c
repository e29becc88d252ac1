/* Sessions: versions, malformed input, refused names, the fence, dry runs, several sites. */
#include "peer.h"

#include <endian.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "secondary/health/health_note.h"
#include "secondary/receive.h"
#include "stream.h"
#include "tree/content/digest.h"
#include "tree/content/zip.h"
#include "tree/state/epoch.h"
#include "tree/state/epochs.h"
#include "tree/state/state.h"

static void opens_a_new_root(void **state)
{
    struct peer *p = *state;
    struct msg_opened m = peer_open(p);
    assert_int_equal(m.state, ROOT_CREATED);
    assert_int_equal(m.root.type, ENTRY_DIR);
    assert_int_equal(m.sums.entries, 0);
    assert_true(m.free_bytes > 0);
    assert_int_equal(access(p->root, F_OK), 0);
    peer_end(p);
    m = peer_open(p);
    assert_int_equal(m.state, ROOT_EMPTY);
    peer_end(p);
}

static void tells_foreign_from_ours(void **state)
{
    struct peer *p = *state;
    assert_int_equal(mkdir(p->root, 0755), 0);
    write_file(p, "there", "x");
    assert_int_equal(peer_open(p).state, ROOT_FOREIGN);
    peer_batch(p);
    peer_commit_all(p);
    peer_end(p);
    struct msg_opened m = peer_open(p);
    assert_int_equal(m.state, ROOT_OURS);
    assert_int_equal(m.sums.entries, 1);
    assert_int_equal(m.sums.unproven, 1);
    peer_end(p);
    /* Another directory in its place is not the root. */
    char moved[300];
    snprintf(moved, sizeof moved, "%s-old", p->root);
    assert_int_equal(rename(p->root, moved), 0);
    assert_int_equal(mkdir(p->root, 0755), 0);
    write_file(p, "there", "x");
    p->open_flags = OPEN_FORCE;
    assert_int_equal(peer_open(p).state, ROOT_FOREIGN);
    peer_end(p);
}

static void a_dry_run_creates_nothing(void **state)
{
    struct peer *p = *state;
    struct msg_listing l;
    p->open_flags = OPEN_DRY_RUN;
    struct msg_opened m = peer_open(p);
    assert_int_equal(m.state, ROOT_CREATED);
    assert_int_equal(m.sums.entries, 0);
    msg_put_list(&p->out, &(struct msg_list){.request = 9, .site = 1});
    peer_send(p);
    assert_true(msg_get_listing(peer_expect(p, MSG_LISTING), &l));
    assert_int_equal(l.request, 9);
    assert_int_equal(l.count, 0);
    assert_true(l.last && l.missing);
    peer_end(p);
    assert_int_equal(access(p->root, F_OK), -1);
    assert_int_equal(mkdir(p->root, 0755), 0);
    write_file(p, "there", "x");
    assert_int_equal(peer_open(p).state, ROOT_FOREIGN);
    peer_end(p);
    assert_int_equal(staged_count(p), 0);
    /* Nothing may be pushed in one. */
    peer_open(p);
    peer_batch(p);
    peer_send(p);
    peer_expect_error(p, REASON_MALFORMED);
}

static void lists_a_large_directory(void **state)
{
    struct peer *p = *state;
    enum { FILES = 1500 };
    struct entry f = a_file("x", 1, 0644), d = a_dir(0755);
    char path[300];
    peer_open(p);
    peer_batch(p);
    peer_put(p, "big", &d, NULL);
    for (int i = 0; i < FILES; i++) {
        snprintf(path, sizeof path, "big/%0200d", i);
        peer_put(p, path, &f, "x");
    }
    peer_commit_all(p);
    msg_put_list(&p->out, &(struct msg_list){.request = 1, .site = 1, .path = bytes_of("big")});
    msg_put_list(&p->out, &(struct msg_list){.request = 2, .site = 1, .path = bytes_of("no")});
    msg_put_list(&p->out, &(struct msg_list){.request = 3, .site = 1});
    peer_send(p);
    struct msg_listing l;
    int seen = 0, frames = 0;
    do {
        assert_true(msg_get_listing(peer_expect(p, MSG_LISTING), &l));
        assert_int_equal(l.request, 1);
        struct wire_reader r = wire_reader_of(l.items.data, l.items.len);
        for (int i = 0; i < l.count; i++, seen++) {
            struct msg_item item;
            msg_item_decode(&r, &item);
            snprintf(path, sizeof path, "%0200d", seen);
            assert_true(bytes_equal(item.name, bytes_of(path)));
            assert_true(item.entry.has_digest);
        }
        assert_true(wire_done(&r));
        frames++;
    } while (!l.last);
    assert_int_equal(seen, FILES);
    assert_true(frames > 1);
    assert_true(msg_get_listing(peer_expect(p, MSG_LISTING), &l));
    assert_true(l.request == 2 && l.missing && l.last && l.count == 0);
    assert_true(msg_get_listing(peer_expect(p, MSG_LISTING), &l));
    assert_true(l.request == 3 && !l.missing && l.last && l.count == 1);
    struct wire_reader r = wire_reader_of(l.items.data, l.items.len);
    struct msg_item item;
    msg_item_decode(&r, &item);
    assert_int_equal(item.sums.entries, FILES);
    assert_int_equal(item.sums.bytes, FILES);
    peer_end(p);
}

/* Only what is in buckets that differ is listed, and the answer says which those are. */
static void lists_what_differs(void **state)
{
    struct peer *p = *state;
    enum { FILES = 64 };
    static const uint8_t zeros[2 * 8];
    struct entry f = a_file("x", 1, 0644);
    char name[16];
    struct msg_listing l;
    uint64_t sums[2] = {0};
    int in_first = 0;
    peer_open(p);
    peer_batch(p);
    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof name, "f%d", i);
        peer_put(p, name, &f, "x");
    }
    peer_commit_all(p);
    msg_put_list(&p->out, &(struct msg_list){.request = 1, .site = 1, .buckets = {zeros, 16}});
    peer_send(p);
    assert_true(msg_get_listing(peer_expect(p, MSG_LISTING), &l));
    assert_true(l.last && l.count == FILES && l.differ.len == 1);
    assert_int_equal(*(const uint8_t *)l.differ.data, 3);
    struct wire_reader r = wire_reader_of(l.items.data, l.items.len);
    for (int i = 0; i < FILES; i++) {
        struct msg_item item;
        struct digest d;
        struct wire_writer w = {0};
        uint64_t half;
        msg_item_decode(&r, &item);
        item.entry.owner = item.entry.group = (struct bytes){0};
        digest_plain(item.name.data, item.name.len, &d);
        unsigned bucket = d.b[0] >> 7;
        in_first += !bucket;
        msg_item_encode(&w, &item);
        digest_plain(w.data, w.len, &d);
        memcpy(&half, d.b, sizeof half);
        sums[bucket] += be64toh(half);
        wire_free(&w);
    }
    assert_true(in_first > 0 && in_first < FILES);
    uint64_t theirs[2] = {htole64(sums[0] + 1), htole64(sums[1])};
    msg_put_list(&p->out, &(struct msg_list){.request = 2, .site = 1, .buckets = {theirs, 16}});
    theirs[0] = htole64(sums[0]);
    msg_put_list(&p->out, &(struct msg_list){.request = 3, .site = 1, .buckets = {theirs, 16}});
    msg_put_list(
        &p->out, &(struct msg_list){
                     .request = 4, .site = 1, .path = bytes_of("no"), .buckets = {theirs, 16}});
    peer_send(p);
    assert_true(msg_get_listing(peer_expect(p, MSG_LISTING), &l));
    assert_true(l.request == 2 && l.last && l.count == in_first);
    assert_int_equal(*(const uint8_t *)l.differ.data, 1);
    assert_true(msg_get_listing(peer_expect(p, MSG_LISTING), &l));
    assert_true(l.request == 3 && l.last && l.count == 0 && l.differ.len == 1);
    assert_int_equal(*(const uint8_t *)l.differ.data, 0);
    assert_true(msg_get_listing(peer_expect(p, MSG_LISTING), &l));
    assert_true(l.request == 4 && l.missing && l.differ.len == 0);
    peer_end(p);
}

static void answers_ping(void **state)
{
    struct peer *p = *state;
    struct msg_ping m = {99};
    peer_open(p);
    msg_put_ping(&p->out, &m);
    peer_send(p);
    m.token = 0;
    assert_true(msg_get_ping(peer_expect(p, MSG_PONG), &m));
    assert_int_equal(m.token, 99);
    peer_end(p);
}

static void refuses_other_versions(void **state)
{
    struct peer *p = *state;
    struct msg_hello m = {.magic = MSG_MAGIC, .oldest = MSG_VERSION + 1, .newest = MSG_VERSION + 3};
    peer_start(p);
    msg_put_hello(&p->out, &m);
    peer_send(p);
    peer_expect_error(p, REASON_VERSION);
    peer_start(p);
    m = (struct msg_hello){.magic = 1, .oldest = 1, .newest = 1};
    msg_put_hello(&p->out, &m);
    peer_send(p);
    peer_expect_error(p, REASON_MALFORMED);
}

static void needs_hello_first(void **state)
{
    struct peer *p = *state;
    peer_start(p);
    peer_send_open(p, 1, p->root);
    peer_expect_error(p, REASON_MALFORMED);
    assert_int_equal(access(p->root, F_OK), -1);
}

/* A batch with content, then nonsense: the session ends and nothing is changed. */
static void malformed_input_changes_nothing(void **state)
{
    struct peer *p = *state;
    static const struct {
        const void *bytes;
        size_t len;
    } nonsense[] = {
        {"\xff\xff\xff\xff\x01", 5},           /* a frame too long */
        {"\0\0\0\0", 4},                       /* a frame of nothing */
        {"\x01\0\0\0\xee", 5},                 /* no such message */
        {"\x01\0\0\0\x12", 5},                 /* BATCH without payload */
        {"\x05\0\0\0\x19\xff\xff\xff\xff", 9}, /* COMMIT of another batch */
        {"\x05\0\0\0\x18\xff\xff\xff\xff", 9}, /* ABORT of another atom */
    };
    struct entry f = a_file("new", 3, 0644);
    for (size_t i = 0; i < sizeof nonsense / sizeof *nonsense; i++) {
        peer_open(p);
        peer_batch(p);
        peer_put(p, "file", &f, "new");
        wire_raw(&p->out, nonsense[i].bytes, nonsense[i].len);
        peer_send(p);
        peer_expect_error(p, REASON_MALFORMED);
        assert_absent(p, "file");
        assert_int_equal(staged_count(p), 0);
    }
}

static void a_stream_cut_within_a_message_is_an_error(void **state)
{
    struct peer *p = *state;
    peer_open(p);
    assert_int_equal(write(p->fd, "\x09\0\0", 3), 3);
    stream_end_sending(p->fd);
    assert_int_equal(peer_wait(p), 1);
    peer_open(p);
    assert_int_equal(peer_wait(p), 0); /* between messages it is a clean end */
}

static void refused_names_end_the_session(void **state)
{
    struct peer *p = *state;
    static const char *const names[] = {
        "../x", "a/../x", "/x", "a//x", "a/", ".", ".mirrord-x", "a/.mirrord-x/y"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct entry f = a_file("x", 1, 0644);
        peer_open(p);
        peer_batch(p);
        peer_put(p, names[i], &f, "x");
        peer_send(p);
        peer_expect_error(p, REASON_PATH);
    }
    char outside[300];
    snprintf(outside, sizeof outside, "%s/x", p->fence);
    assert_int_equal(access(outside, F_OK), -1);
}

static uint16_t site_error(struct peer *p, uint32_t site, const char *word)
{
    struct msg_site_error m;
    assert_true(msg_get_site_error(peer_expect(p, MSG_SITE_ERROR), &m));
    assert_int_equal(m.site, site);
    assert_non_null(memmem(m.text.data, m.text.len, word, strlen(word)));
    return m.reason;
}

static void a_root_outside_the_fence_is_refused(void **state)
{
    struct peer *p = *state;
    char root[300];
    peer_start(p);
    peer_hello(p);
    snprintf(root, sizeof root, "%s/other", p->dir);
    peer_send_open(p, 1, root);
    assert_int_equal(site_error(p, 1, "outside"), REASON_PATH);
    snprintf(root, sizeof root, "%sx", p->fence);
    peer_send_open(p, 2, root);
    assert_int_equal(site_error(p, 2, "outside"), REASON_PATH);
    assert_int_equal(symlink(p->dir, p->root), 0);
    snprintf(root, sizeof root, "%s/other", p->root);
    peer_send_open(p, 3, root);
    assert_int_equal(site_error(p, 3, "outside"), REASON_PATH);
    peer_send_open(p, 4, p->root);
    assert_int_equal(site_error(p, 4, "symbolic link"), REASON_NO_ROOT);
    /* What is sent for a refused site is swallowed. */
    struct entry f = a_file("x", 1, 0644);
    msg_put_begin(&p->out, &(struct msg_begin){++p->batch, 1});
    uint32_t atom = peer_entry(p, "f", &f, HOW_DATA, NULL);
    peer_data(p, atom, DATA_CONTENT, "x", 1);
    peer_finish(p, atom, &f);
    peer_send_commit(p);
    snprintf(root, sizeof root, "%s/other", p->dir);
    assert_int_equal(access(root, F_OK), -1);
    /* The session goes on, also with the same number. */
    assert_int_equal(unlink(p->root), 0);
    peer_send_open(p, 1, p->root);
    peer_expect(p, MSG_OPENED);
    peer_end(p);
}

/* The primary must know of them: they end its rules. */
static void what_this_host_excludes_is_agreed_on(void **state)
{
    struct peer *p = *state;
    struct filter *own = filter_new();
    assert_int_equal(filter_add(own, false, bytes_of("/log/"), NULL), 0);
    p->excludes = own;
    peer_start(p);
    peer_hello(p);
    peer_send_open(p, 1, p->root);
    assert_int_equal(site_error(p, 1, "excludes /log/"), REASON_PATH);
    p->exclude = "log/";
    peer_send_open(p, 2, p->root);
    assert_int_equal(site_error(p, 2, "excludes /log/"), REASON_PATH);
    p->exclude = "/log/";
    peer_send_open(p, 3, p->root);
    peer_expect(p, MSG_OPENED);
    peer_end(p);
    filter_free(own);
}

static void only_the_last_directory_is_made(void **state)
{
    struct peer *p = *state;
    char root[400];
    peer_start(p);
    peer_hello(p);
    snprintf(root, sizeof root, "%s/missing/too", p->root);
    peer_send_open(p, 1, root);
    assert_int_equal(site_error(p, 1, "site/root is missing"), REASON_NO_ROOT);
    assert_int_equal(access(p->root, F_OK), -1);
    write_file(p, "", "a file");
    peer_send_open(p, 2, p->root);
    assert_int_equal(site_error(p, 2, "not a directory"), REASON_NO_ROOT);
    peer_end(p);
}

static void a_held_root_is_refused(void **state)
{
    struct peer *p = *state;
    struct peer other = *p;
    memset(&other.in, 0, sizeof other.in);
    memset(&other.out, 0, sizeof other.out);
    peer_open(p);
    /* Twice in one session. */
    peer_send_open(p, 2, p->root);
    assert_int_equal(site_error(p, 2, "site 1"), REASON_LOCKED);
    /* Another session of the same primary: the older one yields. */
    peer_open(&other);
    peer_expect_error(p, REASON_YIELD);
    peer_end(&other);
    buf_free(&other.in);
    wire_free(&other.out);
}

/* A session of another primary does not make it yield. */
static void a_root_of_another_primary_is_locked(void **state)
{
    struct peer *p = *state;
    struct peer other = *p;
    memset(&other.in, 0, sizeof other.in);
    memset(&other.out, 0, sizeof other.out);
    other.id = 8;
    peer_open(p);
    peer_start(&other);
    peer_hello(&other);
    peer_send_open(&other, 1, other.root);
    assert_int_equal(site_error(&other, 1, "held by"), REASON_LOCKED);
    peer_end(&other);
    peer_end(p);
    buf_free(&other.in);
    wire_free(&other.out);
}

static void sigterm_ends_between_steps(void **state)
{
    struct peer *p = *state;
    peer_open(p);
    kill(p->pid, SIGTERM);
    peer_expect_error(p, REASON_YIELD);
}

static void limits_end_the_session(void **state)
{
    struct peer *p = *state;
    peer_open(p);
    for (int i = 0; i <= MSG_BATCHES_MAX; i++)
        peer_batch(p);
    peer_send(p);
    peer_expect_error(p, REASON_LIMIT);
    peer_open(p);
    peer_batch(p);
    struct entry f = a_file("", 0, 0644);
    char path[32];
    for (int i = 0; i <= MSG_ATOMS_MAX; i++) {
        snprintf(path, sizeof path, "%d", i);
        peer_put(p, path, &f, "");
    }
    peer_send(p);
    peer_expect_error(p, REASON_LIMIT);
    assert_absent(p, "0");
}

static void closed_sites_are_unknown(void **state)
{
    struct peer *p = *state;
    peer_open(p);
    peer_batch(p);
    msg_put_close(&p->out, &(struct msg_close){1});
    peer_send(p);
    peer_send_open(p, 1, p->root);
    peer_expect(p, MSG_OPENED);
    msg_put_close(&p->out, &(struct msg_close){1});
    msg_put_list(&p->out, &(struct msg_list){.site = 1});
    peer_send(p);
    peer_expect_error(p, REASON_MALFORMED);
}

/* What waits to be sent, packed: gives its place to one PACK. */
static void pack(struct peer *p, size_t less)
{
    struct zip *zip = zip_new(1);
    uint8_t *packed = mem_alloc(MSG_PACK_MAX);
    size_t n = zip_pack(zip, p->out.data, p->out.len - less, packed, MSG_PACK_MAX);
    assert_true(n > 0);
    wire_reset(&p->out);
    msg_put_pack(&p->out, &(struct msg_pack){{packed, n}});
    free(packed);
    zip_free(zip);
}

static void put_alike(struct peer *p, int files)
{
    struct entry e = a_file("same\n", 5, 0644), dir = a_dir(0755);
    peer_put(p, "d", &dir, NULL);
    for (int i = 0; i < files; i++) {
        char path[32];
        snprintf(path, sizeof path, "d/f%d", i);
        peer_put(p, path, &e, "same\n");
    }
}

static void packed_entries_come_in_their_order(void **state)
{
    struct peer *p = *state;
    struct entry e = a_file("same\n", 5, 0644);
    peer_open(p);
    peer_batch(p);
    peer_send(p);
    put_alike(p, 20);
    pack(p, 0);
    peer_put(p, "last", &e, "same\n");
    peer_commit_all(p);
    assert_file(p, "d/f0", "same\n", &e);
    assert_file(p, "d/f19", "same\n", &e);
    assert_file(p, "last", "same\n", &e);
    peer_end(p);
}

static void a_pack_holds_whole_entries_only(void **state)
{
    struct peer *p = *state;
    for (int i = 0; i < 4; i++) {
        peer_open(p);
        peer_batch(p);
        peer_send(p);
        put_alike(p, 20);
        if (i == 1)
            msg_put_commit(&p->out, &(struct msg_commit){p->batch});
        if (i == 2) {
            pack(p, 0);
            for (int n = 0; n < 20; n++) /* one in another, and enough of it to be packed */
                msg_put_pack(
                    &p->out, &(struct msg_pack){bytes_of("\x28\xb5\x2f\xfd-------------")});
        }
        pack(p, i == 0); /* the last byte is missing */
        if (i == 3)
            p->out.data[p->out.len - 1] ^= 1, p->out.data[FRAME_HEADER + 4] ^= 1;
        peer_send(p);
        peer_expect_error(p, REASON_MALFORMED);
        assert_absent(p, "d");
    }
}

/* The same as a BUNDLE, whose own numbers are given; those of its ENTRYs are counted from them. */
static void bundle(struct peer *p, uint32_t batch, uint32_t atom)
{
    struct frame f;
    struct zip *zip = zip_new(1);
    uint8_t packed[MSG_CHUNK_MAX];
    int length;
    for (size_t at = 0; at < p->out.len; at += (size_t)length) {
        uint32_t b, a;
        length = frame_next(p->out.data + at, p->out.len - at, &f);
        assert_true(length > 0);
        msg_entry_numbers(f.payload.data, &b, &a);
        msg_entry_renumber((uint8_t *)f.payload.data, b - batch, a - atom);
    }
    size_t n = zip_pack(zip, p->out.data, p->out.len, packed, MSG_BUNDLE_MAX);
    assert_true(n > 0);
    wire_reset(&p->out);
    msg_put_bundle(&p->out, &(struct msg_bundle){batch, atom, {packed, n}});
    zip_free(zip);
}

static void bundled_entries_are_counted_from_its_numbers(void **state)
{
    struct peer *p = *state;
    struct entry e = a_file("same\n", 5, 0644);
    peer_open(p);
    for (uint32_t i = 0; i < 3; i++) {
        peer_batch(p);
        peer_send(p);
        put_alike(p, 20);
        /* The ENTRYs' are smaller, equal, or (below zero, which wraps) larger than its own. */
        bundle(p, i == 0 ? 0 : p->batch, i == 2 ? UINT32_MAX : i);
        peer_commit_all(p);
        assert_file(p, "d/f0", "same\n", &e);
        assert_file(p, "d/f19", "same\n", &e);
    }
    peer_end(p);
}

static void a_bundle_of_a_batch_that_is_not_open_is_refused(void **state)
{
    struct peer *p = *state;
    peer_open(p);
    peer_batch(p);
    peer_send(p);
    put_alike(p, 20);
    bundle(p, p->batch, 1);
    p->out.data[FRAME_HEADER] ^= 4; /* another batch */
    peer_send(p);
    peer_expect_error(p, REASON_MALFORMED);
    assert_absent(p, "d");
}

/* Whole frames that are ENTRYs, but too short to have numbers. */
static void a_bundle_of_stubs_is_refused(void **state)
{
    struct peer *p = *state;
    struct zip *zip = zip_new(1);
    uint8_t stubs[700], packed[700];
    peer_open(p);
    for (size_t i = 0; i < sizeof stubs; i += FRAME_HEADER + 2)
        memcpy(stubs + i, (uint8_t[]){3, 0, 0, 0, MSG_ENTRY, 1, 0}, FRAME_HEADER + 2);
    size_t n = zip_pack(zip, stubs, sizeof stubs, packed, sizeof packed);
    assert_true(n > 0);
    msg_put_bundle(&p->out, &(struct msg_bundle){1, 1, {packed, n}});
    peer_send(p);
    peer_expect_error(p, REASON_MALFORMED);
    zip_free(zip);
}

static void there_is_no_bundle_in_version_2(void **state)
{
    struct peer *p = *state;
    p->version = 2;
    peer_open(p);
    peer_batch(p);
    peer_send(p);
    put_alike(p, 20);
    bundle(p, p->batch, 1);
    peer_send(p);
    peer_expect_error(p, REASON_MALFORMED);
    assert_absent(p, "d");
}

/* Opens with this number and what the primary remembers; the files whose content is not known, and
 * in *before what is remembered here. */
static uint64_t open_session(struct peer *p, uint64_t session, uint64_t known, uint64_t *before)
{
    p->session = session;
    p->known = known;
    struct msg_opened m = peer_open(p);
    peer_end(p);
    *before = m.session;
    return m.sums.unproven;
}

/* Content that nobody has read is counted as unproven; a memory that went back has it read. */
static void a_session_that_went_back_is_a_full_comparison(void **state)
{
    struct peer *p = *state;
    uint64_t before;
    assert_int_equal(mkdir(p->root, 0755), 0);
    write_file(p, "there", "x");
    assert_int_equal(open_session(p, 5, 0, &before), 1);
    assert_int_equal(before, 0);
    assert_int_equal(open_session(p, 9, 5, &before), 1); /* numbers may be left out */
    assert_int_equal(before, 5);
    assert_int_equal(open_session(p, 10, 5, &before), 1); /* the answer to 9 was lost */
    assert_int_equal(before, 9);
    assert_int_equal(open_session(p, 0, 0, &before), 1);   /* a dry run does not count */
    assert_int_equal(open_session(p, 12, 11, &before), 0); /* 11 was never here: put back */
    assert_int_equal(before, 10);
    write_file(p, "there", "y");
    assert_int_equal(open_session(p, 13, 12, &before), 0);
}

static void a_primary_that_went_back_is_a_full_comparison(void **state)
{
    struct peer *p = *state;
    uint64_t before;
    assert_int_equal(mkdir(p->root, 0755), 0);
    write_file(p, "there", "x");
    assert_int_equal(open_session(p, 20, 0, &before), 1);
    assert_int_equal(open_session(p, 20, 19, &before), 0); /* used before */
    assert_int_equal(before, 20);
    assert_int_equal(open_session(p, 3, 2, &before), 0);
    assert_int_equal(before, 20);
    assert_int_equal(open_session(p, 21, 20, &before), 0);
    assert_int_equal(before, 20); /* the higher number stayed */
    /* Another primary counts for itself. */
    p->id = 77;
    assert_int_equal(open_session(p, 1, 0, &before), 0);
    assert_int_equal(before, 0);
}

static struct msg_claimed claim(struct peer *p, uint32_t request, uint64_t epoch, bool take)
{
    struct msg_claimed m;
    msg_put_claim(&p->out, &(struct msg_claim){.request = request,
                               .name = bytes_of("s"),
                               .epoch = epoch,
                               .epoch_id = {{p->id}},
                               .take = take,
                               .primary = bytes_of("primary")});
    peer_send(p);
    assert_true(msg_get_claimed(peer_expect(p, MSG_CLAIMED), &m));
    assert_int_equal(m.request, request);
    return m;
}

/* An answer that was lost is given again, by another process, too: the epoch is raised once. */
static void a_site_is_taken_once(void **state)
{
    struct peer *p = *state;
    peer_start(p);
    peer_hello(p);
    struct msg_claimed first = claim(p, 1, 4, true);
    assert_int_equal(first.reason, REASON_NONE);
    assert_int_equal(first.epoch, 5);
    struct digest id = first.epoch_id;
    assert_int_equal(claim(p, 2, 4, true).epoch, 5);
    peer_kill(p);
    peer_start(p);
    peer_hello(p);
    struct msg_claimed again = claim(p, 1, 4, true);
    assert_int_equal(again.reason, REASON_NONE);
    assert_int_equal(again.epoch, 5);
    assert_memory_equal(again.epoch_id.b, id.b, sizeof id.b);
    /* The former primary's claim counts no more, and who is the primary is said. */
    struct msg_claimed late = claim(p, 2, 4, false);
    assert_int_equal(late.reason, REASON_FENCED);
    assert_int_equal(late.epoch, 5);
    assert_true(late.primary.len > 0);
    peer_end(p);
}

static void write_epoch(struct peer *p, uint64_t counter, uint8_t id)
{
    struct err err;
    struct epoch e = {.counter = counter, .id = {{id}}, .role = ROLE_SECONDARY, .primary = "other"};
    int dir = epochs_open(p->state, p->root, true, &err);
    assert_true(dir >= 0);
    assert_int_equal(epoch_write(dir, &e, &err), 0);
    close(dir);
}

/* An epoch that is written again, or put back from a snapshot, fences nobody; a later one, or
 * another host's, does at the next commit. */
static void a_promotion_meanwhile(void **state)
{
    struct peer *p = *state;
    struct entry f = a_file("x", 1, 0644);
    p->epoch = 3;
    assert_int_equal(mkdir(p->root, 0755), 0);
    peer_open(p);
    for (uint64_t counter = 3; counter >= 2; counter--) {
        write_epoch(p, counter, p->id);
        peer_batch(p);
        peer_put(p, counter == 3 ? "a" : "b", &f, "x");
        peer_commit_all(p);
    }
    write_epoch(p, 3, (uint8_t)(p->id + 1));
    peer_batch(p);
    peer_put(p, "c", &f, "x");
    msg_put_commit(&p->out, &(struct msg_commit){p->batch});
    peer_send(p);
    assert_int_equal(site_error(p, 1, "fenced: other was promoted"), REASON_FENCED);
    peer_end(p);
    assert_absent(p, "c");
}

/* The note once it says so, in the health note that the receiver keeps of the site. */
static struct health_note await_note(struct peer *p, bool (*says)(const struct health_note *n))
{
    struct err err;
    struct health_note n = {0};
    int dir = state_open_dir(p->state, p->root, &err);
    assert_true(dir >= 0);
    for (int i = 0; i < 3000 && !(health_note_read(dir, &n, &err) == 1 && says(&n)); i++)
        poll(NULL, 0, 10);
    close(dir);
    assert_true(says(&n));
    return n;
}

static bool says_three(const struct health_note *n)
{
    return n->state == HEALTH_OPEN && n->owed_paths == 3;
}

static bool says_one(const struct health_note *n)
{
    return n->state == HEALTH_OPEN && n->owed_paths == 1;
}

static bool says_level(const struct health_note *n)
{
    return n->state == HEALTH_OPEN && n->level;
}

static bool says_nothing_yet(const struct health_note *n)
{
    return n->state == HEALTH_OPEN && !n->told;
}

static bool says_closed(const struct health_note *n)
{
    return n->state == HEALTH_CLOSED;
}

static void send_owed(struct peer *p, uint64_t paths, uint64_t failing, uint64_t age_ms)
{
    msg_put_owed(&p->out, &(struct msg_owed){1, paths ? 0 : OWED_LEVEL, paths, failing, age_ms});
    peer_send(p);
}

static uint64_t age_of(const struct health_note *n)
{
    return (uint64_t)((int64_t)io_boot_ms() - n->owed_ms);
}

static void what_is_owed_is_noted(void **state)
{
    struct peer *p = *state;
    peer_open(p);
    assert_true(await_note(p, says_nothing_yet).filling);
    send_owed(p, 3, 1, 3600000);
    struct health_note n = await_note(p, says_three);
    assert_true(n.failing == 1 && !n.level && n.filling);
    assert_true(age_of(&n) >= 3600000);
    peer_end(p);
    n = await_note(p, says_closed); /* and is owed still */
    assert_int_equal(n.owed_paths, 3);
    peer_open(p);
    send_owed(p, 1, 0, 5); /* by a primary that does not know since when */
    n = await_note(p, says_one);
    assert_true(age_of(&n) >= 3600000);
    msg_put_level(&p->out, &(struct msg_level){1});
    peer_send(p);
    assert_false(await_note(p, says_level).filling);
    send_owed(p, 1, 0, 5);
    n = await_note(p, says_one);
    assert_true(age_of(&n) < 3600000);
    send_owed(p, 0, 0, 0);
    await_note(p, says_level);
    peer_end(p);
    peer_open(p); /* what was level then may not be now */
    await_note(p, says_nothing_yet);
    msg_put_owed(&p->out, &(struct msg_owed){.site = 2});
    peer_send(p);
    peer_expect_error(p, REASON_MALFORMED);
}

static void nothing_is_owed_in_version_1(void **state)
{
    struct peer *p = *state;
    p->version = 1;
    peer_open(p);
    send_owed(p, 0, 0, 0);
    peer_expect_error(p, REASON_MALFORMED);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, peer_make, peer_unmake)
    const struct CMUnitTest tests[] = {
        T(opens_a_new_root),
        T(tells_foreign_from_ours),
        T(a_dry_run_creates_nothing),
        T(lists_a_large_directory),
        T(lists_what_differs),
        T(answers_ping),
        T(refuses_other_versions),
        T(needs_hello_first),
        T(malformed_input_changes_nothing),
        T(a_stream_cut_within_a_message_is_an_error),
        T(refused_names_end_the_session),
        T(a_root_outside_the_fence_is_refused),
        T(what_this_host_excludes_is_agreed_on),
        T(only_the_last_directory_is_made),
        T(a_held_root_is_refused),
        T(a_root_of_another_primary_is_locked),
        T(sigterm_ends_between_steps),
        T(limits_end_the_session),
        T(closed_sites_are_unknown),
        T(packed_entries_come_in_their_order),
        T(a_pack_holds_whole_entries_only),
        T(bundled_entries_are_counted_from_its_numbers),
        T(a_bundle_of_a_batch_that_is_not_open_is_refused),
        T(a_bundle_of_stubs_is_refused),
        T(there_is_no_bundle_in_version_2),
        T(a_session_that_went_back_is_a_full_comparison),
        T(a_primary_that_went_back_is_a_full_comparison),
        T(a_site_is_taken_once),
        T(a_promotion_meanwhile),
        T(what_is_owed_is_noted),
        T(nothing_is_owed_in_version_1),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
