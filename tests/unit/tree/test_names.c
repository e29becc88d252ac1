#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "tree/names.h"

/* A host with one user, alice = 1001, and one group, staff = 50; counts what it is asked. */
struct host {
    unsigned asked;
};

static int host_id_of(void *ctx, bool group, const char *name, unsigned *id)
{
    ((struct host *)ctx)->asked++;
    if (strcmp(name, group ? "staff" : "alice") != 0)
        return 0;
    *id = group ? 50 : 1001;
    return 1;
}

static int host_name_of(void *ctx, bool group, unsigned id, char name[256])
{
    ((struct host *)ctx)->asked++;
    if (id != (group ? 50u : 1001u))
        return 0;
    strcpy(name, group ? "staff" : "alice");
    return 1;
}

static void test_both_ways(void **state)
{
    (void)state;
    struct host host = {0};
    struct names_source source = {host_id_of, host_name_of, &host};
    struct names *n = names_new(&source);
    uid_t uid = 7;
    gid_t gid = 7;
    assert_true(bytes_equal(names_user(n, 1001), bytes_of("alice")));
    assert_true(bytes_equal(names_group(n, 50), bytes_of("staff")));
    assert_int_equal(names_user(n, 50).len, 0);
    assert_int_equal(names_uid(n, bytes_of("alice"), &uid), 1);
    assert_int_equal(uid, 1001);
    assert_int_equal(names_gid(n, bytes_of("staff"), &gid), 1);
    assert_int_equal(gid, 50);
    assert_int_equal(names_gid(n, bytes_of("alice"), &gid), 0);
    assert_int_equal(gid, 50);
    names_free(n);
}

static void test_answers_are_remembered(void **state)
{
    (void)state;
    struct host host = {0};
    struct names_source source = {host_id_of, host_name_of, &host};
    struct names *n = names_new(&source);
    uid_t uid;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(names_user(n, 1001).len, 5);
        assert_int_equal(names_user(n, 9).len, 0);
        assert_int_equal(names_uid(n, bytes_of("alice"), &uid), 1);
        assert_int_equal(names_uid(n, bytes_of("bob"), &uid), 0);
    }
    assert_int_equal(host.asked, 4);
    names_free(n);
}

static void test_a_peer_cannot_fill_memory(void **state)
{
    (void)state;
    struct host host = {0};
    struct names_source source = {host_id_of, host_name_of, &host};
    struct names *n = names_new(&source);
    struct bytes alice = names_user(n, 1001);
    uid_t uid;
    for (int i = 0; i < 20000; i++) {
        char name[32];
        snprintf(name, sizeof name, "nobody-%d", i);
        assert_int_equal(names_uid(n, bytes_of(name), &uid), 0);
    }
    assert_memory_equal(alice.data, "alice", 5);
    assert_int_equal(names_uid(n, bytes_of("alice"), &uid), 1);
    names_free(n);
}

static void test_no_names(void **state)
{
    (void)state;
    struct host host = {0};
    struct names_source source = {host_id_of, host_name_of, &host};
    struct names *n = names_new(&source);
    char longest[300];
    uid_t uid;
    memset(longest, 'a', sizeof longest);
    assert_int_equal(names_uid(n, (struct bytes){longest, 256}, &uid), 0);
    assert_int_equal(names_uid(n, (struct bytes){"alice\0x", 7}, &uid), 0);
    assert_int_equal(names_uid(n, (struct bytes){0}, &uid), 0);
    assert_int_equal(host.asked, 0);
    names_free(n);
}

static void test_the_library(void **state)
{
    (void)state;
    struct names *n = names_new(NULL);
    uid_t uid = 7;
    gid_t gid = 7;
    assert_true(bytes_equal(names_user(n, 0), bytes_of("root")));
    assert_true(bytes_equal(names_group(n, 0), bytes_of("root")));
    assert_int_equal(names_uid(n, bytes_of("root"), &uid), 1);
    assert_int_equal(uid, 0);
    assert_int_equal(names_gid(n, bytes_of("root"), &gid), 1);
    assert_int_equal(gid, 0);
    assert_int_equal(names_uid(n, bytes_of("no-such-user-here"), &uid), 0);
    assert_int_equal(names_user(n, 3999999999u).len, 0);
    names_free(n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_ways),
        cmocka_unit_test(test_answers_are_remembered),
        cmocka_unit_test(test_a_peer_cannot_fill_memory),
        cmocka_unit_test(test_no_names),
        cmocka_unit_test(test_the_library),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
