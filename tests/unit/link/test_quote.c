/* Quoting, checked by a real shell. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "link/process/quote.h"
#include "stream.h"

static void test_words(void **state)
{
    (void)state;
    char *plain CLEANUP_FREE = quote_command(WORDS("mirrord", "receive", "--root=/srv/www"));
    assert_string_equal(plain, "mirrord receive '--root=/srv/www'");
    char *odd CLEANUP_FREE = quote_command(WORDS("a b", "", "it's"));
    assert_string_equal(odd, "'a b' '' 'it'\\''s'");
}

static void test_shell_agrees(void **state)
{
    (void)state;
    char every[256];
    for (int i = 1; i < 256; i++)
        every[i - 1] = (char)i;
    every[255] = 0;
    char *command CLEANUP_FREE =
        quote_command(WORDS("printf", "%s|%s|%s", every, "", "~ $(x) `y`"));
    FILE *p = popen(command, "re");
    assert_non_null(p);
    char got[512];
    size_t n = fread(got, 1, sizeof got - 1, p);
    got[n] = 0;
    assert_int_equal(pclose(p), 0);
    char *want CLEANUP_FREE = mem_format("%s||~ $(x) `y`", every);
    assert_string_equal(got, want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_shell_agrees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
