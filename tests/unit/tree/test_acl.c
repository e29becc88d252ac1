#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <linux/posix_acl_xattr.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tree/acl.h"

/* Users zoe = 10, adam = 20; groups www = 30, adm = 40, and one with a name that is no use. */
static int id_of(void *ctx, bool group, const char *name, unsigned *id)
{
    (void)ctx;
    *id = group ? (strcmp(name, "www") == 0) * 30u + (strcmp(name, "adm") == 0) * 40u
                : (strcmp(name, "zoe") == 0) * 10u + (strcmp(name, "adam") == 0) * 20u;
    return *id != 0;
}

static int name_of(void *ctx, bool group, unsigned id, char name[256])
{
    const char *found = group ? (id == 30      ? "www"
                                    : id == 40 ? "adm"
                                    : id == 50 ? "a,b"
                                               : NULL)
                              : (id == 10      ? "zoe"
                                    : id == 20 ? "adam"
                                               : NULL);
    (void)ctx;
    if (found)
        strcpy(name, found);
    return found != NULL;
}

static const struct names_source host = {id_of, name_of, NULL};

struct raw_acl {
    struct posix_acl_xattr_header head;
    struct posix_acl_xattr_entry e[16];
};

static size_t raw_size(size_t n)
{
    return sizeof(struct posix_acl_xattr_header) + n * sizeof(struct posix_acl_xattr_entry);
}

static const struct raw_acl full = {{2}, {{1, 6, -1u}, {2, 4, 10}, {2, 7, 20}, {4, 4, -1u},
                                             {8, 0, 30}, {8, 5, 40}, {16, 7, -1u}, {32, 0, -1u}}};
static const char full_text[] =
    "u::rw-,u:adam:rwx,u:zoe:r--,g::r--,g:adm:r-x,g:www:---,m::rwx,o::---";

static void assert_text(const struct raw_acl *raw, size_t n, bool of_default, const char *want)
{
    struct names *names = names_new(&host);
    uint8_t text[ENTRY_ACL_MAX];
    size_t len = 99;
    struct err err;
    assert_int_equal(acl_to_text(raw, raw_size(n), of_default, names, text, &len, &err), 0);
    assert_int_equal(len, strlen(want));
    assert_memory_equal(text, want, len);
    names_free(names);
}

static void test_to_text(void **state)
{
    (void)state;
    struct raw_acl minimal = {{2}, {{1, 6, -1u}, {4, 4, -1u}, {32, 0, -1u}}};
    struct raw_acl odd = {
        {2}, {{1, 6, -1u}, {2, 4, 99}, {4, 4, -1u}, {8, 4, 50}, {16, 7, -1u}, {32, 0, -1u}}};
    assert_text(&full, 8, false, full_text);
    assert_text(&minimal, 3, false, "");
    assert_text(&minimal, 3, true, "u::rw-,g::r--,o::---");
    assert_text(&odd, 6, false, "u::rw-,u:#99:r--,g::r--,g:#50:r--,m::rwx,o::---");
}

static void test_to_text_malformed(void **state)
{
    struct names *names = names_new(&host);
    uint8_t text[ENTRY_ACL_MAX];
    size_t len = 99;
    struct raw_acl version = full, tag = full;
    (void)state;
    version.head.a_version = 3;
    tag.e[2].e_tag = 3;
    assert_int_equal(acl_to_text(&version, raw_size(8), false, names, text, &len, NULL), -1);
    assert_int_equal(acl_to_text(&tag, raw_size(8), false, names, text, &len, NULL), -1);
    for (size_t n = 0; n < raw_size(8); n++) {
        bool whole = n >= raw_size(0) && (n - raw_size(0)) % sizeof full.e[0] == 0;
        assert_int_equal(acl_to_text(&full, n, false, names, text, &len, NULL), whole ? 0 : -1);
    }
    names_free(names);
}

static void test_too_many_entries(void **state)
{
    struct names *names = names_new(&host);
    size_t n = 1100, len = 99;
    struct raw_acl *raw = calloc(1, raw_size(n));
    uint8_t text[ENTRY_ACL_MAX];
    struct err err;
    (void)state;
    raw->head.a_version = 2;
    struct posix_acl_xattr_entry *e = (void *)((char *)raw + raw_size(0));
    for (size_t i = 0; i < n; i++)
        e[i] = (struct posix_acl_xattr_entry){2, 7, 20};
    assert_int_equal(acl_to_text(raw, raw_size(n), false, names, text, &len, &err), -1);
    assert_int_equal(err.code, ERR_FAILED);
    assert_int_equal(acl_to_text(raw, raw_size(n * 9 / 10), false, names, text, &len, &err), -1);
    assert_int_equal(acl_to_text(raw, raw_size(700), false, names, text, &len, &err), 0);
    assert_true(len > 700 * 10 && len <= ENTRY_ACL_MAX);
    free(raw);
    names_free(names);
}

static void test_from_text(void **state)
{
    struct names *names = names_new(&host);
    void *raw = NULL;
    size_t len;
    struct err err;
    (void)state;
    assert_int_equal(acl_from_text(bytes_of(full_text), names, &raw, &len, &err), 0);
    assert_int_equal(len, raw_size(8));
    assert_text(raw, 8, false, full_text);
    /* In the order of the text. */
    assert_int_equal(((struct raw_acl *)raw)->e[1].e_id, 20);
    free(raw);
    names_free(names);
}

static void test_from_text_unknown_name(void **state)
{
    static const char *const unknown[] = {"u:bob:r--", "g:zoe:r--", "u:#10:r--", "g:#30:rwx"};
    struct names *names = names_new(&host);
    (void)state;
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        void *raw = NULL;
        size_t len;
        struct err err;
        assert_int_equal(acl_from_text(bytes_of(unknown[i]), names, &raw, &len, &err), -1);
        assert_int_equal(err.code, ERR_PARTIAL);
        assert_null(raw);
    }
    names_free(names);
}

static void test_from_text_malformed(void **state)
{
    static const char *const bad[] = {"u", "u::", "u::rw", "u::rwxx", "u:rw-", "x::rw-", "u::wr-",
        "u::rw-,", "m:zoe:r--", "o:zoe:r--", ",u::rw-", "u::rw-,,o::---", "u:z:oe:r--", "u:zoe:r-",
        "::rwx", "u::rw\xff", ""};
    struct names *names = names_new(&host);
    char longest[400];
    (void)state;
    memset(longest, 'a', sizeof longest);
    memcpy(longest, "u:", 2);
    memcpy(longest + 300, ":rwx", 4);
    for (size_t i = 0; i <= sizeof bad / sizeof *bad; i++) {
        bool last = i == sizeof bad / sizeof *bad;
        struct bytes text = last ? (struct bytes){longest, 304} : bytes_of(bad[i]);
        void *raw = NULL;
        size_t len;
        struct err err = {0};
        int rc = acl_from_text(text, names, &raw, &len, &err);
        assert_int_equal(rc, -1);
        assert_int_equal(err.code, ERR_FAILED);
    }
    names_free(names);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_to_text),
        cmocka_unit_test(test_to_text_malformed),
        cmocka_unit_test(test_too_many_entries),
        cmocka_unit_test(test_from_text),
        cmocka_unit_test(test_from_text_unknown_name),
        cmocka_unit_test(test_from_text_malformed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
