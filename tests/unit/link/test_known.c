/* known_hosts files: which lines speak of a host, and what they say of the key it shows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "link/keys/known.h"
#include "link/keys/known_edit.h"
#include "sshd.h"

static char dir[128];

static int start(void **state)
{
    (void)state;
    test_dir_make(dir);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    test_dir_remove(dir);
    return 0;
}

/* Instead of a hash: "|1|" and the name itself. */
static bool matches(void *arg, const char *hashed, const char *name)
{
    (void)arg;
    return strcmp(hashed + 3, name) == 0;
}

static char *file_in(const char *name)
{
    return mem_format("%s/%s", dir, name);
}

static enum known_verdict check(const char *text, const char *name, unsigned port, const char *type,
    const char *key, unsigned *number)
{
    char *file CLEANUP_FREE = file_in("known"), *missing CLEANUP_FREE = file_in("missing");
    char *files[] = {missing, file};
    struct words words = {files, 2};
    struct known known;
    struct err err = {0};
    test_write(file, text, 0600);
    if (known_load(&words, name, port, matches, NULL, &known, &err))
        fail_msg("%s", err.text);
    const struct known_line *line;
    enum known_verdict v = known_check(&known, type, key, &line);
    *number = line ? line->line : 0;
    if (line)
        assert_ptr_equal(line->file, file);
    known_free(&known);
    return v;
}

static void expect(
    const char *text, const char *name, unsigned port, enum known_verdict want, unsigned want_line)
{
    unsigned number;
    enum known_verdict got = check(text, name, port, "ssh-ed25519", "KEY", &number);
    if (got != want || number != want_line)
        fail_msg("%s %u in \"%s\": %d at %u", name, port, text, got, number);
}

static void test_names(void **state)
{
    (void)state;
    expect("", "web2", 22, KNOWN_ABSENT, 0);
    expect("# c\n\nweb2 ssh-ed25519 KEY comment here\r\n", "web2", 22, KNOWN_MATCH, 3);
    expect("web2 ssh-ed25519 KEY", "web2", 22, KNOWN_MATCH, 1);
    expect("WEB2 ssh-ed25519 KEY\n", "web2", 22, KNOWN_MATCH, 1);
    expect("web22 ssh-ed25519 KEY\n", "web2", 22, KNOWN_ABSENT, 0);
    expect("a,web2,b ssh-ed25519 KEY\n", "web2", 22, KNOWN_MATCH, 1);
    expect("[web2]:2222 ssh-ed25519 KEY\n", "web2", 2222, KNOWN_MATCH, 1);
    expect("[web2]:2222 ssh-ed25519 KEY\n", "web2", 22, KNOWN_ABSENT, 0);
    expect("[web2]:2222 ssh-ed25519 KEY\n", "web2", 2223, KNOWN_ABSENT, 0);
    expect("web2 ssh-ed25519 KEY\n", "web2", 2222, KNOWN_MATCH, 1);
    expect("*.example.com,!bad.* ssh-ed25519 KEY\n", "a.example.com", 22, KNOWN_MATCH, 1);
    expect("*.example.com,!bad.* ssh-ed25519 KEY\n", "bad.example.com", 22, KNOWN_ABSENT, 0);
    expect("web? ssh-ed25519 KEY\n", "web2", 22, KNOWN_MATCH, 1);
    expect("[::1]:22 ssh-ed25519 KEY\n::1 ssh-ed25519 KEY\n", "::1", 22, KNOWN_MATCH, 2);
    expect("|1|web2 ssh-ed25519 KEY\n", "web2", 22, KNOWN_MATCH, 1);
    expect("|1|[web2]:23 ssh-ed25519 KEY\n", "web2", 23, KNOWN_MATCH, 1);
    expect("|1|web3 ssh-ed25519 KEY\n", "web2", 22, KNOWN_ABSENT, 0);
    expect("web2\nweb2 ssh-ed25519\n@revoked\n", "web2", 22, KNOWN_ABSENT, 0);
}

static void test_verdicts(void **state)
{
    (void)state;
    expect("web2 ssh-ed25519 OLD\n", "web2", 22, KNOWN_CHANGED, 1);
    expect("web2 ssh-rsa R\n", "web2", 22, KNOWN_OTHER, 1);
    expect("web2 ssh-rsa R\nweb2 ssh-ed25519 OLD\n", "web2", 22, KNOWN_CHANGED, 2);
    expect(
        "web2 ssh-ed25519 OLD\nweb2 ssh-rsa R\nweb2 ssh-ed25519 KEY\n", "web2", 22, KNOWN_MATCH, 3);
    expect("web2 ssh-ed25519 KEY\n@revoked * ssh-ed25519 KEY\n", "web2", 22, KNOWN_REVOKED, 2);
    expect("@revoked * ssh-ed25519 KEY\nweb2 ssh-ed25519 KEY\n", "web2", 22, KNOWN_REVOKED, 1);
    expect("@revoked * ssh-ed25519 OTHER\nweb2 ssh-ed25519 KEY\n", "web2", 22, KNOWN_MATCH, 2);
    expect("@revoked * ssh-ed25519 OTHER\n", "web2", 22, KNOWN_ABSENT, 0);
    expect("@cert-authority * ssh-ed25519 KEY\n", "web2", 22, KNOWN_ABSENT, 0);
    expect("@other * ssh-ed25519 KEY\n", "web2", 22, KNOWN_ABSENT, 0);
}

static void test_unreadable(void **state)
{
    (void)state;
    char *files[] = {dir}; /* a directory */
    struct words words = {files, 1};
    struct known known;
    struct err err = {0};
    assert_int_equal(known_load(&words, "web2", 22, matches, NULL, &known, &err), -1);
    assert_non_null(strstr(err.text, dir));
}

#define HASHED                                                                                     \
    "|1|TU7s5mvyvjd4XfFn0F/woL4nhuk=|EmeV+xKKTtAAY6ar/d2IMoOEwpQ=" /* [web2.internal]:2222 */

static void expect_edit(
    const char *text, const char *name, size_t lines, bool replace, const char *want)
{
    struct known found;
    struct err err = {0};
    if (known_edit_find(text, "known", name, &found, &err))
        fail_msg("%s", err.text);
    assert_int_equal(found.count, lines);
    char *edited = known_edit_add(text, &found, replace, "|1|s|h ssh-ed25519 NEW");
    assert_string_equal(edited, want);
    free(edited);
    known_free(&found);
}

#define ADDED "|1|s|h ssh-ed25519 NEW\n"

static void test_edited(void **state)
{
    (void)state;
    expect_edit("", "web2", 0, false, ADDED);
    expect_edit("# a\nweb3 ssh-ed25519 KEY", "web2", 0, true, "# a\nweb3 ssh-ed25519 KEY\n" ADDED);
    expect_edit("web2 ssh-rsa R\n", "web2", 1, false, "web2 ssh-rsa R\n" ADDED);
    expect_edit("a ssh-rsa R\nweb2 ssh-rsa R\nweb2 ssh-ed25519 K\n\n", "web2", 2, true,
        "a ssh-rsa R\n\n" ADDED);
    expect_edit("@revoked web2 ssh-rsa R\n", "web2", 1, true, "@revoked web2 ssh-rsa R\n" ADDED);
}

/* The port is a part of the name; and a name that is hashed is found. */
static void test_edited_by_its_exact_name(void **state)
{
    (void)state;
    expect_edit("web2 ssh-rsa R\n", "[web2]:2222", 0, true, "web2 ssh-rsa R\n" ADDED);
    expect_edit("[web2]:2222 ssh-rsa R\n", "web2", 0, true, "[web2]:2222 ssh-rsa R\n" ADDED);
    expect_edit("[web2]:2222 ssh-rsa R\n", "[web2]:2222", 1, true, ADDED);
    expect_edit(HASHED " ssh-rsa R\n", "[web2.internal]:2222", 1, true, ADDED);
    expect_edit(HASHED " ssh-rsa R\n", "web2.internal", 0, true, HASHED " ssh-rsa R\n" ADDED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_verdicts),
        cmocka_unit_test(test_unreadable),
        cmocka_unit_test(test_edited),
        cmocka_unit_test(test_edited_by_its_exact_name),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
