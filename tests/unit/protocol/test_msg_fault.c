/* Why a message was refused: a name or path that may not be sent, or anything else. */
#include "tests/unit/protocol/check.h"
#include "tests/unit/protocol/sample.h"

static const char *const refused[] = {
    "..", "a/../b", "/a", "a//b", "a/", ".", "a/./b", PATH_RESERVED "x", "a/" PATH_RESERVED "x/b"};

enum { REFUSED = sizeof(refused) / sizeof(refused[0]) };

static void put_each(struct wire_writer *w, int kind, struct bytes path)
{
    struct msg_entry e = sample_atom(sample_file(), HOW_COPY);
    struct bytes good = bytes_of("good");
    e.source = good;
    wire_reset(w);
    switch (kind) {
    case 0: msg_put_list(w, &(struct msg_list){.request = 1, .site = 2, .path = path}); return;
    case 1: msg_put_delete(w, &(struct msg_delete){1, 2, path}); return;
    case 2: msg_put_unit(w, &(struct msg_unit){1, 2, path}); return;
    case 3: msg_put_move(w, &(struct msg_move){1, 2, path, good}); return;
    case 4: msg_put_move(w, &(struct msg_move){1, 2, good, path}); return;
    case 5: e.path = path; break;
    case 7: msg_put_drift(w, &(struct msg_drift){1, DRIFT_CHANGED, path, sample_file()}); return;
    default: e.source = path; break;
    }
    msg_put_entry(w, &e);
}

static void test_paths_are_told_from_bad_bytes(void **state)
{
    (void)state;
    struct wire_writer w = {0};
    for (int kind = 0; kind <= 7; kind++) {
        for (size_t i = 0; i < REFUSED; i++) {
            put_each(&w, kind, bytes_of(refused[i]));
            assert_int_equal(check_fault(&w), REASON_PATH);
        }
        put_each(&w, kind, (struct bytes){"a\0b", 3});
        assert_int_equal(check_fault(&w), REASON_PATH);
        struct bytes longest = check_long(PATH_NAME_MAX + 1);
        put_each(&w, kind, longest);
        assert_int_equal(check_fault(&w), REASON_PATH);
        check_long_free(longest);
    }
    wire_free(&w);
}

/* The payload of the frame in w without its last bytes. */
static void test_a_cut_message_is_malformed_at_each_byte(void **state)
{
    (void)state;
    struct wire_writer w = {0};
    for (int kind = 0; kind <= 7; kind++) {
        put_each(&w, kind, bytes_of("a/b"));
        struct frame f;
        assert_int_equal(frame_next(w.data, w.len, &f), (int)w.len);
        for (size_t n = 0; n < f.payload.len; n++) {
            struct frame cut = {f.type, {check_copy(f.payload.data, n), n}};
            assert_int_equal(msg_fault(&cut), REASON_MALFORMED);
            free((void *)cut.payload.data);
        }
    }
    wire_free(&w);
}

static void test_the_first_fault_counts(void **state)
{
    (void)state;
    struct wire_writer w = {0};
    struct msg_entry e = sample_atom(sample_file(), HOW_LAST + 1);
    msg_put_entry(&w, &e);
    assert_int_equal(check_fault(&w), REASON_MALFORMED);
    wire_reset(&w);
    e.path = bytes_of("../x"); /* stands before `how` */
    msg_put_entry(&w, &e);
    assert_int_equal(check_fault(&w), REASON_PATH);
    wire_reset(&w);
    e.path = bytes_of("x");
    e.source = bytes_of("../x"); /* stands behind it */
    msg_put_entry(&w, &e);
    assert_int_equal(check_fault(&w), REASON_MALFORMED);
    wire_free(&w);
}

static uint16_t fault_of_open(struct bytes name, struct bytes root)
{
    struct wire_writer w = {0};
    struct msg_open *m = calloc(1, sizeof(*m));
    assert_non_null(m);
    m->name = name;
    m->root = root;
    m->flags = ~(uint32_t)0; /* a later fault, so that a good name is told from no fault */
    msg_put_open(&w, m);
    uint16_t fault = check_fault(&w);
    wire_free(&w);
    free(m);
    return fault;
}

static void test_open(void **state)
{
    (void)state;
    struct bytes name = bytes_of("s"), root = bytes_of("/r");
    assert_int_equal(fault_of_open(name, root), REASON_MALFORMED);
    assert_int_equal(fault_of_open(bytes_of("a/b"), root), REASON_PATH);
    assert_int_equal(fault_of_open((struct bytes){"a\0b", 3}, root), REASON_PATH);
    assert_int_equal(fault_of_open(name, bytes_of("/a/../b")), REASON_PATH);
    assert_int_equal(fault_of_open(name, bytes_of("relative")), REASON_PATH);
}

static uint16_t fault_of_listing(const char *name, const char *then)
{
    struct wire_writer items = {0}, w = {0};
    msg_item_encode(&items, &(struct msg_item){bytes_of(name), sample_file(), {{{0}}}});
    msg_item_encode(&items, &(struct msg_item){bytes_of(then), sample_file(), {{{0}}}});
    msg_put_listing(&w, &(struct msg_listing){
                            .request = 1, .last = 1, .count = 2, .items = {items.data, items.len}});
    uint16_t fault = check_fault(&w);
    wire_free(&items);
    wire_free(&w);
    return fault;
}

static void test_listing(void **state)
{
    (void)state;
    assert_int_equal(fault_of_listing("a", "x/y"), REASON_PATH);
    assert_int_equal(fault_of_listing("..", "x"), REASON_PATH);
    assert_int_equal(fault_of_listing("b", "a"), REASON_MALFORMED); /* out of order */
}

static void test_claim(void **state)
{
    (void)state;
    struct wire_writer w = {0};
    msg_put_claim(&w, &(struct msg_claim){.name = bytes_of("../s"), .primary = bytes_of("web1")});
    assert_int_equal(check_fault(&w), REASON_PATH);
    wire_free(&w);
}

static void test_messages_without_names_are_malformed(void **state)
{
    (void)state;
    for (int type = 0; type < 256; type++) {
        struct frame f = {(uint8_t)type, {"\xff", 1}};
        assert_int_equal(msg_fault(&f), REASON_MALFORMED);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths_are_told_from_bad_bytes),
        cmocka_unit_test(test_a_cut_message_is_malformed_at_each_byte),
        cmocka_unit_test(test_the_first_fault_counts),
        cmocka_unit_test(test_open),
        cmocka_unit_test(test_listing),
        cmocka_unit_test(test_claim),
        cmocka_unit_test(test_messages_without_names_are_malformed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
