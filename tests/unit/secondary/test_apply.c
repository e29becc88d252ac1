/* Batches applied: every kind of atom, alone and together, and what they leave on the disk. */
#include "peer.h"

#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "tree/content/delta.h"
#include "tree/content/zip.h"
#include "tree/manifest/sound.h"
#include "tree/state/state.h"

/* Bytes that differ everywhere and do not compress to nothing. */
static char *some_content(size_t n, unsigned seed)
{
    char *content = mem_alloc(n + 1);
    uint64_t x = seed + 1;
    for (size_t i = 0; i < n; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        content[i] = (char)(x >> 56);
    }
    return content;
}

/* The manifest agrees with the disk: a new session finds nothing to read again, and everything
 * that was committed is still known as such (nothing foreign). */
static void assert_known(struct peer *p, uint64_t entries)
{
    peer_end(p);
    struct msg_opened m = peer_open(p);
    assert_int_equal(m.sums.entries, entries);
    assert_int_equal(m.sums.unproven, 0);
    assert_int_equal(staged_count(p), 0);
}

static void first_batch_with_nested_directories(void **state)
{
    struct peer *p = *state;
    struct entry root = a_dir(0750), d = a_dir(0755), closed = a_dir(0555);
    struct entry f = a_file("hello", 5, 0640), empty = a_file("", 0, 0444),
                 l = a_link("../nowhere");
    peer_open(p);
    peer_batch(p);
    peer_put(p, "", &root, NULL);
    peer_put(p, "a", &d, NULL);
    peer_put(p, "a/b", &d, NULL);
    peer_put(p, "a/b/c", &closed, NULL);
    peer_put(p, "a/b/c/file", &f, "hello");
    peer_put(p, "a/b/link", &l, NULL);
    peer_put(p, "a/empty", &empty, "");
    peer_put(p, "top", &f, "hello");
    peer_commit_all(p);
    assert_dir(p, "", &root);
    assert_dir(p, "a", &d);
    assert_dir(p, "a/b", &d);
    assert_dir(p, "a/b/c", &closed);
    assert_file(p, "a/b/c/file", "hello", &f);
    assert_link(p, "a/b/link", &l);
    assert_file(p, "a/empty", "", &empty);
    assert_file(p, "top", "hello", &f);
    assert_known(p, 7);
    peer_end(p);
}

/* Children may come before what contains them, and beneath what another batch made. */
static void order_within_a_batch_does_not_matter(void **state)
{
    struct peer *p = *state;
    struct entry d = a_dir(0755), f = a_file("x", 1, 0644);
    peer_open(p);
    peer_batch(p);
    peer_put(p, "a/b/file", &f, "x");
    peer_put(p, "a/b", &d, NULL);
    peer_put(p, "a", &d, NULL);
    peer_put(p, "a/late", &f, "x");
    peer_commit_all(p);
    /* Two batches on their way at once. */
    peer_batch(p);
    peer_put(p, "n", &d, NULL);
    peer_put(p, "n/one", &f, "x");
    peer_send_commit(p);
    peer_batch(p);
    peer_put(p, "n", &d, NULL);
    peer_put(p, "n/one", &f, "x");
    peer_put(p, "n/two", &f, "x");
    peer_send(p);
    peer_expect(p, MSG_ACK);
    peer_commit_all(p);
    assert_file(p, "a/b/file", "x", &f);
    assert_file(p, "a/late", "x", &f);
    assert_file(p, "n/one", "x", &f);
    assert_file(p, "n/two", "x", &f);
    assert_dir(p, "n", &d);
    assert_int_equal(foreign_count(p, "n/one"), 0);
    assert_known(p, 7);
    peer_end(p);
}

static void parents_keep_their_times(void **state)
{
    struct peer *p = *state;
    struct entry root = a_dir(0755), d = a_dir(0711), f = a_file("x", 1, 0644);
    struct entry g = a_file("yy", 2, 0600);
    peer_open(p);
    peer_batch(p);
    peer_put(p, "", &root, NULL);
    peer_put(p, "d", &d, NULL);
    peer_put(p, "d/f", &f, "x");
    peer_commit_all(p);
    peer_batch(p);
    peer_put(p, "d/f", &g, "yy");
    peer_put(p, "d/new", &f, "x");
    peer_put(p, "top", &f, "x");
    peer_commit_all(p);
    assert_dir(p, "d", &d);
    assert_dir(p, "", &root);
    peer_batch(p);
    peer_delete(p, "d/new");
    peer_delete(p, "top");
    peer_move(p, "d/f", "moved");
    peer_commit_all(p);
    assert_dir(p, "d", &d);
    assert_dir(p, "", &root);
    assert_file(p, "moved", "yy", &g);
    assert_known(p, 2);
    peer_end(p);
}

static void packed_and_streamed_content(void **state)
{
    struct peer *p = *state;
    size_t n = 300000;
    char *content = some_content(n, 1);
    char *zeros = mem_alloc(MSG_CHUNK_MAX);
    uint8_t *packed = mem_alloc(MSG_CHUNK_MAX);
    struct zip *zip = zip_new(1);
    size_t m = zip_pack(zip, zeros, MSG_CHUNK_MAX, packed, MSG_CHUNK_MAX);
    assert_true(m > 0);
    struct entry big = a_file(content, n, 0644), z = a_file(zeros, MSG_CHUNK_MAX, 0644);
    struct entry unknown = big;
    unknown.has_digest = false;
    unknown.digest = (struct digest){0};
    peer_open(p);
    peer_batch(p);
    struct msg_entry packed_entry = {.batch = p->batch,
        .atom = ++p->atom,
        .path = bytes_of("z"),
        .how = HOW_INLINE,
        .encoding = ENCODING_ZSTD,
        .entry = z,
        .content = {packed, m}};
    msg_put_entry(&p->out, &packed_entry);
    uint32_t a = peer_entry(p, "big", &unknown, HOW_DATA, NULL);
    uint32_t b = peer_entry(p, "big2", &big, HOW_DATA, NULL);
    for (size_t at = 0; at < n; at += 50000) { /* interleaved */
        peer_data(p, a, DATA_CONTENT, content + at, 50000);
        peer_data(p, b, DATA_CONTENT, content + at, 50000);
    }
    peer_finish(p, a, &big);
    peer_finish(p, b, &big);
    peer_commit_all(p);
    assert_file(p, "z", zeros, &z);
    assert_file(p, "big", content, &big);
    assert_file(p, "big2", content, &big);
    assert_known(p, 3);
    zip_free(zip);
    free(content);
    free(zeros);
    free(packed);
    peer_end(p);
}

/* The primary's part of a delta: takes the signature, sends what differs. */
static void send_delta(struct peer *p, uint32_t atom, const char *content, size_t n)
{
    struct delta_make *make = delta_make_new();
    struct msg_signature s;
    struct err err;
    do {
        assert_true(msg_get_signature(peer_expect(p, MSG_SIGNATURE), &s));
        assert_int_equal(s.atom, atom);
        assert_false(s.none);
        assert_int_equal(
            delta_make_signature(make, s.content.data, s.content.len, s.last, &err), 0);
    } while (!s.last);
    char out[32768];
    size_t at = 0, sent = 0;
    int more;
    do {
        size_t used = 0, made = 0;
        more =
            delta_make_step(make, content + at, n - at, true, &used, out, sizeof out, &made, &err);
        assert_true(more >= 0);
        at += used;
        sent += made;
        if (made)
            peer_data(p, atom, DATA_DELTA, out, made);
    } while (more == DELTA_MORE);
    assert_true(sent < n / 4);
    delta_make_free(make);
}

static void deltas(void **state)
{
    struct peer *p = *state;
    size_t n = 700000;
    char *content = some_content(n, 2);
    struct entry e = a_file(content, n, 0644);
    peer_open(p);
    peer_batch(p);
    /* Nothing there: content after all. */
    uint32_t atom = peer_entry(p, "f", &e, HOW_DELTA, NULL);
    peer_send(p);
    struct msg_signature s;
    assert_true(msg_get_signature(peer_expect(p, MSG_SIGNATURE), &s));
    assert_true(s.none && s.last && s.atom == atom);
    for (size_t at = 0; at < n; at += 50000)
        peer_data(p, atom, DATA_CONTENT, content + at, 50000);
    peer_finish(p, atom, &e);
    peer_commit_all(p);
    content[1000] ^= 1;
    memmove(content + 300000, content + 300010, n - 300010);
    e = a_file(content, n, 0600);
    peer_batch(p);
    atom = peer_entry(p, "f", &e, HOW_DELTA, NULL);
    peer_send(p);
    send_delta(p, atom, content, n);
    peer_finish(p, atom, &e);
    peer_commit_all(p);
    assert_file(p, "f", content, &e);
    assert_known(p, 1);
    peer_end(p);
    free(content);
}

/* What was sent is not what arrived, and nothing but the end's digest tells. */
static void content_of_another_digest(void **state)
{
    struct peer *p = *state;
    struct entry e = a_file("good", 4, 0644), unknown = e;
    struct ack *ack = mem_alloc(sizeof *ack);
    unknown.has_digest = false;
    peer_open(p);
    for (int turn = 0; turn < 2; turn++) { /* a new file, one that is there */
        peer_batch(p);
        uint32_t atom = peer_entry(p, "f", &unknown, HOW_DATA, NULL);
        peer_data(p, atom, DATA_CONTENT, "evil", 4);
        peer_finish(p, atom, &e);
        peer_commit(p, ack);
        assert_int_equal(ack->failures, 1);
        assert_int_equal(ack->reasons[0], REASON_NEED_CONTENT);
        if (turn)
            assert_file(p, "f", "good", &e);
        else
            assert_absent(p, "f");
        peer_batch(p);
        peer_put(p, "f", &e, "good");
        peer_commit_all(p);
    }
    free(ack);
    peer_end(p);
}

static void copies(void **state)
{
    struct peer *p = *state;
    size_t n = 400000;
    char *content = some_content(n, 3);
    struct entry e = a_file(content, n, 0644), other = a_file(content, n, 0600), wrong = e;
    struct ack *ack = mem_alloc(sizeof *ack);
    wrong.digest.b[0] ^= 1;
    peer_open(p);
    peer_batch(p);
    uint32_t atom = peer_entry(p, "f", &e, HOW_DATA, NULL);
    for (size_t at = 0; at < n; at += 50000)
        peer_data(p, atom, DATA_CONTENT, content + at, 50000);
    peer_finish(p, atom, &e);
    peer_commit_all(p);
    peer_batch(p);
    peer_entry(p, "copy", &other, HOW_COPY, "f");
    uint32_t none = peer_entry(p, "none", &e, HOW_COPY, "missing");
    uint32_t bad = peer_entry(p, "bad", &wrong, HOW_COPY, "f");
    peer_commit(p, ack);
    assert_int_equal(ack->failures, 2);
    assert_int_equal(ack->atoms[0], none);
    assert_int_equal(ack->atoms[1], bad);
    assert_int_equal(ack->reasons[0], REASON_NEED_CONTENT);
    assert_int_equal(ack->reasons[1], REASON_NEED_CONTENT);
    assert_file(p, "copy", content, &other);
    assert_file(p, "f", content, &e);
    assert_absent(p, "none");
    assert_absent(p, "bad");
    struct stat a, b;
    assert_int_equal(stat(on_root(p, "f"), &a), 0);
    assert_int_equal(stat(on_root(p, "copy"), &b), 0);
    assert_true(a.st_ino != b.st_ino);
    assert_known(p, 2);
    peer_end(p);
    free(ack);
    free(content);
}

static void moves(void **state)
{
    struct peer *p = *state;
    struct entry d = a_dir(0755), f = a_file("one", 3, 0644), g = a_file("two", 3, 0644);
    struct entry l = a_link("t");
    peer_open(p);
    peer_batch(p);
    peer_put(p, "d", &d, NULL);
    peer_put(p, "d/sub", &d, NULL);
    peer_put(p, "d/sub/f", &f, "one");
    peer_put(p, "d/l", &l, NULL);
    peer_put(p, "g", &g, "two");
    peer_put(p, "h", &f, "one");
    peer_commit_all(p);
    struct stat before, after;
    assert_int_equal(stat(on_root(p, "d/sub/f"), &before), 0);
    peer_batch(p);
    peer_move(p, "d", "e");                      /* a directory */
    peer_put(p, "e", &d, NULL);                  /* … whose entry comes, too */
    peer_put(p, "e/sub/new", &g, "two");         /* … with something new inside */
    peer_entry(p, "e/sub/f", &g, HOW_COPY, "g"); /* … and something changed */
    peer_put(p, "d", &d, NULL);                  /* … and a new one at its old name */
    peer_put(p, "d/x", &f, "one");
    peer_move(p, "g", "deep/er/g"); /* a file into directories of this batch */
    peer_put(p, "deep", &d, NULL);
    peer_put(p, "deep/er", &d, NULL);
    peer_put(p, "g", &f, "one"); /* … and a new one at its old name */
    peer_commit_all(p);
    assert_file(p, "e/sub/f", "two", &g);
    assert_file(p, "e/sub/new", "two", &g);
    assert_link(p, "e/l", &l);
    assert_file(p, "d/x", "one", &f);
    assert_absent(p, "d/sub");
    assert_file(p, "deep/er/g", "two", &g);
    assert_file(p, "g", "one", &f);
    assert_dir(p, "e", &d);
    assert_dir(p, "deep/er", &d);
    peer_batch(p);
    peer_move(p, "e/l", "l2");
    peer_move(p, "h", "g");         /* over another file */
    peer_move(p, "e/sub", "s/t/u"); /* a directory into directories of this batch */
    peer_put(p, "s", &d, NULL);
    peer_put(p, "s/t", &d, NULL);
    peer_commit_all(p);
    assert_link(p, "l2", &l);
    assert_absent(p, "e/l");
    assert_absent(p, "h");
    assert_absent(p, "e/sub");
    assert_file(p, "g", "one", &f);
    assert_file(p, "s/t/u/f", "two", &g);
    assert_int_equal(stat(on_root(p, "s/t/u/new"), &after), 0);
    assert_int_equal(foreign_count(p, "g"), 0);
    assert_known(p, 13);
    /* Without content, or with other content than it should have. */
    struct ack *ack = mem_alloc(sizeof *ack);
    write_file(p, "g", "local");
    peer_batch(p);
    peer_move(p, "missing", "m1");
    peer_move(p, "g", "m2");
    peer_commit(p, ack);
    assert_int_equal(ack->failures, 2);
    assert_int_equal(ack->reasons[0], REASON_NEED_CONTENT);
    assert_int_equal(ack->reasons[1], REASON_NEED_CONTENT);
    assert_absent(p, "m1");
    assert_absent(p, "m2");
    free(ack);
    peer_end(p);
}

static void deletions(void **state)
{
    struct peer *p = *state;
    struct entry d = a_dir(0755), f = a_file("x", 1, 0644), l = a_link("x");
    char path[64];
    peer_open(p);
    peer_batch(p);
    peer_put(p, "d", &d, NULL);
    peer_put(p, "d/e", &d, NULL);
    for (int i = 0; i < 300; i++) {
        snprintf(path, sizeof path, "d/e/%d", i);
        peer_put(p, path, &f, "x");
    }
    peer_put(p, "f", &f, "x");
    peer_put(p, "l", &l, NULL);
    peer_put(p, "keep", &f, "x");
    peer_commit_all(p);
    peer_batch(p);
    peer_delete(p, "d");
    peer_delete(p, "d/e/7");
    peer_delete(p, "f");
    peer_delete(p, "l");
    peer_delete(p, "never/was");
    peer_delete(p, "keep/not");
    peer_commit_all(p);
    assert_absent(p, "d");
    assert_absent(p, "f");
    assert_absent(p, "l");
    assert_file(p, "keep", "x", &f);
    assert_int_equal(foreign_count(p, "d"), 0);
    assert_known(p, 1);
    peer_end(p);
}

static void type_changes(void **state)
{
    struct peer *p = *state;
    struct entry d = a_dir(0755), f = a_file("x", 1, 0644), l = a_link("x");
    const struct entry *kinds[] = {&d, &f, &l};
    char path[64];
    peer_open(p);
    for (int change = 0; change < 2; change++) {
        peer_batch(p);
        for (int from = 0; from < 3; from++)
            for (int to = 0; to < 3; to++) {
                int now = change ? to : from;
                snprintf(path, sizeof path, "%d%d", from, to);
                peer_put(p, path, kinds[now], "x");
                snprintf(path, sizeof path, "%d%d/in", from, to);
                if (now == 0)
                    peer_put(p, path, &f, "x");
            }
        peer_commit_all(p);
    }
    for (int from = 0; from < 3; from++)
        for (int to = 0; to < 3; to++) {
            snprintf(path, sizeof path, "%d%d", from, to);
            assert_int_equal(foreign_count(p, path), 0);
            if (to == 0)
                assert_dir(p, path, &d);
            else if (to == 1)
                assert_file(p, path, "x", &f);
            else
                assert_link(p, path, &l);
        }
    assert_known(p, 12);
    peer_end(p);
}

static void metadata_alone(void **state)
{
    struct peer *p = *state;
    struct entry d = a_dir(0755), f = a_file("x", 1, 0644), wrong = a_file("y", 1, 0644);
    struct ack *ack = mem_alloc(sizeof *ack);
    struct stat before, after;
    peer_open(p);
    peer_batch(p);
    peer_put(p, "d", &d, NULL);
    peer_put(p, "d/f", &f, "x");
    peer_put(p, "shared", &f, "x");
    peer_put(p, "local", &f, "x");
    peer_commit_all(p);
    assert_int_equal(stat(on_root(p, "d/f"), &before), 0);
    assert_int_equal(link(on_root(p, "shared"), on_root(p, "../backup")), 0);
    write_file(p, "local", "z");
    d.mode = 0700;
    d.mtime += 5;
    f.mode = 0600;
    f.mtime += 7;
    peer_batch(p);
    peer_put(p, "d", &d, NULL);
    peer_entry(p, "d/f", &f, HOW_META, NULL);
    peer_entry(p, "shared", &f, HOW_META, NULL);
    uint32_t local = peer_entry(p, "local", &f, HOW_META, NULL);
    uint32_t gone = peer_entry(p, "gone", &f, HOW_META, NULL);
    peer_commit(p, ack);
    assert_int_equal(ack->failures, 2);
    assert_int_equal(ack->atoms[0], local);
    assert_int_equal(ack->reasons[0], REASON_NEED_CONTENT);
    assert_int_equal(ack->atoms[1], gone);
    assert_int_equal(ack->reasons[1], REASON_NEED_CONTENT);
    assert_dir(p, "d", &d);
    assert_file(p, "d/f", "x", &f);
    assert_int_equal(stat(on_root(p, "d/f"), &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
    /* Another link of the inode keeps its metadata. */
    assert_file(p, "shared", "x", &f);
    assert_int_equal(stat(on_root(p, "../backup"), &after), 0);
    assert_int_equal(after.st_mode & 0777, 0644);
    peer_batch(p);
    peer_entry(p, "d/f", &wrong, HOW_META, NULL);
    peer_commit(p, ack);
    assert_int_equal(ack->failures, 1);
    assert_file(p, "d/f", "x", &f);
    free(ack);
    peer_end(p);
}

/* A tree that was there before: its content is read before its metadata is believed. */
static void metadata_of_an_unproven_file(void **state)
{
    struct peer *p = *state;
    struct entry f = a_file("x", 1, 0600), wrong = a_file("y", 1, 0600);
    struct ack *ack = mem_alloc(sizeof *ack);
    assert_int_equal(mkdir(p->root, 0755), 0);
    write_file(p, "right", "x");
    write_file(p, "wrong", "x");
    peer_open(p);
    peer_batch(p);
    peer_entry(p, "right", &f, HOW_META, NULL);
    uint32_t atom = peer_entry(p, "wrong", &wrong, HOW_META, NULL);
    peer_commit(p, ack);
    assert_int_equal(ack->failures, 1);
    assert_int_equal(ack->atoms[0], atom);
    assert_int_equal(ack->reasons[0], REASON_NEED_CONTENT);
    assert_file(p, "right", "x", &f);
    free(ack);
    peer_end(p);
}

static void strange_names(void **state)
{
    struct peer *p = *state;
    struct entry d = a_dir(0755), f = a_file("x", 1, 0644);
    char longest[PATH_NAME_MAX + 1];
    memset(longest, 'n', PATH_NAME_MAX);
    longest[PATH_NAME_MAX] = '\0';
    const char *const names[] = {
        "new\nline", "-rf", " ", "\xff\xfe\x80", "a\\b", "*", longest, "..."};
    peer_open(p);
    peer_batch(p);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        peer_put(p, names[i], &f, "x");
    peer_commit_all(p);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_file(p, names[i], "x", &f);
    assert_known(p, sizeof names / sizeof *names);
    /* A path of more than PATH_MAX bytes. */
    char path[8000] = "deep";
    peer_batch(p);
    peer_put(p, path, &d, NULL);
    size_t depth = 1;
    while (strlen(path) < 5000) {
        strcat(path, "/");
        strcat(path, longest);
        peer_put(p, path, &d, NULL);
        depth++;
    }
    strcat(path, "/file");
    peer_put(p, path, &f, "x");
    peer_commit_all(p);
    assert_known(p, sizeof names / sizeof *names + depth + 1);
    peer_batch(p);
    struct entry g = a_file("yy", 2, 0600);
    peer_put(p, path, &g, "yy");
    peer_commit_all(p);
    peer_batch(p);
    peer_delete(p, "deep");
    peer_commit_all(p);
    assert_absent(p, "deep");
    assert_int_equal(foreign_count(p, "deep"), 0);
    assert_known(p, sizeof names / sizeof *names);
    peer_end(p);
}

static void atoms_fail_alone(void **state)
{
    struct peer *p = *state;
    struct entry d = a_dir(0755), f = a_file("good", 4, 0644), bad = a_file("good", 4, 0644);
    struct ack *ack = mem_alloc(sizeof *ack);
    bad.digest.b[3] ^= 1;
    peer_open(p);
    peer_batch(p);
    peer_put(p, "d", &d, NULL);
    peer_put(p, "d/good", &f, "good");
    uint32_t wrong = peer_put(p, "d/wrong", &bad, "good");
    uint32_t orphan = peer_put(p, "no/parent", &f, "good");
    uint32_t unfinished = peer_entry(p, "d/unfinished", &f, HOW_DATA, NULL);
    peer_data(p, unfinished, DATA_CONTENT, "go", 2);
    uint32_t too_much = peer_entry(p, "d/much", &f, HOW_DATA, NULL);
    peer_data(p, too_much, DATA_CONTENT, "good and more", 13);
    peer_data(p, too_much, DATA_CONTENT, "still sent", 10);
    peer_finish(p, too_much, &f);
    uint32_t aborted = peer_entry(p, "d/aborted", &f, HOW_DATA, NULL);
    peer_data(p, aborted, DATA_CONTENT, "go", 2);
    msg_put_abort(&p->out, &(struct msg_abort){aborted});
    uint32_t dropped = peer_put(p, "d/dropped", &d, NULL);
    peer_put(p, "d/dropped/in", &f, "good");
    msg_put_abort(&p->out, &(struct msg_abort){dropped});
    peer_commit(p, ack);
    assert_int_equal(ack->failures, 5);
    assert_int_equal(ack->atoms[0], wrong);
    assert_int_equal(ack->reasons[0], REASON_NEED_CONTENT);
    assert_int_equal(ack->atoms[1], orphan);
    assert_int_equal(ack->reasons[1], REASON_NO_PARENT);
    assert_int_equal(ack->atoms[2], unfinished);
    assert_int_equal(ack->reasons[2], REASON_NEED_CONTENT);
    assert_int_equal(ack->atoms[3], too_much);
    assert_int_equal(ack->reasons[3], REASON_NEED_CONTENT);
    assert_int_equal(ack->reasons[4], REASON_NO_PARENT);
    assert_file(p, "d/good", "good", &f);
    assert_absent(p, "d/wrong");
    assert_absent(p, "d/unfinished");
    assert_absent(p, "d/much");
    assert_absent(p, "d/aborted");
    assert_absent(p, "d/dropped");
    assert_known(p, 2);
    peer_end(p);
    free(ack);
}

static void many_failures_take_many_frames(void **state)
{
    struct peer *p = *state;
    struct entry f = a_file("x", 1, 0644);
    struct ack *ack = mem_alloc(sizeof *ack);
    char path[64];
    peer_open(p);
    peer_batch(p);
    for (int i = 0; i < 100; i++) {
        snprintf(path, sizeof path, "no/%d", i);
        peer_put(p, path, &f, "x");
    }
    peer_commit(p, ack);
    assert_int_equal(ack->failures, 100);
    for (size_t i = 0; i < 100; i++)
        assert_int_equal(ack->atoms[i], i + 1);
    free(ack);
    peer_end(p);
}

/* The mtime of another file, and so many seconds. */
static void dated_as(struct peer *p, const char *path, const char *other, int later)
{
    struct stat st;
    assert_int_equal(lstat(on_root(p, other), &st), 0);
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, st.st_mtim};
    times[1].tv_sec += later;
    assert_int_equal(utimensat(AT_FDCWD, on_root(p, path), times, 0), 0);
}

static void foreign_things_are_set_aside(void **state)
{
    struct peer *p = *state;
    struct entry d = a_dir(0755), f = a_file("x", 1, 0644), g = a_file("yy", 2, 0644);
    peer_open(p);
    peer_batch(p);
    peer_put(p, "changed", &f, "x");
    peer_put(p, "deleted", &f, "x");
    peer_put(p, "dir", &d, NULL);
    peer_put(p, "dir/f", &f, "x");
    peer_put(p, "dir2", &d, NULL);
    peer_put(p, "chmod", &f, "x");
    peer_put(p, "same", &f, "x");
    peer_put(p, "another", &f, "x");
    peer_put(p, "longer", &f, "x");
    peer_put(p, "later", &f, "x");
    peer_commit_all(p);
    write_file(p, "changed", "local change");
    write_file(p, "another.new", "z"); /* of these each has but one thing that tells */
    dated_as(p, "another.new", "another", 0);
    assert_int_equal(rename(on_root(p, "another.new"), on_root(p, "another")), 0);
    write_file(p, "longer", "zz");
    dated_as(p, "longer", "same", 0);
    write_file(p, "later", "z");
    dated_as(p, "later", "same", 1);
    write_file(p, "deleted", "local change");
    write_file(p, "new", "upload on the wrong server");
    write_file(p, "dir/upload", "upload");
    write_file(p, "dir2/upload", "upload");
    assert_int_equal(chmod(on_root(p, "chmod"), 0600), 0);
    peer_batch(p);
    peer_put(p, "changed", &g, "yy");
    peer_delete(p, "deleted");
    peer_put(p, "new", &g, "yy");
    peer_delete(p, "dir");
    peer_put(p, "dir2", &g, "yy");
    peer_put(p, "chmod", &g, "yy");
    peer_put(p, "same", &g, "yy");
    peer_put(p, "another", &g, "yy");
    peer_put(p, "longer", &g, "yy");
    peer_put(p, "later", &g, "yy");
    peer_commit_all(p);
    assert_file(p, "changed", "yy", &g);
    assert_absent(p, "deleted");
    assert_file(p, "new", "yy", &g);
    assert_absent(p, "dir");
    assert_file(p, "dir2", "yy", &g);
    static const char *const kept[] = {
        "changed", "deleted", "new", "dir", "dir2", "another", "longer", "later"};
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        assert_int_equal(foreign_count(p, kept[i]), 1);
    assert_int_equal(foreign_count(p, "chmod"), 0);
    assert_int_equal(foreign_count(p, "same"), 0);
    assert_known(p, 8);
    peer_end(p);
}

static void excluded_things_stay(void **state)
{
    struct peer *p = *state;
    struct entry d = a_dir(0755), f = a_file("x", 1, 0644);
    struct ack *ack = mem_alloc(sizeof *ack);
    p->exclude = "cache/";
    peer_open(p);
    peer_batch(p);
    peer_put(p, "d", &d, NULL);
    peer_put(p, "d/e", &d, NULL);
    peer_put(p, "d/e/f", &f, "x");
    peer_put(p, "d/g", &d, NULL);
    peer_put(p, "d/g/h", &f, "x");
    peer_commit_all(p);
    assert_int_equal(mkdir(on_root(p, "d/e/cache"), 0755), 0);
    write_file(p, "d/e/cache/local", "mine");
    peer_batch(p);
    peer_delete(p, "d");
    uint32_t refused = peer_put(p, "cache", &d, NULL);
    peer_commit(p, ack);
    assert_int_equal(ack->failures, 1);
    assert_int_equal(ack->atoms[0], refused);
    assert_absent(p, "cache");
    assert_absent(p, "d/e/f");
    assert_absent(p, "d/g");
    assert_int_equal(access(on_root(p, "d/e/cache/local"), F_OK), 0);
    assert_int_equal(foreign_count(p, "d"), 0);
    free(ack);
    peer_end(p);
}

/* Another filter does not make what was committed foreign, and nothing is read again. */
/* As when it was closed a while after the last change: see tree/manifest/sound.h. */
static void leave_a_note(const struct peer *p)
{
    struct err err;
    int state CLEANUP_FD = state_open_dir(p->state, p->root, &err);
    int fd CLEANUP_FD = openat(state, "manifest/" SOUND_FILE, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
}

static void a_new_filter_keeps_what_was_committed(void **state)
{
    struct peer *p = *state;
    struct entry d = a_dir(0755), f = a_file("x", 1, 0644), g = a_file("yy", 2, 0644);
    char path[64];
    peer_open(p);
    peer_batch(p);
    peer_put(p, "d", &d, NULL);
    peer_put(p, "d/sub", &d, NULL);
    peer_put(p, "d/sub/f", &f, "x");
    peer_put(p, "cache", &d, NULL);
    peer_put(p, "cache/f", &f, "x");
    for (int i = 0; i < 600; i++) {
        snprintf(path, sizeof path, "d/%d", i);
        peer_put(p, path, &f, "x");
    }
    peer_put(p, "local", &f, "x");
    peer_commit_all(p);
    peer_end(p);
    write_file(p, "local", "mine");
    const char *filters[] = {"cache/", "*.tmp", NULL};
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++) {
        p->exclude = filters[i];
        struct msg_opened m = peer_open(p);
        assert_int_equal(m.sums.entries, i == 0 ? 604 : 606);
        assert_int_equal(m.sums.unproven, i == 0 ? 1 : 2); /* what was excluded is not known */
        peer_end(p);
        leave_a_note(p);
    }
    peer_open(p);
    peer_batch(p);
    peer_put(p, "d/599", &g, "yy");
    peer_put(p, "d/sub/f", &g, "yy");
    peer_put(p, "local", &g, "yy");
    peer_commit_all(p);
    peer_batch(p);
    peer_delete(p, "d");
    peer_commit_all(p);
    assert_int_equal(foreign_count(p, "d/599"), 0);
    assert_int_equal(foreign_count(p, "d/sub/f"), 0);
    assert_int_equal(foreign_count(p, "d"), 0);
    assert_int_equal(foreign_count(p, "local"), 1);
    peer_end(p);
}

/* Names of this host other than root's. */
static const char *some_user(void)
{
    const struct passwd *pw;
    static char name[256] = "";
    setpwent();
    while (!name[0] && (pw = getpwent()) != NULL)
        if (pw->pw_uid != 0)
            snprintf(name, sizeof name, "%s", pw->pw_name);
    endpwent();
    assert_true(name[0]);
    return name;
}

static const char *some_group(void)
{
    const struct group *gr;
    static char name[256] = "";
    setgrent();
    while (!name[0] && (gr = getgrent()) != NULL)
        if (gr->gr_gid != 0)
            snprintf(name, sizeof name, "%s", gr->gr_name);
    endgrent();
    assert_true(name[0]);
    return name;
}

static void special_bits_and_owners(void **state)
{
    struct peer *p = *state;
    struct entry f = a_file("x", 1, 04755), d = a_dir(02755), who = a_file("x", 1, 0644);
    struct ack *ack = mem_alloc(sizeof *ack);
    p->open_flags = OPEN_OWNER;
    uint32_t caps = peer_open(p).caps;
    who.owner = bytes_of("no-such-user-here");
    peer_batch(p);
    peer_put(p, "suid", &f, "x");
    peer_put(p, "d", &d, NULL);
    uint32_t atom = peer_put(p, "who", &who, "x");
    who.owner = bytes_of("root");
    who.group = bytes_of(some_group());
    peer_put(p, "root", &who, "x");
    peer_commit(p, ack);
    f.mode = 0755;
    assert_file(p, "suid", "x", &f);
    assert_dir(p, "d", &d);
    if (caps & CAP_SET_OWNER) {
        struct stat st;
        assert_int_equal(ack->failures, 1);
        assert_int_equal(ack->atoms[0], atom);
        assert_int_equal(ack->reasons[0], REASON_OWNER);
        assert_non_null(strstr(ack->text, "no-such-user-here"));
        assert_non_null(strstr(ack->text, "testhost"));
        assert_absent(p, "who");
        assert_int_equal(stat(on_root(p, "root"), &st), 0);
        assert_int_equal(st.st_uid, 0);
        assert_true(st.st_gid != 0);
    } else
        assert_int_equal(ack->failures, 0);
    peer_end(p);
    /* Kept where this host's configuration has them kept, whatever the primary wants. */
    struct msg_site_error refused;
    p->open_flags = OPEN_SPECIAL_BITS;
    peer_start(p);
    peer_hello(p);
    peer_send_open(p, 1, p->root);
    assert_true(msg_get_site_error(peer_expect(p, MSG_SITE_ERROR), &refused));
    assert_int_equal(refused.reason, REASON_PATH);
    peer_end(p);
    p->policy.special_bits = true;
    peer_open(p);
    peer_batch(p);
    f.mode = 04711;
    peer_put(p, "suid2", &f, "x");
    peer_commit_all(p);
    assert_file(p, "suid2", "x", &f);
    peer_end(p);
    free(ack);
}

static void acls(void **state)
{
    struct peer *p = *state;
    struct entry f = a_file("x", 1, 0664), d = a_dir(0775);
    char acl[400];
    const char *inherited = "u::rwx,g::r-x,o::---";
    snprintf(acl, sizeof acl, "u::rw-,u:%s:r--,g::r--,m::rw-,o::r--", some_user());
    f.acl = bytes_of(acl);
    d.default_acl = bytes_of(inherited);
    uint32_t caps = peer_open(p).caps;
    peer_batch(p);
    peer_put(p, "d", &d, NULL);
    peer_put(p, "d/f", &f, "x");
    peer_put(p, "f", &f, "x");
    peer_commit_all(p);
    if (!(caps & CAP_SET_ACL)) {
        peer_end(p);
        return;
    }
    assert_file(p, "d/f", "x", &f);
    assert_known(p, 3);
    p->open_flags = OPEN_CHECKSUM;
    peer_end(p);
    struct msg_opened m = peer_open(p);
    assert_int_equal(m.sums.entries, 3);
    msg_put_list(&p->out, &(struct msg_list){.request = 1, .site = 1});
    peer_send(p);
    struct msg_listing l;
    struct msg_item item;
    assert_true(msg_get_listing(peer_expect(p, MSG_LISTING), &l));
    struct wire_reader r = wire_reader_of(l.items.data, l.items.len);
    msg_item_decode(&r, &item);
    assert_true(bytes_equal(item.entry.default_acl, d.default_acl));
    msg_item_decode(&r, &item);
    assert_true(bytes_equal(item.entry.acl, f.acl));
    /* And away again. */
    f.acl = (struct bytes){0};
    peer_batch(p);
    peer_entry(p, "f", &f, HOW_META, NULL);
    peer_commit_all(p);
    assert_file(p, "f", "x", &f);
    peer_end(p);
}

/* Directories that lock their own owner out are opened for the step, and closed again. */
/* Whatever came with it, and also where the primary mirrors no owners. */
static void an_owner_of_its_own(void **state)
{
    struct peer *p = *state;
    struct entry d = a_dir(0755), f = a_file("x", 1, 0644), l = a_link("f");
    struct stat st;
    static const char *const paths[] = {"d", "d/f", "l"};
    if (geteuid() != 0)
        skip();
    p->policy = (struct receive_policy){
        .said = true, .owner = RECEIVE_OWNER_FIXED, .uid = 12345, .gid = 54321, .limit = {100, 0}};
    for (int mirrored = 0; mirrored < 2; mirrored++) {
        p->open_flags = mirrored ? OPEN_OWNER : 0;
        assert_int_equal(peer_open(p).caps & CAP_SET_OWNER, 0);
        d.owner = f.owner = l.owner = bytes_of(mirrored ? "nobody-knows-him" : "");
        f.mtime++;
        peer_batch(p);
        peer_put(p, "d", &d, NULL);
        peer_put(p, "d/f", &f, "x");
        peer_put(p, "l", &l, NULL);
        peer_commit_all(p);
        for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
            assert_int_equal(lstat(on_root(p, paths[i]), &st), 0);
            assert_int_equal(st.st_uid, 12345);
            assert_int_equal(st.st_gid, 54321);
        }
        peer_end(p);
    }
    p->policy.owner = RECEIVE_OWNER_LEFT;
    assert_int_equal(peer_open(p).caps & CAP_SET_OWNER, 0);
    peer_end(p);
}

static void without_root(void **state)
{
    struct peer *p = *state;
    struct entry d = a_dir(0755), closed = a_dir(0555), f = a_file("x", 1, 0444);
    p->open_flags = OPEN_OWNER;
    peer_drop_root(p);
    assert_int_equal(peer_open(p).caps & CAP_SET_OWNER, 0);
    f.owner = bytes_of("root");
    peer_batch(p);
    peer_put(p, "a", &closed, NULL);
    peer_put(p, "a/b", &closed, NULL);
    peer_put(p, "a/b/f", &f, "x");
    peer_put(p, "a/b/g", &f, "x");
    peer_put(p, "a/sub", &closed, NULL);
    peer_put(p, "a/sub/f", &f, "x");
    peer_put(p, "d", &d, NULL);
    peer_commit_all(p);
    assert_dir(p, "a", &closed);
    assert_dir(p, "a/b", &closed);
    peer_batch(p);
    peer_put(p, "a/b/new", &f, "x");
    peer_put(p, "a/b/g", &closed, NULL);
    peer_put(p, "a/b/g/in", &f, "x");
    peer_delete(p, "a/b/f");
    peer_delete(p, "a/sub");
    peer_commit_all(p);
    assert_dir(p, "a", &closed);
    assert_dir(p, "a/b", &closed);
    assert_dir(p, "a/b/g", &closed);
    assert_file(p, "a/b/g/in", "x", &f);
    assert_file(p, "a/b/new", "x", &f);
    assert_absent(p, "a/b/f");
    assert_absent(p, "a/sub");
    peer_batch(p);
    peer_move(p, "a/b/g", "d/g");
    peer_move(p, "a/b", "d/new/b");
    peer_put(p, "d/new", &closed, NULL);
    peer_commit_all(p);
    assert_dir(p, "d/g", &closed);
    assert_dir(p, "d/new/b", &closed);
    assert_dir(p, "d/new", &closed);
    assert_dir(p, "a", &closed);
    assert_file(p, "d/new/b/new", "x", &f);
    assert_known(p, 7);
    peer_end(p);
}

/* Where nothing can be made beside the root the stage is inside, and never mirrored. */
static void a_stage_inside_the_root(void **state)
{
    struct peer *p = *state;
    struct entry d = a_dir(0755), f = a_file("x", 1, 0644);
    peer_drop_root(p);
    assert_int_equal(mkdir(p->root, 0755), 0);
    if (p->as_nobody)
        assert_int_equal(chown(p->root, PEER_NOBODY, PEER_NOBODY), 0);
    assert_int_equal(chmod(p->fence, 0555), 0);
    if (p->as_nobody)
        assert_int_equal(chown(p->fence, 0, 0), 0);
    assert_int_equal(peer_open(p).state, ROOT_EMPTY);
    peer_batch(p);
    peer_put(p, "d", &d, NULL);
    peer_put(p, "d/f", &f, "x");
    peer_put(p, "g", &f, "x");
    peer_commit_all(p);
    peer_batch(p);
    peer_put(p, "d", &f, "x");
    peer_put(p, "g", &d, NULL);
    peer_commit_all(p);
    assert_file(p, "d", "x", &f);
    assert_dir(p, "g", &d);
    assert_known(p, 2);
    peer_end(p);
    assert_int_equal(chmod(p->fence, 0755), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, peer_make, peer_unmake)
    const struct CMUnitTest tests[] = {
        T(first_batch_with_nested_directories),
        T(order_within_a_batch_does_not_matter),
        T(parents_keep_their_times),
        T(packed_and_streamed_content),
        T(deltas),
        T(content_of_another_digest),
        T(copies),
        T(moves),
        T(deletions),
        T(type_changes),
        T(metadata_alone),
        T(metadata_of_an_unproven_file),
        T(strange_names),
        T(atoms_fail_alone),
        T(many_failures_take_many_frames),
        T(foreign_things_are_set_aside),
        T(excluded_things_stay),
        T(a_new_filter_keeps_what_was_committed),
        T(special_bits_and_owners),
        T(acls),
        T(an_owner_of_its_own),
        T(without_root),
        T(a_stage_inside_the_root),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
