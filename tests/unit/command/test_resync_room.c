/* What a resync says, and how it ends, when the far disk has no room. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "command/resync/resync_room.h"

static const struct space disk = {1500000, 20000000, 0, 300};

static void failing(struct resync_room *r, int errnum, uint64_t bytes)
{
    struct err why;
    err_sys(&why, errnum, "write");
    resync_room_note(r, bytes, &why);
}

static void test_nothing_failed_for_room(void **state)
{
    (void)state;
    struct resync_room r = {0};
    struct err err = {.code = ERR_NONE};
    failing(&r, EACCES, 1000);
    failing(&r, 0, 1000);
    assert_int_equal(resync_room_verdict(&r, 2, &disk, "/srv", &err), 0);
    assert_int_equal(err.code, ERR_NONE);
}

static void test_all_for_room(void **state)
{
    (void)state;
    struct resync_room r = {0};
    struct err err;
    failing(&r, ENOSPC, 30000000);
    assert_int_equal(resync_room_verdict(&r, 1, &disk, "/srv", &err), -1);
    assert_int_equal(err.code, ERR_TEMPORARY);
    assert_string_equal(err.text,
        "1 path of 30.0 MB did not fit on the disk of /srv (1.5 of 20.0 MB and 0 of 300 inodes "
        "free): make room there (df -h /srv; df -i /srv), then run this again: it goes on where it "
        "ended");
    failing(&r, EDQUOT, 2000000);
    assert_int_equal(resync_room_verdict(&r, 2, &(struct space){0}, "/srv", &err), -1);
    assert_int_equal(err.code, ERR_TEMPORARY);
    assert_string_equal(err.text,
        "2 paths of 32.0 MB did not fit on the disk of /srv: make room there (df -h /srv; df -i "
        "/srv), then run this again: it goes on where it ended");
}

static void test_all_for_quota(void **state)
{
    (void)state;
    struct resync_room r = {0};
    struct err err;
    failing(&r, EDQUOT, 100000);
    assert_int_equal(
        resync_room_verdict(&r, 1, &(struct space){1500000, 20000000, 0, 0}, "/srv", &err), -1);
    assert_int_equal(err.code, ERR_TEMPORARY);
    assert_string_equal(err.text,
        "1 path of 0.1 MB did not fit into the quota of the owner beneath /srv (1.5 of 20.0 MB "
        "free): raise it there, or delete something (repquota -a), then run this again: it goes on "
        "where it ended");
}

static void test_some_for_room(void **state)
{
    (void)state;
    struct resync_room r = {0};
    struct err err;
    failing(&r, ENOSPC, 30000000);
    failing(&r, EACCES, 5);
    assert_int_equal(resync_room_verdict(&r, 2, &disk, "/srv", &err), -1);
    assert_int_equal(err.code, ERR_PARTIAL);
    assert_string_equal(err.text,
        "2 paths could not be mirrored; the rest is equal. 1 of them, 30.0 MB, did not fit on the "
        "disk of /srv (1.5 of 20.0 MB and 0 of 300 inodes free): make room there (df -h /srv; df "
        "-i /srv)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_failed_for_room),
        cmocka_unit_test(test_all_for_room),
        cmocka_unit_test(test_all_for_quota),
        cmocka_unit_test(test_some_for_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
