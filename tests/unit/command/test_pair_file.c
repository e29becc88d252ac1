/* pair: files are replaced whole, only as they were read, and never through somebody's link; and
 * what the agent is asked in lines of JSON. */
#include <pwd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "command/pair/pair_agent.h"
#include "command/pair/pair_file.h"
#include "link/keys/base64.h"

enum { MAX = 1000 };

static char dir[] = "/tmp/mirrord-pair-file-XXXXXX";

static int start(void **state)
{
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    char *command CLEANUP_FREE = mem_format("rm -rf '%s'", dir);
    return system(command);
}

static char *in_dir(const char *name)
{
    return mem_format("%s/%s", dir, name);
}

static void expect_content(const char *path, const char *want, unsigned mode)
{
    struct pair_file_content c;
    struct err err = {0};
    assert_int_equal(pair_file_read(path, MAX, &c, &err), 0);
    assert_string_equal(c.text, want);
    assert_int_equal(c.mode, mode);
    free(c.text);
}

static int replace(const char *path, const char *was, const char *text, unsigned mode,
    const char *user, struct err *err)
{
    const struct pair_file_change f = {.path = path,
        .was = was,
        .was_len = strlen(was),
        .text = text,
        .len = strlen(text),
        .mode = mode,
        .user = user};
    *err = (struct err){0};
    return pair_file_replace(&f, MAX, err);
}

static void test_new_and_replaced(void **state)
{
    (void)state;
    struct err err;
    char *path CLEANUP_FREE = in_dir("a/b/file");
    assert_int_equal(replace(path, "", "one\n", 0640, NULL, &err), 0);
    expect_content(path, "one\n", 0640);
    assert_int_equal(replace(path, "one\n", "two\n", 0600, "", &err), 0);
    expect_content(path, "two\n", 0640); /* an existing file keeps its mode */
    struct pair_file_content none;
    char *missing CLEANUP_FREE = in_dir("x/y");
    assert_int_equal(pair_file_read(missing, MAX, &none, &err), 0);
    assert_false(none.there);
    assert_string_equal(none.text, "");
    free(none.text);
}

static void test_changed_meanwhile(void **state)
{
    (void)state;
    struct err err;
    char *path CLEANUP_FREE = in_dir("meanwhile");
    assert_int_equal(replace(path, "", "one\n", 0600, NULL, &err), 0);
    assert_int_equal(replace(path, "", "two\n", 0600, NULL, &err), -1);
    assert_non_null(strstr(err.text, "meanwhile"));
    assert_int_equal(replace(path, "one", "two\n", 0600, NULL, &err), -1);
    assert_int_equal(replace(path, "one\n\n", "two\n", 0600, NULL, &err), -1);
    expect_content(path, "one\n", 0600);
}

static void test_links_are_not_followed(void **state)
{
    (void)state;
    struct err err;
    struct pair_file_content c;
    char *target CLEANUP_FREE = in_dir("target"), *link CLEANUP_FREE = in_dir("link");
    char *real CLEANUP_FREE = in_dir("real"), *swapped CLEANUP_FREE = in_dir("swapped");
    char *within CLEANUP_FREE = in_dir("swapped/keys"), *none CLEANUP_FREE = in_dir("real/keys");
    const struct passwd *self = getpwuid(geteuid());
    assert_non_null(self);
    assert_int_equal(replace(target, "", "one\n", 0600, NULL, &err), 0);
    assert_int_equal(symlink(target, link), 0);
    assert_int_equal(replace(link, "one\n", "two\n", 0600, NULL, &err), -1);
    assert_non_null(strstr(err.text, "symbolic link"));
    assert_int_equal(pair_file_read(link, MAX, &c, &err), -1);
    expect_content(target, "one\n", 0600);
    /* A user's .ssh that leads elsewhere. */
    assert_int_equal(mkdir(real, 0700), 0);
    assert_int_equal(symlink(real, swapped), 0);
    assert_int_equal(replace(within, "", "keys\n", 0600, self->pw_name, &err), -1);
    assert_int_not_equal(access(none, F_OK), 0);
    assert_int_equal(replace(none, "", "keys\n", 0600, self->pw_name, &err), 0);
    expect_content(none, "keys\n", 0600);
}

static char *instead; /* what the user puts in the place of a directory when it was made */

int __real_mkdir(const char *path, mode_t mode);
int __wrap_mkdir(const char *path, mode_t mode);
int __wrap_mkdir(const char *path, mode_t mode)
{
    int made = __real_mkdir(path, mode);
    if (made == 0 && instead && (rmdir(path) < 0 || rename(instead, path) < 0))
        return -1;
    return made;
}

/* A directory of root's that lies in his own, under the name of the one that he is to get. */
static void test_another_directory_is_not_given(void **state)
{
    (void)state;
    struct err err;
    struct stat st;
    const struct passwd *nobody = getpwnam("nobody");
    if (geteuid() != 0 || !nobody)
        skip();
    char *secret CLEANUP_FREE = in_dir("secret"), *in CLEANUP_FREE = in_dir("secret/x");
    char *keys CLEANUP_FREE = in_dir("home-ssh/keys"), *there CLEANUP_FREE = in_dir("home-ssh");
    assert_int_equal(mkdir(secret, 0700), 0);
    assert_int_equal(replace(in, "", "root's\n", 0600, NULL, &err), 0);
    instead = secret;
    assert_int_equal(replace(keys, "", "keys\n", 0600, "nobody", &err), -1);
    instead = NULL;
    assert_int_equal(stat(there, &st), 0);
    assert_int_equal(st.st_uid, 0);
    char *made CLEANUP_FREE = in_dir("made/keys"), *above CLEANUP_FREE = in_dir("made");
    assert_int_equal(replace(made, "", "keys\n", 0600, "nobody", &err), 0);
    assert_int_equal(stat(above, &st), 0);
    assert_int_equal(st.st_uid, nobody->pw_uid);
}

static void test_refused(void **state)
{
    (void)state;
    struct err err;
    struct pair_file_content c;
    assert_int_equal(replace("relative", "", "x", 0600, NULL, &err), -1);
    assert_int_equal(pair_file_read("relative", MAX, &c, &err), -1);
    assert_int_equal(pair_file_read(dir, MAX, &c, &err), -1); /* a directory */
    assert_int_equal(replace("/nowhere/x", "", "x", 0600, "no-such-user-here", &err), -1);
    assert_non_null(strstr(err.text, "no user no-such-user-here"));
    assert_null(pair_file_keys_of("no-such-user-here", &err));
}

static struct json *ask(const char *text)
{
    struct json *request = json_parse(text, strlen(text));
    struct json *answer = pair_agent_do(request);
    json_free(request);
    return answer;
}

static void test_the_agent(void **state)
{
    (void)state;
    char *path CLEANUP_FREE = in_dir("asked");
    char *content CLEANUP_FREE = base64_encode("\xff\n\x01 two", 7, true);
    char *write CLEANUP_FREE = mem_format("{\"do\":\"publish\",\"path\":\"%s\",\"was\":\"\","
                                          "\"text\":\"%s\",\"mode\":416}",
        path, content);
    char *read CLEANUP_FREE = mem_format("{\"do\":\"read\",\"path\":\"%s\"}", path);
    struct json *answer = ask(write);
    assert_null(json_get(answer, "error"));
    json_free(answer);
    answer = ask(read);
    assert_string_equal(json_get_text(answer, "text", ""), content);
    assert_int_equal(json_get_number(answer, "mode", 0), 0640);
    assert_true(json_get_bool(answer, "there", false));
    json_free(answer);
    answer = ask(write); /* it is there by now */
    assert_int_equal(json_get_number(answer, "code", 0), ERR_TEMPORARY);
    json_free(answer);
    static const char *const bad[] = {"", "{}", "[1]", "{\"do\":\"rm -rf\"}", "{\"do\":\"read\"}",
        "{\"do\":\"publish\",\"path\":7}", "{\"do\":\"try\",\"config\":\"/nowhere\"}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        answer = ask(bad[i]);
        assert_non_null(json_get(answer, "error"));
        json_free(answer);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_new_and_replaced),
        cmocka_unit_test(test_changed_meanwhile),
        cmocka_unit_test(test_links_are_not_followed),
        cmocka_unit_test(test_another_directory_is_not_given),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_the_agent),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
