/* Frames: cut at every point, over the limit, and several in one writer. */
#include "tests/unit/protocol/check.h"
#include "tests/unit/protocol/sample.h"

static void test_layout(void **state)
{
    (void)state;
    struct wire_writer w = {0};
    size_t start = frame_begin(&w, 7);
    wire_raw(&w, "abc", 3);
    frame_end(&w, start);
    static const uint8_t want[] = {4, 0, 0, 0, 7, 'a', 'b', 'c'};
    assert_int_equal(w.len, sizeof(want));
    assert_memory_equal(w.data, want, sizeof(want));
    check_text(check_payload(&w, 7), "abc");
    wire_free(&w);
}

/* All samples in one stream. */
static struct wire_writer stream_of_samples(void)
{
    struct wire_writer w = {0};
    for (size_t i = 0; i < sample_count; i++)
        samples[i].put(&w);
    assert_false(w.bad);
    return w;
}

/* Frames in the first n bytes, and how many bytes they take. */
static size_t count_frames(const uint8_t *p, size_t n, size_t *used)
{
    size_t count = 0;
    struct frame f;
    int len;
    *used = 0;
    while ((len = frame_next(p + *used, n - *used, &f)) > 0) {
        assert_int_equal(f.type, samples[count].type);
        *used += (size_t)len;
        count++;
    }
    assert_int_equal(len, 0);
    return count;
}

static void test_stream_split_at_every_point(void **state)
{
    (void)state;
    struct wire_writer w = stream_of_samples();
    for (size_t split = 0; split <= w.len; split++) {
        uint8_t *head = check_copy(w.data, split);
        size_t used, rest;
        size_t first = count_frames(head, split, &used);
        free(head);
        struct frame f;
        size_t second = 0;
        for (rest = used; rest < w.len; second++)
            rest += (size_t)frame_next(w.data + rest, w.len - rest, &f);
        assert_int_equal(first + second, sample_count);
        assert_int_equal(rest, w.len);
    }
    wire_free(&w);
}

static void test_stream_in_chunks(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 2, 3, 7, 15, 64, 257};
    struct wire_writer w = stream_of_samples();
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        size_t have = 0, used = 0, count = 0;
        while (have < w.len) {
            have = have + sizes[i] < w.len ? have + sizes[i] : w.len;
            struct frame f;
            int n;
            for (; (n = frame_next(w.data + used, have - used, &f)) > 0; used += (size_t)n)
                assert_int_equal(f.type, samples[count++].type);
            assert_int_equal(n, 0);
        }
        assert_int_equal(count, sample_count);
        assert_int_equal(used, w.len);
    }
    wire_free(&w);
}

static void test_announced_length(void **state)
{
    (void)state;
    struct frame f;
    static const uint8_t zero[] = {0, 0, 0, 0, 1};
    assert_int_equal(frame_next(zero, 3, &f), 0);
    assert_int_equal(frame_next(zero, 4, &f), -1);
    static const uint8_t most[] = {0xfc, 0xff, 0, 0}; /* 65,532: a frame of 65,536 */
    assert_int_equal(frame_next(most, 4, &f), 0);
    static const uint8_t over[] = {0xfd, 0xff, 0, 0};
    assert_int_equal(frame_next(over, 4, &f), -1);
    static const uint8_t huge[] = {0xff, 0xff, 0xff, 0xff};
    assert_int_equal(frame_next(huge, 4, &f), -1);
    assert_int_equal(frame_next(NULL, 0, &f), 0);
}

static void put_frame(struct wire_writer *w, struct bytes payload)
{
    size_t start = frame_begin(w, 9);
    wire_raw(w, payload.data, payload.len);
    frame_end(w, start);
}

static void test_frame_max(void **state)
{
    (void)state;
    struct bytes payload = check_long(FRAME_PAYLOAD_MAX + 1);
    struct wire_writer w = {0};
    payload.len = FRAME_PAYLOAD_MAX;
    put_frame(&w, payload);
    assert_int_equal(w.len, FRAME_MAX);
    assert_int_equal(check_payload(&w, 9).len, FRAME_PAYLOAD_MAX);

    payload.len++;
    put_frame(&w, payload);
    assert_true(w.bad);
    assert_int_equal(w.len, FRAME_MAX); /* the whole frame before it is still there */
    wire_free(&w);
    check_long_free(payload);
}

static void test_writer_full_within_a_frame(void **state)
{
    (void)state;
    struct wire_writer w = {.max = 20};
    put_frame(&w, bytes_of("0123456789"));
    assert_int_equal(w.len, 15);
    put_frame(&w, bytes_of("x"));
    assert_true(w.bad);
    assert_int_equal(w.len, 15);
    put_frame(&w, bytes_of(""));
    assert_int_equal(w.len, 15);
    wire_free(&w);
}

static void test_largest_contents_fill_a_frame(void **state)
{
    (void)state;
    struct bytes b = check_long(MSG_DATA_MAX);
    struct wire_writer w = {0};
    msg_put_data(&w, &(struct msg_data){.content = b});
    assert_int_equal(w.len, FRAME_MAX);
    struct msg_data data;
    assert_true(msg_get_data(check_payload(&w, MSG_DATA), &data));
    assert_int_equal(data.content.len, MSG_DATA_MAX);

    wire_reset(&w);
    msg_put_signature(&w, &(struct msg_signature){.content = b});
    assert_int_equal(w.len, FRAME_MAX);
    struct msg_signature signature;
    assert_true(msg_get_signature(check_payload(&w, MSG_SIGNATURE), &signature));

    wire_reset(&w);
    b.len = MSG_LISTING_MAX;
    msg_put_listing(&w, &(struct msg_listing){.items = b});
    assert_int_equal(w.len, FRAME_MAX);
    assert_false(w.bad);
    wire_free(&w);
    check_long_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_stream_split_at_every_point),
        cmocka_unit_test(test_stream_in_chunks),
        cmocka_unit_test(test_announced_length),
        cmocka_unit_test(test_frame_max),
        cmocka_unit_test(test_writer_full_within_a_frame),
        cmocka_unit_test(test_largest_contents_fill_a_frame),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
