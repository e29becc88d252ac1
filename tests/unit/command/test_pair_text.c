/* pair: the line that a key gets, and what an authorized_keys file becomes with it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "command/pair/pair_plan.h"
#include "command/pair/pair_text.h"

#define FORCED     "restrict,command=\"mirrord receive -c /etc/m.conf --as web2\" "
#define WORDS(...) ((char *const *)(const char *const[]){__VA_ARGS__, NULL})

static void test_the_line(void **state)
{
    (void)state;
    char *line = NULL;
    struct err err = {0};
    assert_int_equal(
        pair_text_line(WORDS("mirrord", "receive", "-c", "/etc/m.conf", "--as", "web2"),
            "ssh-ed25519 AAAA", "mirrord@web1", &line, &err),
        0);
    assert_string_equal(line, FORCED "ssh-ed25519 AAAA mirrord@web1");
    free(line);
    /* Quoted for the shell, then for the file. */
    assert_int_equal(pair_text_line(WORDS("/opt/my dir/m", "-c", "a\"b$(id)`x`;y"),
                         "ssh-ed25519 AAAA", "c", &line, &err),
        0);
    assert_string_equal(
        line, "restrict,command=\"'/opt/my dir/m' -c 'a\\\"b$(id)`x`;y'\" ssh-ed25519 AAAA c");
    free(line);
    assert_int_equal(pair_text_line(WORDS("m", "a\nb"), "ssh-ed25519 AAAA", "c", &line, &err), -1);
    assert_int_equal(err.code, ERR_USAGE);
    assert_int_equal(pair_text_line(WORDS("m", "a\\b"), "ssh-ed25519 AAAA", "c", &line, &err), -1);
    /* A single quote would need a backslash. */
    assert_int_equal(pair_text_line(WORDS("m", "it's"), "ssh-ed25519 AAAA", "c", &line, &err), -1);
}

static void expect_add(const char *text, bool keep_older, const char *want, const char *gone)
{
    struct pair_text_edit e;
    pair_text_add(text, FORCED "ssh-ed25519 NEW mirrord@web1", keep_older, &e);
    assert_string_equal(e.text, want);
    assert_string_equal(e.gone, gone);
    assert_int_equal(e.same, strcmp(text, want) == 0);
    pair_text_free(&e);
}

#define LINE  FORCED "ssh-ed25519 NEW mirrord@web1\n"
#define OLDER FORCED "ssh-ed25519 OLD mirrord@web1\n"

static void test_added_once(void **state)
{
    (void)state;
    expect_add("", false, LINE, "");
    expect_add(LINE, false, LINE, "");
    expect_add("# a\n\nssh-rsa BBBB me\n", false, "# a\n\nssh-rsa BBBB me\n" LINE, "");
    expect_add("ssh-rsa BBBB me", false, "ssh-rsa BBBB me\n" LINE, "");
    expect_add(LINE "ssh-rsa BBBB me\n", false, LINE "ssh-rsa BBBB me\n", "");
    expect_add(LINE LINE, false, LINE, LINE);
    expect_add("what is this\n" LINE, false, "what is this\n" LINE, "");
}

static void test_without_a_last_newline(void **state)
{
    (void)state;
    struct pair_text_edit e;
    pair_text_add(
        FORCED "ssh-ed25519 NEW other comment", FORCED "ssh-ed25519 NEW mirrord@web1", false, &e);
    assert_true(e.same);
    pair_text_free(&e);
}

static void test_a_changed_one_is_replaced(void **state)
{
    (void)state;
    expect_add("ssh-ed25519 NEW\n", false, LINE, "ssh-ed25519 NEW\n");
    expect_add("a\n  no-pty,command=\"x \\\" y\"  ssh-ed25519\t NEW  z\nb\n", false, "a\nb\n" LINE,
        "  no-pty,command=\"x \\\" y\"  ssh-ed25519\t NEW  z\n");
    expect_add("#ssh-ed25519 NEW\n", false, "#ssh-ed25519 NEW\n" LINE, "");
    /* The same words in an option are no key. */
    expect_add("command=\"ssh-ed25519 NEW\" ssh-rsa BBBB\n", false,
        "command=\"ssh-ed25519 NEW\" ssh-rsa BBBB\n" LINE, "");
}

static void test_an_older_key_of_the_host(void **state)
{
    (void)state;
    expect_add("a\n" OLDER, false, "a\n" LINE, OLDER);
    expect_add("a\n" OLDER, true, "a\n" OLDER LINE, "");
    /* Of another host, for another command, or a person's. */
    expect_add(FORCED "ssh-ed25519 OLD mirrord@web3\n", false,
        FORCED "ssh-ed25519 OLD mirrord@web3\n" LINE, "");
    expect_add("restrict,command=\"x\" ssh-ed25519 OLD mirrord@web1\n", false,
        "restrict,command=\"x\" ssh-ed25519 OLD mirrord@web1\n" LINE, "");
    expect_add("ssh-ed25519 OLD mirrord@web1\n", false, "ssh-ed25519 OLD mirrord@web1\n" LINE, "");
}

static void test_removed(void **state)
{
    (void)state;
    struct pair_text_edit e;
    pair_text_remove("a\n" OLDER "b\n" LINE, FORCED "ssh-ed25519 OLD x", &e);
    assert_string_equal(e.text, "a\nb\n" LINE);
    assert_string_equal(e.gone, OLDER);
    assert_false(e.same);
    pair_text_free(&e);
    pair_text_remove("a\n" LINE, FORCED "ssh-ed25519 OLD x", &e);
    assert_true(e.same);
    pair_text_free(&e);
    pair_text_remove("", FORCED "ssh-ed25519 OLD x", &e);
    assert_string_equal(e.text, "");
    pair_text_free(&e);
}

static void test_what_is_a_key(void **state)
{
    (void)state;
    static const char *const good[] = {"ssh-ed25519 AAAAC3Nza+/C1==", "ecdsa-sha2-nistp256 AAAA",
        "sk-ssh-ed25519@openssh.com AAAA="};
    static const char *const bad[] = {"", "ssh-ed25519", "ssh-ed25519 ", "AAAA",
        "ssh-ed25519  AAAA", "ssh-ed25519 AAAA me", "ssh-ed25519 AAAA\nssh-ed25519 BBBB",
        "ssh-ed25519 A=A", "command=\"x\" ssh-ed25519 AAAA", "ssh-ed25519 AAAA\n", "ssh- AAAA"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (!pair_text_is_key(good[i]))
            fail_msg("'%s' is none", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (pair_text_is_key(bad[i]))
            fail_msg("'%s' is one", bad[i]);
}

/* Another host says where its files are, and what is in them: no terminal obeys that. */
static void test_what_is_planned_is_tame(void **state)
{
    (void)state;
    static const char path[] = "/nowhere-\x1b[2J/keys";
    struct config_host host = {.name = (char *)"web2"};
    struct pair_end *here = pair_end_here(&host);
    struct pair_plan plan = {0};
    struct pair_planned *f;
    struct err err;
    char text[512];
    FILE *out = tmpfile();
    assert_non_null(out);
    assert_int_equal(pair_plan_file(&plan, here, path, "", 0600, &f, &err), 0);
    pair_plan_change(f, mem_copy_string("x"),
        "  + \x1b]0;a\x07 \xc2\x9b"
        "2J%s\n",
        "\tb");
    fflush(stdout);
    int before CLEANUP_FD = dup(STDOUT_FILENO);
    assert_true(dup2(fileno(out), STDOUT_FILENO) >= 0);
    pair_plan_print(&plan);
    fflush(stdout);
    assert_true(dup2(before, STDOUT_FILENO) >= 0);
    rewind(out);
    text[fread(text, 1, sizeof text - 1, out)] = '\0';
    fclose(out);
    assert_string_equal(text, "web2: /nowhere-\\033[2J/keys, which is new\n  + ?]0;a? ?2J\tb\n");
    pair_plan_free(&plan);
    pair_end_close(here);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_line),
        cmocka_unit_test(test_added_once),
        cmocka_unit_test(test_without_a_last_newline),
        cmocka_unit_test(test_a_changed_one_is_replaced),
        cmocka_unit_test(test_an_older_key_of_the_host),
        cmocka_unit_test(test_removed),
        cmocka_unit_test(test_what_is_a_key),
        cmocka_unit_test(test_what_is_planned_is_tame),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
