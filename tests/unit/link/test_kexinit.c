/* The reader of the server's first packet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "link/ssh2/kexinit.h"

static void add_u32(struct buf *b, uint32_t v)
{
    unsigned char bytes[4] = {(unsigned char)(v >> 24), (unsigned char)(v >> 16),
        (unsigned char)(v >> 8), (unsigned char)v};
    buf_append(b, bytes, 4);
}

static const char *const names[KEXINIT_LISTS] = {"kex1,kex2", "host", "c1", "", "m1,m2,m3", "m"};

/* Banner, packet head, cookie and the six lists. */
static struct buf sample(void)
{
    struct buf b = {0};
    static const char banner[] = "hello\r\nSSH-2.0-test\r\n";
    static const unsigned char head[18] = {4, 20};
    buf_append(&b, banner, sizeof banner - 1);
    add_u32(&b, 500);
    buf_append(&b, head, sizeof head);
    for (size_t i = 0; i < KEXINIT_LISTS; i++) {
        add_u32(&b, (uint32_t)strlen(names[i]));
        buf_append(&b, names[i], strlen(names[i]));
    }
    return b;
}

static void test_parse(void **state)
{
    (void)state;
    struct buf b = sample();
    char *lists[KEXINIT_LISTS];
    assert_true(kexinit_parse(buf_bytes(&b), buf_len(&b), lists));
    for (size_t i = 0; i < KEXINIT_LISTS; i++) {
        assert_string_equal(lists[i], names[i]);
        free(lists[i]);
    }
    buf_free(&b);
}

static void test_truncated(void **state)
{
    (void)state;
    struct buf b = sample();
    char *lists[KEXINIT_LISTS];
    for (size_t n = 0; n < buf_len(&b); n++) {
        unsigned char *exact = malloc(n + !n); /* so that a sanitizer sees any byte too far */
        assert_non_null(exact);
        memcpy(exact, buf_bytes(&b), n);
        assert_false(kexinit_parse(exact, n, lists));
        free(exact);
    }
    buf_free(&b);
    static const char other[] = "SSH-2.0-x\n\0\0\0\x40\x04\x15"; /* another message */
    unsigned char bytes[200] = {0};
    memcpy(bytes, other, sizeof other);
    assert_false(kexinit_parse(bytes, sizeof bytes, lists));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_truncated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
