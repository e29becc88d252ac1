/* What pushers share: taken under the very validators and bytes, by each once, and never too much.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "primary/push/pack/shelf.h"

enum { MOST = 100000 };

static struct site example = {.label = "example.com"}, other = {.label = "example.co"};
static const struct validators now = {
    .inode = 7, .size = 5, .ctime = 1700000000, .ctime_nsec = 1, .mtime = 1600000000};
static const struct digest hello = {{1, 2, 3}};

static int make(void **state)
{
    struct shelf *s = shelf_new(MOST);
    for (int i = 0; i < 3; i++)
        shelf_join(s);
    *state = s;
    return 0;
}

static int unmake(void **state)
{
    for (int i = 0; i < 3; i++)
        shelf_leave(*state);
    shelf_free(*state);
    return 0;
}

static ssize_t take(
    struct shelf *s, const struct site *site, const char *path, const struct validators *v)
{
    char content[16];
    struct digest digest;
    ssize_t n = shelf_content(s, site, bytes_of(path), v, content, &digest);
    if (n >= 0) {
        assert_memory_equal(content, "hello", 5);
        assert_memory_equal(&digest, &hello, sizeof digest);
    }
    return n;
}

static void put(struct shelf *s)
{
    shelf_put_content(s, &example, bytes_of("a/b"), &now, bytes_of("hello"), &hello);
}

static void content_is_taken_by_each_of_the_others(void **state)
{
    struct shelf *s = *state;
    assert_int_equal(take(s, &example, "a/b", &now), -1);
    put(s);
    assert_int_equal(take(s, &example, "a/b", &now), 5);
    assert_int_equal(take(s, &example, "a/b", &now), 5);
    assert_int_equal(take(s, &example, "a/b", &now), -1);
    assert_int_equal(shelf_memory(s), 0);
}

static void another_state_or_place_is_not_there(void **state)
{
    struct shelf *s = *state;
    put(s);
    struct validators v[6];
    for (int i = 0; i < 6; i++)
        v[i] = now;
    v[0].inode++;
    v[1].ctime++;
    v[2].ctime_nsec++;
    v[3].mtime++;
    v[4].mtime_nsec++;
    v[5].size++;
    for (int i = 0; i < 6; i++)
        assert_int_equal(take(s, &example, "a/b", &v[i]), -1);
    assert_int_equal(take(s, &example, "a/bb", &now), -1);
    assert_int_equal(take(s, &other, "a/b", &now), -1);
    assert_int_equal(take(s, &example, "a/b", &now), 5);
}

static void nothing_is_kept_for_one_alone(void **state)
{
    struct shelf *s = *state;
    put(s);
    shelf_leave(s);
    assert_true(shelf_is_shared(s));
    assert_int_equal(take(s, &example, "a/b", &now), 5);
    shelf_leave(s);
    assert_false(shelf_is_shared(s));
    assert_int_equal(shelf_memory(s), 0);
    put(s);
    assert_int_equal(shelf_memory(s), 0);
    shelf_join(s);
    assert_int_equal(take(s, &example, "a/b", &now), -1);
    shelf_join(s);
    assert_false(shelf_is_shared(NULL));
    assert_int_equal(shelf_packed(NULL, bytes_of("x"), NULL, 0), 0);
    assert_int_equal(take(NULL, &example, "a/b", &now), -1);
}

static void packed_bytes_are_those_of_the_same_bytes(void **state)
{
    struct shelf *s = *state;
    char out[8];
    shelf_put_packed(s, bytes_of("plain"), bytes_of("pkd"));
    assert_int_equal(shelf_packed(s, bytes_of("plaim"), out, sizeof out), 0);
    assert_int_equal(shelf_packed(s, bytes_of("plain"), out, 2), 0); /* it does not fit */
    assert_int_equal(shelf_packed(s, bytes_of("plain"), out, sizeof out), 3);
    assert_memory_equal(out, "pkd", 3);
    assert_int_equal(shelf_packed(s, bytes_of("plain"), out, sizeof out), 3);
    assert_int_equal(shelf_packed(s, bytes_of("plain"), out, sizeof out), 0);
}

static void the_oldest_go_when_there_is_too_much(void **state)
{
    struct shelf *s = *state;
    static char content[MOST / 8];
    struct validators v = now;
    struct digest digest;
    v.size = sizeof content;
    for (int i = 0; i < 20; i++) {
        char path = (char)('a' + i);
        shelf_put_content(s, &example, (struct bytes){&path, 1}, &v,
            (struct bytes){content, sizeof content}, &hello);
        assert_true(shelf_memory(s) <= MOST);
        assert_true(shelf_content(s, &example, (struct bytes){&path, 1}, &v, content, &digest) > 0);
    }
    assert_true(shelf_memory(s) > MOST / 2);
    assert_int_equal(shelf_content(s, &example, bytes_of("a"), &v, content, &digest), -1);
    assert_true(shelf_content(s, &example, bytes_of("t"), &v, content, &digest) > 0);
}

/* Two were as quick: the later stays, and the memory is counted once. */
static void the_same_twice_is_kept_once(void **state)
{
    struct shelf *s = *state;
    put(s);
    size_t once = shelf_memory(s);
    put(s);
    assert_int_equal(shelf_memory(s), once);
    assert_int_equal(take(s, &example, "a/b", &now), 5);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, make, unmake)
    const struct CMUnitTest tests[] = {
        T(content_is_taken_by_each_of_the_others),
        T(another_state_or_place_is_not_there),
        T(nothing_is_kept_for_one_alone),
        T(packed_bytes_are_those_of_the_same_bytes),
        T(the_oldest_go_when_there_is_too_much),
        T(the_same_twice_is_kept_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
