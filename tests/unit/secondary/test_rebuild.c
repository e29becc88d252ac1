/* Files made anew of their old ones by extents: what the primary is told and may ask, the orders
 * that it gives, and the wrong ones, which fail the atom and leave the file as it was. */
#include "peer.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "tree/content/delta.h"
#include "tree/content/digest.h"
#include "tree/content/extents.h"

enum { EXT = MSG_EXTENT, OLD = 6 * EXT + 1000 };

struct fixture {
    struct peer peer;
    char *old, *new;
    size_t length; /* of the new file */
    uint32_t atom;
    struct entry entry; /* of the new file */
};

static int setup(void **state)
{
    struct fixture *f = mem_alloc(sizeof *f);
    peer_setup(&f->peer);
    f->old = mem_alloc(OLD);
    f->new = mem_alloc(2 * OLD);
    uint64_t x = 1;
    for (size_t i = 0; i < OLD; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        f->old[i] = (char)(x >> 56);
    }
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    peer_cleanup(&f->peer);
    free(f->old);
    free(f->new);
    free(f);
    return 0;
}

static void put_content(struct fixture *f, const char *bytes, size_t n)
{
    for (size_t at = 0; at < n; at += 50000)
        peer_data(&f->peer, f->atom, DATA_CONTENT, bytes + at, n - at < 50000 ? n - at : 50000);
}

/* The old file is there, known to the secondary. */
static void begin(struct fixture *f)
{
    struct entry e = a_file(f->old, OLD, 0644);
    peer_open(&f->peer);
    peer_batch(&f->peer);
    f->atom = peer_entry(&f->peer, "f", &e, HOW_DATA, NULL);
    put_content(f, f->old, OLD);
    peer_finish(&f->peer, f->atom, &e);
    peer_commit_all(&f->peer);
}

/* More of the new file, which the orders make; from the old one. */
static void append(struct fixture *f, const char *bytes, size_t n)
{
    memcpy(f->new + f->length, bytes, n);
    f->length += n;
}

static void announce(struct fixture *f)
{
    f->entry = a_file(f->new, f->length, 0600);
    peer_batch(&f->peer);
    f->atom = peer_entry(&f->peer, "f", &f->entry, HOW_DELTA, NULL);
    peer_send(&f->peer);
}

static void put_range(struct fixture *f, uint8_t use, uint64_t offset, uint64_t length)
{
    msg_put_range(&f->peer.out, &(struct msg_range){f->atom, use, offset, length});
}

/* All EXTENTS; how many there were. */
static size_t take_extents(struct fixture *f, struct msg_extent *out, size_t most)
{
    struct msg_extents m;
    size_t n = 0;
    do {
        assert_true(msg_get_extents(peer_expect(&f->peer, MSG_EXTENTS), &m));
        assert_int_equal(m.atom, f->atom);
        assert_int_equal(m.size, OLD);
        struct wire_reader r = wire_reader_of(m.items.data, m.items.len);
        while (r.pos < r.len) {
            assert_true(n < most);
            msg_extent_decode(&r, &out[n++]);
        }
    } while (!m.last);
    return n;
}

static void skip_extents(struct fixture *f)
{
    struct msg_extent all[16];
    take_extents(f, all, 16);
}

static void assert_done(struct fixture *f)
{
    peer_finish(&f->peer, f->atom, &f->entry);
    peer_commit_all(&f->peer);
    assert_file(&f->peer, "f", f->new, &f->entry);
}

/* ---- what is told ---- */

static void the_old_files_extents(void **state)
{
    struct fixture *f = *state;
    struct msg_extent got[16], want;
    struct gear gear;
    gear_init(&gear);
    begin(f);
    append(f, f->old, OLD);
    announce(f);
    assert_int_equal(take_extents(f, got, 16), 7);
    for (size_t i = 0; i < 7; i++) {
        extent_of(&gear, f->old + i * EXT, i < 6 ? EXT : 1000, &want);
        assert_memory_equal(&got[i].digest, &want.digest, sizeof want.digest);
        assert_true(got[i].anchor == want.anchor);
    }
    put_range(f, RANGE_COPY, 0, OLD);
    assert_done(f);
    peer_end(&f->peer);
}

/* A small file, or a much smaller new one, is librsync's alone. */
static void small_files_have_a_signature(void **state)
{
    struct fixture *f = *state;
    struct msg_signature s;
    begin(f);
    append(f, f->old, EXTENTS_MIN_SIZE - 1);
    announce(f);
    do
        assert_true(msg_get_signature(peer_expect(&f->peer, MSG_SIGNATURE), &s));
    while (!s.last);
    put_range(f, RANGE_COPY, 0, 1); /* has no place here */
    struct ack *ack = mem_alloc(sizeof *ack);
    peer_commit(&f->peer, ack);
    assert_int_equal(ack->failures, 1);
    assert_int_equal(ack->reasons[0], REASON_NEED_CONTENT);
    free(ack);
    peer_end(&f->peer);
}

/* ---- orders ---- */

static void in_place(void **state)
{
    struct fixture *f = *state;
    begin(f);
    append(f, f->old, 2 * EXT);
    append(f, "edited", 6);
    append(f, f->old + 2 * EXT + 6, OLD - 2 * EXT - 6);
    append(f, "appended", 8);
    announce(f);
    skip_extents(f);
    put_range(f, RANGE_COPY, 0, 2 * EXT);
    put_content(f, "edited", 6);
    put_range(f, RANGE_COPY, 2 * EXT + 6, EXT - 6);
    put_range(f, RANGE_COPY, 3 * EXT, OLD - 3 * EXT);
    put_content(f, "appended", 8);
    assert_done(f);
    peer_end(&f->peer);
}

/* Content goes where the threads have not been, or are right now; again and again. */
static void in_the_way_of_the_readers(void **state)
{
    struct fixture *f = *state;
    begin(f);
    for (int i = 0; i < 20; i++) {
        f->length = 0;
        append(f, f->old, 100 + (size_t)i * 50000);
        append(f, f->old, OLD);
        announce(f); /* and without waiting for what it says */
        put_content(f, f->old, 100 + (size_t)i * 50000);
        put_range(f, RANGE_COPY, 0, OLD);
        peer_finish(&f->peer, f->atom, &f->entry);
        peer_send(&f->peer);
        skip_extents(f);
        peer_commit_all(&f->peer);
        assert_file(&f->peer, "f", f->new, &f->entry);
        struct entry e = a_file(f->old, OLD, 0644);
        peer_batch(&f->peer);
        f->atom = peer_entry(&f->peer, "f", &e, HOW_DATA, NULL);
        put_content(f, f->old, OLD);
        peer_finish(&f->peer, f->atom, &e);
        peer_commit_all(&f->peer);
    }
    peer_end(&f->peer);
}

static void cut_and_moved(void **state)
{
    struct fixture *f = *state;
    begin(f);
    append(f, f->old + 4 * EXT, EXT);
    append(f, f->old + 77, 3 * EXT);
    append(f, f->old + 3 * EXT, 1000);
    announce(f);
    skip_extents(f);
    put_range(f, RANGE_COPY, 4 * EXT, EXT);
    put_range(f, RANGE_COPY, 77, 3 * EXT);
    put_range(f, RANGE_COPY, 3 * EXT, 1000);
    assert_done(f);
    peer_end(&f->peer);
}

/* Of this part of the new file against that range, whose signature is the next to come. */
static void put_delta(struct fixture *f, uint64_t from, uint64_t range, size_t at, size_t n)
{
    struct delta_make *make = delta_make_new();
    struct msg_signature s;
    struct err err;
    do {
        assert_true(msg_get_signature(peer_expect(&f->peer, MSG_SIGNATURE), &s));
        assert_false(s.none);
        assert_int_equal(
            delta_make_signature(make, s.content.data, s.content.len, s.last, &err), 0);
    } while (!s.last);
    put_range(f, RANGE_BASE, from, range);
    char out[32768];
    int more;
    do {
        size_t used = 0, made = 0;
        more = delta_make_step(make, f->new + at, n, true, &used, out, sizeof out, &made, &err);
        assert_true(more >= 0);
        at += used;
        n -= used;
        if (made)
            peer_data(&f->peer, f->atom, DATA_DELTA, out, made);
    } while (more == DELTA_MORE);
    delta_make_free(make);
}

static void deltas_of_ranges(void **state)
{
    struct fixture *f = *state;
    begin(f);
    append(f, f->old, EXT + 5000);
    append(f, "inserted", 8);
    append(f, f->old + EXT + 5000, 2 * EXT - 5000);
    append(f, "again", 5);
    append(f, f->old + 3 * EXT, OLD - 3 * EXT);
    announce(f);
    skip_extents(f);
    put_range(f, RANGE_SIGN, EXT, EXT);
    put_range(f, RANGE_SIGN, 3 * EXT, EXT);
    put_range(f, RANGE_COPY, 0, EXT);
    peer_send(&f->peer);
    put_delta(f, EXT, EXT, EXT, EXT + 8);
    put_range(f, RANGE_COPY, 2 * EXT, EXT);
    put_delta(f, 3 * EXT, EXT, 3 * EXT + 8, EXT + 5);
    put_range(f, RANGE_COPY, 4 * EXT, OLD - 4 * EXT);
    assert_done(f);
    peer_end(&f->peer);
}

/* More than are read at once: the others wait, and are answered, too. */
static void many_at_once(void **state)
{
    enum { FILES = 10 };
    struct fixture *f = *state;
    struct entry e = a_file(f->old, OLD, 0644);
    char names[FILES][8];
    uint32_t atoms[FILES];
    unsigned last = 0;
    begin(f);
    peer_batch(&f->peer);
    for (int i = 0; i < FILES; i++) {
        snprintf(names[i], sizeof names[i], "f%d", i);
        peer_entry(&f->peer, names[i], &e, HOW_COPY, "f");
    }
    peer_commit_all(&f->peer);
    append(f, "more", 4);
    append(f, f->old, OLD);
    f->entry = a_file(f->new, f->length, 0600);
    peer_batch(&f->peer);
    for (int i = 0; i < FILES; i++) {
        f->atom = atoms[i] = peer_entry(&f->peer, names[i], &f->entry, HOW_DELTA, NULL);
        put_content(f, "more", 4); /* before it is its turn */
    }
    peer_send(&f->peer);
    while (last < FILES) {
        struct msg_extents m;
        assert_true(msg_get_extents(peer_expect(&f->peer, MSG_EXTENTS), &m));
        assert_true(m.atom >= atoms[0] && m.atom <= atoms[FILES - 1]);
        last += m.last;
    }
    for (int i = 0; i < FILES; i++) {
        f->atom = atoms[i];
        put_range(f, RANGE_COPY, 0, OLD);
        peer_finish(&f->peer, f->atom, &f->entry);
    }
    peer_commit_all(&f->peer);
    for (int i = 0; i < FILES; i++)
        assert_file(&f->peer, names[i], f->new, &f->entry);
    peer_end(&f->peer);
}

/* ---- wrong orders ---- */

enum wrong {
    BEYOND_THE_END,
    FAR_BEYOND,
    SIGN_BEYOND,
    TOO_MUCH_COPIED,
    TOO_MUCH_CONTENT,
    DELTA_WITHOUT_BASE,
    DELTA_BEYOND_ITS_RANGE,
    DELTA_WITHOUT_END,
    BASE_WITHIN_A_DELTA,
    TOO_LITTLE,
    OTHER_CONTENT,
    WRONGS,
};

static void put_wrong(struct fixture *f, enum wrong wrong)
{
    static const char magic[] = "rs\2\x36";
    switch (wrong) {
    case BEYOND_THE_END: put_range(f, RANGE_COPY, OLD - 10, 11); break;
    case FAR_BEYOND: put_range(f, RANGE_COPY, INT64_MAX, INT64_MAX); break;
    case SIGN_BEYOND: put_range(f, RANGE_SIGN, OLD, 1); break;
    case TOO_MUCH_COPIED:
        put_range(f, RANGE_COPY, 0, OLD);
        put_range(f, RANGE_COPY, 0, OLD);
        break;
    case TOO_MUCH_CONTENT:
        put_range(f, RANGE_COPY, 0, OLD);
        put_content(f, "x", 1);
        break;
    case DELTA_WITHOUT_BASE: peer_data(&f->peer, f->atom, DATA_DELTA, magic, 4); break;
    case DELTA_BEYOND_ITS_RANGE:
        put_range(f, RANGE_BASE, 0, 100);
        peer_data(&f->peer, f->atom, DATA_DELTA, "rs\2\x36\x45\0\x65\0", 8); /* 101 bytes */
        break;
    case DELTA_WITHOUT_END:
        put_range(f, RANGE_BASE, 0, 100);
        peer_data(&f->peer, f->atom, DATA_DELTA, magic, 4);
        put_range(f, RANGE_COPY, 0, 1);
        break;
    case BASE_WITHIN_A_DELTA:
        put_range(f, RANGE_BASE, 0, 100);
        put_range(f, RANGE_BASE, 0, 100);
        break;
    case TOO_LITTLE: put_range(f, RANGE_COPY, 0, OLD - 1); break;
    case OTHER_CONTENT:
        put_range(f, RANGE_COPY, EXT, EXT);
        put_range(f, RANGE_COPY, EXT, OLD - EXT);
        break;
    case WRONGS: break;
    }
}

static void wrong_orders(void **state)
{
    struct fixture *f = *state;
    struct entry before = a_file(f->old, OLD, 0644);
    struct ack *ack = mem_alloc(sizeof *ack);
    begin(f);
    append(f, f->old, OLD);
    for (enum wrong w = 0; w < WRONGS; w++) {
        announce(f);
        skip_extents(f);
        put_wrong(f, w);
        if (w != SIGN_BEYOND) /* also in vain */
            put_range(f, RANGE_SIGN, 0, 1000);
        peer_finish(&f->peer, f->atom, &f->entry);
        peer_send_commit(&f->peer);
        struct msg_signature s;
        do
            assert_true(msg_get_signature(peer_expect(&f->peer, MSG_SIGNATURE), &s));
        while (!s.last);
        peer_await_ack(&f->peer, ack);
        assert_int_equal(ack->failures, 1);
        assert_int_equal(ack->atoms[0], f->atom);
        assert_int_equal(ack->reasons[0], REASON_NEED_CONTENT);
        assert_file(&f->peer, "f", f->old, &before);
    }
    assert_int_equal(staged_count(&f->peer), 0);
    free(ack);
    peer_end(&f->peer);
}

/* It fails before all extents are out: the rest is not owed, but the end is. */
static void wrong_at_once(void **state)
{
    struct fixture *f = *state;
    struct ack *ack = mem_alloc(sizeof *ack);
    begin(f);
    append(f, f->old, OLD);
    f->entry = a_file(f->new, f->length, 0600);
    peer_batch(&f->peer);
    f->atom = peer_entry(&f->peer, "f", &f->entry, HOW_DELTA, NULL);
    put_range(f, RANGE_SIGN, 0, 1000);
    put_range(f, RANGE_COPY, OLD, 1);
    put_range(f, RANGE_SIGN, 0, 1000);
    peer_send(&f->peer);
    struct msg_signature s;
    struct msg_extents m;
    assert_true(msg_get_signature(peer_expect(&f->peer, MSG_SIGNATURE), &s));
    assert_true(s.last && s.none);
    assert_true(msg_get_extents(peer_expect(&f->peer, MSG_EXTENTS), &m));
    assert_true(m.last && m.items.len == 0);
    assert_true(msg_get_signature(peer_expect(&f->peer, MSG_SIGNATURE), &s));
    assert_true(s.last && s.none);
    peer_finish(&f->peer, f->atom, &f->entry);
    peer_commit(&f->peer, ack);
    assert_int_equal(ack->failures, 1);
    free(ack);
    peer_end(&f->peer);
}

static void too_many_questions(void **state)
{
    struct fixture *f = *state;
    begin(f);
    append(f, f->old, OLD);
    f->entry = a_file(f->new, f->length, 0600);
    peer_batch(&f->peer);
    f->atom = peer_entry(&f->peer, "f", &f->entry, HOW_DELTA, NULL);
    for (int i = 0; i <= MSG_RANGES_MAX; i++)
        put_range(f, RANGE_SIGN, 0, OLD);
    peer_send(&f->peer);
    peer_expect_error(&f->peer, REASON_LIMIT);
}

static void aborted(void **state)
{
    struct fixture *f = *state;
    struct entry before = a_file(f->old, OLD, 0644);
    begin(f);
    append(f, f->old, OLD);
    f->entry = a_file(f->new, f->length, 0600);
    peer_batch(&f->peer);
    f->atom = peer_entry(&f->peer, "f", &f->entry, HOW_DELTA, NULL);
    put_range(f, RANGE_COPY, 0, OLD);
    put_range(f, RANGE_SIGN, 0, OLD);
    msg_put_abort(&f->peer.out, &(struct msg_abort){f->atom});
    peer_commit_all(&f->peer);
    assert_file(&f->peer, "f", f->old, &before);
    assert_int_equal(staged_count(&f->peer), 0);
    peer_end(&f->peer);
}

/* ---- against a file that the primary knows ---- */

/* `base` is the content that the secondary is thought to have. */
static void announce_based(struct fixture *f, const char *base, size_t n)
{
    struct digest digest;
    struct wire_writer *out = &f->peer.out;
    f->entry = a_file(f->new, f->length, 0600);
    digest_of(base, n, &digest);
    peer_batch(&f->peer);
    f->atom = ++f->peer.atom;
    msg_put_entry(out, &(struct msg_entry){.batch = f->peer.batch,
                           .atom = f->atom,
                           .path = bytes_of("f"),
                           .how = HOW_BASED,
                           .entry = f->entry,
                           .content = {digest.b, sizeof digest.b}});
}

/* Nothing is said of the old file: what comes next after the orders is the ACK. */
static void without_a_question(void **state)
{
    struct fixture *f = *state;
    begin(f);
    append(f, f->old, 2 * EXT);
    append(f, "edited", 6);
    append(f, f->old + 2 * EXT + 6, OLD - 2 * EXT - 6);
    append(f, f->old + 77, 3 * EXT);
    announce_based(f, f->old, OLD);
    put_range(f, RANGE_COPY, 0, 2 * EXT);
    put_content(f, "edited", 6);
    put_range(f, RANGE_COPY, 2 * EXT + 6, OLD - 2 * EXT - 6);
    put_range(f, RANGE_COPY, 77, 3 * EXT);
    peer_finish(&f->peer, f->atom, &f->entry);
    struct ack *ack = mem_alloc(sizeof *ack);
    peer_commit(&f->peer, ack);
    assert_int_equal(ack->failures, 0);
    free(ack);
    assert_file(&f->peer, "f", f->new, &f->entry);
    peer_end(&f->peer);
}

/* Questions for signatures are answered all the same, and what was committed last is what counts.
 */
static void one_version_after_the_other(void **state)
{
    struct fixture *f = *state;
    begin(f);
    append(f, f->old, EXT + 5000);
    append(f, "inserted", 8);
    append(f, f->old + EXT + 5000, OLD - EXT - 5000);
    announce_based(f, f->old, OLD);
    put_range(f, RANGE_SIGN, EXT, EXT);
    put_range(f, RANGE_COPY, 0, EXT);
    peer_send(&f->peer);
    put_delta(f, EXT, EXT, EXT, EXT + 8);
    put_range(f, RANGE_COPY, 2 * EXT, OLD - 2 * EXT);
    assert_done(f);
    char *base CLEANUP_FREE = mem_copy_bytes(f->new, f->length);
    size_t length = f->length;
    append(f, "appended", 8);
    announce_based(f, base, length);
    put_range(f, RANGE_COPY, 0, length);
    put_content(f, "appended", 8);
    assert_done(f);
    peer_end(&f->peer);
}

/* Refused at once, whatever else comes; the ACK says so, too. */
static void assert_refused(struct fixture *f)
{
    struct msg_extents m;
    struct ack *ack = mem_alloc(sizeof *ack);
    put_range(f, RANGE_COPY, 0, OLD);
    put_content(f, "more", 4);
    peer_finish(&f->peer, f->atom, &f->entry);
    peer_send_commit(&f->peer);
    assert_true(msg_get_extents(peer_expect(&f->peer, MSG_EXTENTS), &m));
    assert_int_equal(m.atom, f->atom);
    assert_true(m.last && m.items.len == 0);
    peer_await_ack(&f->peer, ack);
    assert_int_equal(ack->failures, 1);
    assert_int_equal(ack->reasons[0], REASON_NEED_CONTENT);
    free(ack);
}

static void another_file_is_there(void **state)
{
    struct fixture *f = *state;
    struct entry before = a_file(f->old, OLD, 0644);
    begin(f);
    append(f, f->old, OLD);
    append(f, "more", 4);
    announce_based(f, f->old + 1, OLD - 1);
    assert_refused(f);
    assert_file(&f->peer, "f", f->old, &before);
    assert_int_equal(staged_count(&f->peer), 0);
    peer_end(&f->peer);
}

/* Somebody wrote to it there: of the right length, and with the right time even. */
static void it_was_changed_there(void **state)
{
    struct fixture *f = *state;
    char path[2 * PEER_PATH];
    struct stat st;
    begin(f);
    snprintf(path, sizeof path, "%s/f", f->peer.root);
    assert_int_equal(stat(path, &st), 0);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "drift", 5, EXT), 5);
    struct timespec times[2] = {st.st_atim, st.st_mtim};
    assert_int_equal(futimens(fd, times), 0);
    close(fd);
    append(f, f->old, OLD);
    append(f, "more", 4);
    announce_based(f, f->old, OLD);
    assert_refused(f);
    peer_end(&f->peer);
}

static void nothing_is_there(void **state)
{
    struct fixture *f = *state;
    begin(f);
    peer_batch(&f->peer);
    peer_delete(&f->peer, "f");
    peer_commit_all(&f->peer);
    append(f, f->old, OLD);
    append(f, "more", 4);
    announce_based(f, f->old, OLD);
    assert_refused(f);
    peer_end(&f->peer);
}

static void not_in_version_1(void **state)
{
    struct fixture *f = *state;
    f->peer.version = 1;
    begin(f);
    append(f, f->old, OLD);
    announce_based(f, f->old, OLD);
    peer_send(&f->peer);
    peer_expect_error(&f->peer, REASON_MALFORMED);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(the_old_files_extents),
        T(small_files_have_a_signature),
        T(in_place),
        T(in_the_way_of_the_readers),
        T(cut_and_moved),
        T(deltas_of_ranges),
        T(many_at_once),
        T(wrong_orders),
        T(wrong_at_once),
        T(too_many_questions),
        T(aborted),
        T(without_a_question),
        T(one_version_after_the_other),
        T(another_file_is_there),
        T(it_was_changed_there),
        T(nothing_is_there),
        T(not_in_version_1),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
