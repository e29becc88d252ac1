/* Packing and unpacking of single frames, and every way in which a frame can be wrong. */
#include "tree/content/zip.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"

enum { FRAME = 1 << 20 };

static uint8_t *text, *noise, *packed, *plain; /* FRAME bytes each */
static struct zip *zip;

static int setup(void **state)
{
    (void)state;
    static const char words[] = "the quick <?php brown fox(); $jumps = over['the lazy dog'];\n";
    text = mem_alloc(FRAME);
    noise = mem_alloc(FRAME);
    packed = mem_alloc(FRAME);
    plain = mem_alloc(FRAME);
    uint32_t x = 1;
    for (size_t i = 0; i < FRAME; i++) {
        x = x * 1664525 + 1013904223;
        noise[i] = (uint8_t)(x >> 24);
        text[i] = (uint8_t)(i % 61 == 0 ? noise[i] : (uint8_t)words[(i + i / 509) % 60]);
    }
    zip = zip_new(3);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    zip_free(zip);
    zip_free(NULL);
    free(text);
    free(noise);
    free(packed);
    free(plain);
    return 0;
}

static void test_round_trip(void **state)
{
    (void)state;
    static const size_t sizes[] = {200, 4096, 65536, 65537, FRAME};
    struct err err = {0};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t n = 0, len = zip_pack(zip, text, sizes[i], packed, FRAME);
        assert_true(len > 0 && len < sizes[i] - sizes[i] / 8);
        memset(plain, 0, FRAME);
        assert_int_equal(zip_unpack(zip, packed, len, plain, sizes[i], &n, &err), 0);
        assert_int_equal(n, sizes[i]);
        assert_memory_equal(plain, text, n);
    }
}

static void test_not_smaller(void **state)
{
    (void)state;
    assert_int_equal(zip_pack(zip, noise, FRAME, packed, FRAME), 0);
    assert_int_equal(zip_pack(zip, noise, 1, packed, FRAME), 0);
    assert_int_equal(zip_pack(zip, noise, 0, packed, FRAME), 0);
    size_t len = zip_pack(zip, text, 65536, packed, FRAME);
    assert_int_equal(zip_pack(zip, text, 65536, packed, len / 2), 0); /* does not fit */
    assert_int_equal(zip_pack(zip, text, 65536, packed, 0), 0);
    assert_int_equal(zip_pack(zip, text, 65536, packed, FRAME), len); /* and goes on working */
}

static void test_worthwhile(void **state)
{
    (void)state;
    assert_true(zip_worthwhile(zip, text, FRAME));
    assert_true(zip_worthwhile(zip, text, 1000));
    assert_false(zip_worthwhile(zip, noise, FRAME));
    assert_false(zip_worthwhile(zip, noise, 100));
    assert_false(zip_worthwhile(zip, text, 3));
    assert_false(zip_worthwhile(zip, "", 0));
}

static void test_magic(void **state)
{
    (void)state;
    static const struct {
        size_t at, len;
        const char *bytes;
    } magic[] = {{0, 4, "\xff\xd8\xff\xe0"}, {0, 8, "\x89PNG\r\n\x1a\n"}, {0, 6, "GIF89a"},
        {8, 4, "WEBP"}, {0, 4, "PK\3\4"}, {0, 3, "\x1f\x8b\x08"}, {0, 4, "BZh9"},
        {0, 6, "\xfd\x37zXZ\0"}, {0, 4, "\x28\xb5\x2f\xfd"}, {4, 8, "ftypisom"}, {0, 3, "ID3"},
        {0, 4, "wOFF"}, {0, 4, "wOF2"}};
    for (size_t i = 0; i < sizeof magic / sizeof magic[0]; i++) {
        memset(plain, 'a', 4096);
        assert_true(zip_worthwhile(zip, plain, 4096));
        memcpy(plain + magic[i].at, magic[i].bytes, magic[i].len);
        assert_false(zip_worthwhile(zip, plain, 4096));
        assert_false(zip_worthwhile(zip, plain, magic[i].at + magic[i].len));
    }
    memset(plain, 'a', 4096);
    memcpy(plain, "%PDF-1.7", 8);
    assert_true(zip_worthwhile(zip, plain, 4096)); /* by trial */
}

static void assert_refused(const void *in, size_t len, size_t cap)
{
    struct err err = {0};
    size_t n = 4711;
    assert_int_equal(zip_unpack(zip, in, len, plain, cap, &n, &err), -1);
    assert_int_equal(n, 4711);
    assert_memory_equal(err.text, "unpack: ", 8);
}

static void test_truncated(void **state)
{
    (void)state;
    size_t len = zip_pack(zip, text, 2000, packed, FRAME);
    assert_true(len > 0);
    for (size_t cut = 0; cut < len; cut++)
        assert_refused(packed, cut, FRAME);
    packed[len] = 0;
    assert_refused(packed, len + 1, FRAME); /* a byte behind */
}

static void test_two_frames(void **state)
{
    (void)state;
    size_t len = zip_pack(zip, text, 2000, packed, FRAME);
    memcpy(packed + len, packed, len);
    assert_refused(packed, 2 * len, FRAME);
}

static void test_too_large(void **state)
{
    (void)state;
    size_t len = zip_pack(zip, text, 65536, packed, FRAME);
    assert_refused(packed, len, 65535);
    assert_refused(packed, len, 0);
}

/* By hand: magic, descriptor, [window], [size], last raw block "abc". */
static void test_strange_frames(void **state)
{
    (void)state;
    static const uint8_t good[] = "\x28\xb5\x2f\xfd\x20\x03\x19\0\0abc";
    static const uint8_t unsized[] = "\x28\xb5\x2f\xfd\0\0\x19\0\0abc";
    static const uint8_t lying[] = "\x28\xb5\x2f\xfd\x20\x04\x19\0\0abc";
    static const uint8_t huge[] = "\x28\xb5\x2f\xfd\xe0\xff\xff\xff\xff\xff\xff\xff\x7f\x19\0\0abc";
    static const uint8_t skippable[] = "\x50\x2a\x4d\x18\x03\0\0\0abc";
    struct err err = {0};
    size_t n = 0;
    assert_int_equal(zip_unpack(zip, good, sizeof good - 1, plain, 3, &n, &err), 0);
    assert_int_equal(n, 3);
    assert_memory_equal(plain, "abc", 3);
    assert_refused(unsized, sizeof unsized - 1, FRAME);
    assert_refused(lying, sizeof lying - 1, FRAME);
    assert_refused(huge, sizeof huge - 1, FRAME);
    assert_refused(skippable, sizeof skippable - 1, FRAME);
}

/* Any byte changed: an error or other bytes, never more than was allowed. */
static void test_corrupted(void **state)
{
    (void)state;
    size_t len = zip_pack(zip, text, 2000, packed, FRAME), refused = 0;
    for (size_t i = 0; i < len; i++)
        for (int bit = 0; bit < 8; bit++) {
            struct err err = {0};
            size_t n = 0;
            char guard[2048];
            memset(guard + 2000, 'g', 48);
            packed[i] ^= (uint8_t)(1 << bit);
            if (zip_unpack(zip, packed, len, guard, 2000, &n, &err) < 0)
                refused++;
            else
                assert_true(n <= 2000);
            packed[i] ^= (uint8_t)(1 << bit);
            for (size_t g = 2000; g < sizeof guard; g++)
                assert_int_equal(guard[g], 'g');
        }
    assert_true(refused > 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_not_smaller),
        cmocka_unit_test(test_worthwhile),
        cmocka_unit_test(test_magic),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_two_frames),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_strange_frames),
        cmocka_unit_test(test_corrupted),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
