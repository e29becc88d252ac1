/* The small parts: base64, the tail of a text, memory given back as a whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "link/keys/base64.h"
#include "link/process/tail.h"
#include "link/ssh2/heap.h"

static void test_base64(void **state)
{
    (void)state;
    static const char *const pairs[][3] = {{"", "", ""}, {"f", "Zg==", "Zg"}, {"fo", "Zm8=", "Zm8"},
        {"foo", "Zm9v", "Zm9v"}, {"foob", "Zm9vYg==", "Zm9vYg"}, {"\xff\xfe\xfd", "//79", "//79"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        size_t n = strlen(pairs[i][0]);
        char *padded CLEANUP_FREE = base64_encode(pairs[i][0], n, true);
        char *bare CLEANUP_FREE = base64_encode(pairs[i][0], n, false);
        assert_string_equal(padded, pairs[i][1]);
        assert_string_equal(bare, pairs[i][2]);
        unsigned char back[8];
        assert_int_equal(base64_decode(padded, strlen(padded), back, sizeof back), n);
        assert_memory_equal(back, pairs[i][0], n);
    }
    unsigned char back[2];
    assert_int_equal(base64_decode("Zm\n9v\nYg==", 10, back, 2), 2);
    assert_memory_equal(back, "fo", 2);
    assert_int_equal(base64_decode("Zm9-v", 5, back, 2), 2);
    assert_int_equal(base64_decode("-Zm9", 4, back, 2), 0);
}

static void test_tail(void **state)
{
    (void)state;
    static struct tail t;
    tail_add(&t, "a\0b", 3);
    assert_string_equal(t.text, "a b");
    char block[1000];
    for (int i = 0; i < 10; i++) {
        memset(block, '0' + i, sizeof block);
        tail_add(&t, block, sizeof block);
    }
    assert_int_equal(t.len, TAIL_SIZE);
    assert_int_equal(strlen(t.text), TAIL_SIZE);
    assert_int_equal(t.text[0], '5');
    assert_int_equal(t.text[96], '6');
    assert_int_equal(t.text[TAIL_SIZE - 1], '9');
    char *large CLEANUP_FREE = mem_alloc(3 * TAIL_SIZE);
    memset(large, 'x', 3 * TAIL_SIZE);
    large[3 * TAIL_SIZE - 1] = 'y';
    tail_add(&t, large, 3 * TAIL_SIZE);
    assert_int_equal(t.text[0], 'x');
    assert_int_equal(t.text[TAIL_SIZE - 1], 'y');
}

static void test_last_line(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {"", ""}, {"\n\n", ""}, {"a", "a"}, {"a\nb\r\n", "b"}, {"a\nb c \n\n", "b c"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        char *line CLEANUP_FREE = tail_last_line(pairs[i][0]);
        assert_string_equal(line, pairs[i][1]);
    }
}

static void test_heap(void **state)
{
    (void)state;
    struct heap h = {0};
    char *p[5] = {NULL};
    for (size_t i = 0; i < 5; i++) {
        p[i] = heap_alloc(&h, 10 + i);
        assert_non_null(p[i]);
        assert_int_equal((uintptr_t)p[i] % _Alignof(max_align_t), 0);
        memset(p[i], 'a' + (int)i, 10 + i);
    }
    heap_free(&h, p[4]); /* first, last and middle of the list */
    heap_free(&h, p[0]);
    heap_free(&h, p[2]);
    p[1] = heap_resize(&h, p[1], 100000);
    assert_memory_equal(p[1], "bbbbbbbbbbb", 11);
    assert_memory_equal(p[3], "ddddddddddddd", 13);
    assert_non_null(heap_resize(&h, NULL, 5));
    assert_null(heap_alloc(&h, SIZE_MAX));
    assert_null(heap_resize(&h, p[1], SIZE_MAX));
    heap_free(&h, NULL);
    h.wipes = true;
    p[3] = heap_resize(&h, p[3], 4);
    assert_memory_equal(p[3], "dddd", 4);
    p[3] = heap_resize(&h, p[3], 5000);
    assert_memory_equal(p[3], "dddd", 4);
    assert_null(heap_resize(&h, p[3], SIZE_MAX));
    heap_release(&h); /* a sanitizer sees what it misses */
    assert_null(h.blocks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_base64),
        cmocka_unit_test(test_tail),
        cmocka_unit_test(test_last_line),
        cmocka_unit_test(test_heap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
