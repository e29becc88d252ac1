/*
 * A primary that asks for more than there is: sizes that no disk has, content that unpacks to more
 * than was announced, batches without an end, more sites than a session may have. Each ends with
 * its named error, and leaves the disk as it was.
 */
#include "peer.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "secondary/stage/stage.h"
#include "tree/content/zip.h"

/* The largest size that can be said is no promise. */
static void a_size_that_no_disk_has(void **state)
{
    struct peer *p = *state;
    struct entry f = a_file("x", 1, 0644);
    struct ack ack;
    peer_open(p);
    peer_batch(p);
    f.size = INT64_MAX;
    uint32_t atom = peer_entry(p, "huge", &f, HOW_DATA, "");
    peer_data(p, atom, DATA_CONTENT, "abc", 3);
    peer_finish(p, atom, &f);
    peer_commit(p, &ack);
    assert_int_equal(ack.failures, 1);
    assert_absent(p, "huge");
    assert_int_equal(staged_count(p), 0);
    /* One more is no size. */
    peer_batch(p);
    f.size = UINT64_C(1) << 63;
    peer_entry(p, "huge", &f, HOW_DATA, "");
    peer_send(p);
    peer_expect_error(p, REASON_MALFORMED);
}

/* More comes than was announced. */
static void more_than_its_size(void **state)
{
    struct peer *p = *state;
    struct entry f = a_file("x", 1, 0644);
    uint8_t *piece CLEANUP_FREE = mem_alloc(60000);
    peer_open(p);
    peer_batch(p);
    f.size = 100;
    uint32_t atom = peer_entry(p, "long", &f, HOW_DATA, "");
    for (int i = 0; i < 100; i++)
        msg_put_data(&p->out,
            &(struct msg_data){.atom = atom, .kind = DATA_CONTENT, .content = {piece, 60000}});
    peer_finish(p, atom, &f);
    struct ack ack;
    peer_commit(p, &ack);
    assert_int_equal(ack.failures, 1);
    assert_absent(p, "long");
    assert_int_equal(staged_count(p), 0);
    peer_end(p);
}

/* A frame of zstd that unpacks to more than a message may hold: 60 KB of zeros packed are
 * gigabytes. */
static void content_that_unpacks_to_too_much(void **state)
{
    struct peer *p = *state;
    enum { MUCH = 64 << 20 };
    uint8_t *zeros CLEANUP_FREE = mem_alloc(MUCH), *packed CLEANUP_FREE = mem_alloc(MSG_PACK_MAX);
    struct zip *zip = zip_new(1);
    size_t n = zip_pack(zip, zeros, MUCH, packed, MSG_PACK_MAX);
    zip_free(zip);
    assert_true(n > 0);
    peer_open(p);
    peer_batch(p);
    peer_send(p);
    msg_put_pack(&p->out, &(struct msg_pack){{packed, n}});
    peer_send(p);
    peer_expect_error(p, REASON_MALFORMED);
    assert_absent(p, "x");
}

/* It is never committed: what is staged goes with the session. */
static void a_batch_without_an_end(void **state)
{
    struct peer *p = *state;
    struct entry f = a_file("x", 1, 0644);
    char path[32];
    peer_open(p);
    for (int b = 0; b < 4; b++) {
        peer_batch(p);
        for (int i = 0; i < 200; i++) {
            snprintf(path, sizeof path, "b%d-%d", b, i);
            peer_put(p, path, &f, "x");
        }
        peer_send(p);
    }
    f.size = 1 << 20;
    uint32_t atom = peer_entry(p, "begun", &f, HOW_DATA, "");
    peer_data(p, atom, DATA_CONTENT, "abc", 3);
    peer_end(p);
    assert_absent(p, "b0-0");
    assert_absent(p, "begun");
    peer_open(p);
    assert_int_equal(staged_count(p), 0);
    peer_end(p);
}

/* Those that are refused count, too: each is remembered. */
static void more_sites_than_a_session_has(void **state)
{
    struct peer *p = *state;
    struct msg_site_error m;
    peer_open(p);
    for (uint32_t i = 2; i <= MSG_SITES_MAX; i++) {
        peer_send_open(p, i, "/etc");
        if (i % 64 == 0 || i == MSG_SITES_MAX)
            for (uint32_t k = i == MSG_SITES_MAX ? (i - 1) / 64 * 64 + 1 : i - 63; k <= i; k++)
                if (k >= 2)
                    assert_true(msg_get_site_error(peer_expect(p, MSG_SITE_ERROR), &m));
    }
    peer_send_open(p, MSG_SITES_MAX + 1, "/etc");
    peer_expect_error(p, REASON_LIMIT);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, peer_make, peer_unmake)
    const struct CMUnitTest tests[] = {
        T(a_size_that_no_disk_has),
        T(more_than_its_size),
        T(content_that_unpacks_to_too_much),
        T(a_batch_without_an_end),
        T(more_sites_than_a_session_has),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
