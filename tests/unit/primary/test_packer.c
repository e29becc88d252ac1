/* What waits to be sent: it comes out in the order in which it went in, packed where that is
 * shorter, whatever the thread is busy with. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "primary/push/pack/packer.h"
#include "primary/push/pack/shelf.h"
#include "protocol/frame.h"
#include "tree/content/zip.h"

enum { LEVEL = 1, ROUNDS = 40, CONTENT = 100 * 1024, PATIENCE_MS = 20000 };

static uint8_t text[CONTENT], noise[CONTENT];

static int prepare(void **state)
{
    (void)state;
    uint32_t x = 1;
    for (size_t i = 0; i < CONTENT; i++) {
        x = x * 1664525 + 1013904223;
        noise[i] = (uint8_t)(x >> 24);
        text[i] = "function the_content() { return; } "[i % 36];
    }
    return 0;
}

/* Everything that comes out, drained by `step` bytes. */
static void drain(struct packer *k, size_t step, struct buf *out)
{
    while (!packer_is_empty(k)) {
        struct bytes ready = packer_ready(k);
        if (ready.len == 0) {
            struct pollfd fd = {.fd = packer_fd(k), .events = POLLIN};
            assert_int_equal(poll(&fd, 1, PATIENCE_MS), 1);
            continue;
        }
        size_t n = ready.len < step ? ready.len : step;
        buf_append(out, ready.data, n);
        packer_drain(k, n);
    }
    assert_int_equal(packer_waiting(k), 0);
}

static size_t put_entries(
    struct wire_writer *w, uint32_t number, unsigned count, const uint8_t *content)
{
    wire_reset(w);
    for (unsigned i = 0; i < count; i++)
        msg_put_entry(w, &(struct msg_entry){.batch = number,
                             .atom = i + 1,
                             .path = bytes_of("a"),
                             .how = HOW_INLINE,
                             .entry = {.type = ENTRY_FILE, .mode = 0644, .size = 6000},
                             .content = {content + i * 6000, 6000}});
    return w->len;
}

/* For each round: COMMIT, a run, content. */
static void give(struct packer *k, const uint8_t *content, bool bundle)
{
    struct wire_writer w = {0};
    for (uint32_t i = 1; i <= ROUNDS; i++) {
        wire_reset(&w);
        msg_put_commit(&w, &(struct msg_commit){.batch = i});
        packer_frames(k, w.data, w.len);
        put_entries(&w, i, 10, content);
        packer_run(k, w.data, w.len, bundle);
        packer_data(k, &(struct msg_data){.atom = i, .kind = DATA_CONTENT}, content, CONTENT);
    }
    wire_free(&w);
}

static struct frame next(struct buf *in)
{
    struct frame f;
    int n = frame_next(buf_bytes(in), buf_len(in), &f);
    assert_true(n > 0);
    buf_drain(in, (size_t)n);
    return f;
}

/* The content of DATA frames until all of it has come. */
static void check_data(struct buf *in, struct zip *zip, uint32_t atom, const uint8_t *content)
{
    static uint8_t plain[MSG_CHUNK_MAX];
    for (size_t at = 0, n; at < CONTENT; at += n) {
        struct frame f = next(in);
        struct msg_data m;
        struct err err;
        assert_int_equal(f.type, MSG_DATA);
        assert_true(msg_get_data(f.payload, &m));
        assert_int_equal(m.atom, atom);
        n = m.content.len;
        if (m.encoding == ENCODING_ZSTD)
            assert_int_equal(zip_unpack(zip, m.content.data, n, plain, sizeof plain, &n, &err), 0);
        else
            memcpy(plain, m.content.data, n);
        assert_true(at + n <= CONTENT);
        assert_memory_equal(plain, content + at, n);
    }
}

/* What a PACK holds, or a BUNDLE with its numbers put back. */
static size_t unpack(struct frame f, struct zip *zip, bool bundle, uint8_t *plain)
{
    struct msg_pack pack = {0};
    struct msg_bundle m = {0};
    struct err err;
    size_t n;
    assert_int_equal(f.type, bundle ? MSG_BUNDLE : MSG_PACK);
    assert_true(bundle ? msg_get_bundle(f.payload, &m) : msg_get_pack(f.payload, &pack));
    struct bytes content = bundle ? m.content : pack.content;
    assert_int_equal(zip_unpack(zip, content.data, content.len, plain, MSG_CHUNK_MAX, &n, &err), 0);
    for (size_t at = 0; at < n;) {
        uint32_t b, a;
        int length = frame_next(plain + at, n - at, &f);
        assert_true(length > 0);
        msg_entry_numbers(f.payload.data, &b, &a);
        msg_entry_renumber((uint8_t *)f.payload.data, b + m.batch, a + m.atom);
        at += (size_t)length;
    }
    return n;
}

static void check_run(
    struct buf *in, struct zip *zip, const struct wire_writer *run, bool packed, bool bundle)
{
    static uint8_t plain[MSG_CHUNK_MAX];
    if (!packed) {
        assert_true(buf_len(in) >= run->len);
        assert_memory_equal(buf_bytes(in), run->data, run->len);
        buf_drain(in, run->len);
        return;
    }
    assert_int_equal(unpack(next(in), zip, bundle, plain), run->len);
    assert_memory_equal(plain, run->data, run->len);
}

static void check_order(const uint8_t *content, bool packed, bool bundle, size_t step)
{
    struct packer *k = packer_new(LEVEL, NULL);
    struct zip *zip = zip_new(LEVEL);
    struct buf out = {0};
    struct wire_writer w = {0};
    give(k, content, bundle);
    drain(k, step, &out);
    assert_true(!packed || buf_len(&out) < ROUNDS * CONTENT / 4);
    for (uint32_t i = 1; i <= ROUNDS; i++) {
        struct frame f = next(&out);
        struct msg_commit m;
        assert_int_equal(f.type, MSG_COMMIT);
        assert_true(msg_get_commit(f.payload, &m));
        assert_int_equal(m.batch, i);
        put_entries(&w, i, 10, content);
        check_run(&out, zip, &w, packed, bundle);
        check_data(&out, zip, i, content);
    }
    assert_int_equal(buf_len(&out), 0);
    wire_free(&w);
    buf_free(&out);
    zip_free(zip);
    packer_free(k);
}

static void test_what_shrinks(void **state)
{
    (void)state;
    check_order(text, true, false, SIZE_MAX);
    check_order(text, true, true, SIZE_MAX);
    check_order(text, true, true, 1000);
}

static void test_what_does_not(void **state)
{
    (void)state;
    check_order(noise, false, false, SIZE_MAX);
    check_order(noise, false, true, SIZE_MAX);
}

/* What needs no packing waits for nobody. */
static void test_frames_alone(void **state)
{
    (void)state;
    struct packer *k = packer_new(LEVEL, NULL);
    assert_true(packer_is_empty(k));
    assert_int_equal(packer_ready(k).len, 0);
    packer_frames(k, "abc", 0);
    assert_true(packer_is_empty(k));
    packer_frames(k, "abc", 3);
    packer_frames(k, "de", 2);
    assert_int_equal(packer_waiting(k), 5);
    assert_memory_equal(packer_ready(k).data, "abc", 3);
    packer_drain(k, 1);
    assert_int_equal(packer_ready(k).len, 2);
    packer_drain(k, 2);
    assert_memory_equal(packer_ready(k).data, "de", 2);
    packer_free(k);
}

/* Else who waits for a slow link with something ready would be woken at once, for ever. */
static void test_polled_only_while_it_packs(void **state)
{
    (void)state;
    struct packer *k = packer_new(LEVEL, NULL);
    assert_int_equal(packer_fd(k), -1);
    packer_data(k, &(struct msg_data){.atom = 1}, text, sizeof text);
    while (packer_ready(k).len == 0) {
        struct pollfd fd = {.fd = packer_fd(k), .events = POLLIN};
        assert_true(fd.fd >= 0);
        assert_int_equal(poll(&fd, 1, -1), 1);
    }
    assert_int_equal(packer_fd(k), -1);
    packer_drain(k, packer_ready(k).len);
    assert_true(packer_is_empty(k));
    assert_int_equal(packer_fd(k), -1);
    packer_free(k);
}

static void test_left_with_work(void **state)
{
    (void)state;
    struct packer *k = packer_new(LEVEL, NULL);
    give(k, text, true);
    packer_free(k);
}

/* Of two sessions one packs and the other takes: the same files have other numbers in each. */
static void test_shared(void **state)
{
    (void)state;
    struct shelf *shelf = shelf_new(1 << 20);
    struct zip *zip = zip_new(LEVEL);
    struct packing p = {zip, shelf, mem_alloc(MSG_PACK_MAX)};
    struct wire_writer run = {0}, first = {0}, second = {0};
    static uint8_t plain[MSG_CHUNK_MAX];
    shelf_join(shelf);
    shelf_join(shelf);
    put_entries(&run, 17, 10, text);
    packer_pack(&p, run.data, run.len, true, &first);
    assert_true(first.len > 0);
    assert_true(shelf_memory(shelf) > 0);
    put_entries(&run, 4, 10, text);
    packer_pack(&p, run.data, run.len, true, &second);
    assert_int_equal(shelf_memory(shelf), 0); /* taken by all */
    assert_int_equal(second.len, first.len);
    struct frame f;
    assert_true(frame_next(second.data, second.len, &f) > 0);
    assert_int_equal(unpack(f, zip, true, plain), run.len);
    assert_memory_equal(plain, run.data, run.len);
    wire_free(&run);
    wire_free(&first);
    wire_free(&second);
    free(p.room);
    zip_free(zip);
    shelf_leave(shelf);
    shelf_leave(shelf);
    shelf_free(shelf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_shrinks),
        cmocka_unit_test(test_what_does_not),
        cmocka_unit_test(test_frames_alone),
        cmocka_unit_test(test_polled_only_while_it_packs),
        cmocka_unit_test(test_left_with_work),
        cmocka_unit_test(test_shared),
    };
    return cmocka_run_group_tests(tests, prepare, NULL);
}
