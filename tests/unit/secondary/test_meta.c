/* Metadata on what stands in the live tree: at no moment is it open to somebody to whom neither
 * what it had opens it nor what it gets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "secondary/stage/meta.h"

static mode_t when_given; /* the mode that it had when its owner changed */

int __wrap_fchown(int fd, uid_t uid, gid_t gid);
int __wrap_fchown(int fd, uid_t uid, gid_t gid)
{
    struct stat st;
    (void)uid;
    (void)gid;
    assert_int_equal(fstat(fd, &st), 0);
    when_given = st.st_mode & 07777;
    return 0;
}

static mode_t give(mode_t from, mode_t to, bool fresh)
{
    struct names *names = names_new(NULL);
    const struct meta_rules rules = {
        .names = names, .host = "here", .fixed = true, .uid = 12345, .gid = 12345};
    struct entry e = {.type = ENTRY_FILE, .mode = (uint16_t)to, .mtime = 5};
    struct stat st;
    struct err err;
    int fd CLEANUP_FD = memfd_create("meta", MFD_CLOEXEC);
    assert_int_equal(fchmod(fd, from), 0);
    assert_int_equal(meta_apply(&rules, fd, &e, 0, fresh, &err), 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_mode & 07777, to);
    assert_int_equal(st.st_mtim.tv_sec, 5);
    names_free(names);
    return when_given;
}

static void what_others_lose_they_lose_first(void **state)
{
    (void)state;
    assert_int_equal(give(0640, 0600, false), 0600); /* the new group never reads it */
    assert_int_equal(give(0644, 0640, false), 0640);
    assert_int_equal(give(0604, 0640, false), 0600);
    assert_int_equal(give(0600, 0640, false), 0600); /* the old group neither */
    assert_int_equal(give(0640, 0640, false), 0640);
    assert_int_equal(give(0640, 0600, true), 0640); /* nobody gets into the stage */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_others_lose_they_lose_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
