/* The log: levels, the journal's form, one line an event, and names made harmless. */
#include "base/log.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/io.h"

/* What a call writes to standard error. */
static char said[8192];

static int saved, captured;

static void capture(void)
{
    saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    captured = memfd_create("stderr", MFD_CLOEXEC);
    assert_true(saved >= 0 && captured >= 0);
    assert_int_equal(dup2(captured, STDERR_FILENO), STDERR_FILENO);
}

static void captured_text(void)
{
    dup2(saved, STDERR_FILENO);
    ssize_t n = io_pread_full(captured, said, sizeof said - 1, 0);
    close(saved);
    close(captured);
    assert_true(n >= 0);
    said[n] = '\0';
}

#define SAY(call)                                                                                  \
    do {                                                                                           \
        capture();                                                                                 \
        call;                                                                                      \
        captured_text();                                                                           \
    } while (0)

static int setup(void **state)
{
    (void)state;
    unsetenv("JOURNAL_STREAM");
    log_set_level(LOG_LEVEL_WARNING);
    return 0;
}

static void test_levels(void **state)
{
    (void)state;
    assert_int_equal(log_get_level(), LOG_LEVEL_WARNING);
    SAY(log_error("e"); log_warn("w"); log_info("i"); log_debug("d"));
    assert_string_equal(said, "mirrord: error: e\nmirrord: warning: w\n");
    log_set_level(LOG_LEVEL_DEBUG);
    SAY(log_info("web%d: %s", 2, "x.jpg"); log_debug("d"));
    assert_string_equal(said, "mirrord: web2: x.jpg\nmirrord: debug: d\n");
    log_set_level(LOG_LEVEL_ERROR);
    SAY(log_warn("w"));
    assert_string_equal(said, "");
}

static void test_journal(void **state)
{
    (void)state;
    char stream[64];
    struct stat st;
    log_set_level(LOG_LEVEL_DEBUG);
    SAY(fstat(STDERR_FILENO, &st); snprintf(stream, sizeof stream, "%llu:%llu",
        (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
        setenv("JOURNAL_STREAM", stream, 1); log_error("e"); log_warn("w"); log_info("i");
        log_debug("d"); log_always("a"));
    assert_string_equal(said, "<3>e\n<4>w\n<6>i\n<7>d\n<6>a\n");
    setenv("JOURNAL_STREAM", "1:2", 1); /* inherited: standard error goes elsewhere by now */
    SAY(log_error("e"));
    assert_string_equal(said, "mirrord: error: e\n");
    setenv("JOURNAL_STREAM", "journal", 1);
    log_set_level(LOG_LEVEL_ERROR);
    SAY(log_info("i"); log_always("a"));
    assert_string_equal(said, "mirrord: a\n");
}

static void test_one_line(void **state)
{
    (void)state;
    SAY(log_error("\xc2\x9b"
                  "31m\xc3\xa9\xc2\xa0"));
    assert_string_equal(said, "mirrord: error: ??31m\xc3\xa9\xc2\xa0\n");
    SAY(log_error("a\nb\tc\x1b[31m\x7f"));
    assert_string_equal(said, "mirrord: error: a?b?c?[31m?\n");
    char name[7000];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    SAY(log_error("%s", name));
    size_t n = strlen(said);
    assert_true(n > 4000 && n < 4200);
    assert_int_equal(said[n - 1], '\n');
}

static void assert_name(const char *bytes, size_t len, const char *expected)
{
    assert_string_equal(QUOTED(bytes, len), expected);
}

static void test_name(void **state)
{
    (void)state;
    assert_name("", 0, "");
    assert_name("wp-content/a b.jpg", 18, "wp-content/a b.jpg");
    assert_name("a\nb\033c\177", 6, "a\\012b\\033c\\177");
    assert_name("a\\b", 3, "a\\134b");
    assert_name("a\0b", 3, "a\\000b");
    assert_name("M\xc3\xbcnchen\xe2\x82\xac\xf0\x9f\x98\x80", 15, "München€😀");
}

/* What is not UTF-8 is escaped byte by byte. */
static void test_name_not_utf8(void **state)
{
    (void)state;
    assert_name("\xff\xfe", 2, "\\377\\376");
    assert_name("x\xc3", 2, "x\\303");                          /* cut */
    assert_name("\xc0\xaf", 2, "\\300\\257");                   /* overlong */
    assert_name("\xe0\x80\xaf", 3, "\\340\\200\\257");          /* overlong */
    assert_name("\xed\xa0\x80", 3, "\\355\\240\\200");          /* surrogate */
    assert_name("\xf4\x90\x80\x80", 4, "\\364\\220\\200\\200"); /* beyond Unicode */
    assert_name("\xc2\x9b", 2, "\\302\\233");                   /* a control character */
    assert_name("\xe2\x82x", 3, "\\342\\202x");                 /* broken off */
}

static void test_name_is_cut(void **state)
{
    (void)state;
    static const char *const inputs[] = {
        "aaaaaaaaaaaaaaaaaaaaaaaaaa", "\n\n\n\n\n\n\n\n\n\n\n", "€€€€€€€€€€€€", "😀a😀b😀c😀d😀"};
    for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++)
        for (size_t size = 8; size <= 24; size++) {
            char out[32];
            memset(out, '#', sizeof out);
            assert_ptr_equal(log_name(out, size, inputs[i], strlen(inputs[i])), out);
            assert_true(strlen(out) < size);
            assert_string_equal(out + strlen(out) - 3, "…");
            for (size_t k = size; k < sizeof out; k++)
                assert_int_equal(out[k], '#');
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_levels, setup),
        cmocka_unit_test_setup(test_journal, setup),
        cmocka_unit_test_setup(test_one_line, setup),
        cmocka_unit_test(test_name),
        cmocka_unit_test(test_name_not_utf8),
        cmocka_unit_test(test_name_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
