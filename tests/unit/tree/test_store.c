/* Random transactions of many writes, held against plain arrays: what is looked for, put, deleted
 * and listed in one transaction, near each other and far apart, in two tables at once; committed or
 * not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "scratch.h"
#include "tree/manifest/store.h"

enum {
    KEYS = 4000,
    VALUE_MAX = 3000, /* bytes: some have pages of their own */
    SEEDS = 8,
    TRANSACTIONS = 20,
    RUNS = 60, /* of one kind of work, in a transaction */
    RUN_MAX = 120,
};

static const enum store_table tables[] = {STORE_ENTRIES, STORE_DIRS};

/* The length of each key's value; 0: it is not there. */
struct model {
    uint16_t lengths[2][KEYS];
};

struct fixture {
    char *dir;
    struct store *store;
    struct model now;
    uint64_t random;
};

static uint32_t dice(struct fixture *f, uint32_t sides)
{
    f->random = f->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(f->random >> 33) % sides;
}

static struct bytes key_of(char out[32], uint32_t n)
{
    /* Some are long, so that few fit a page. */
    int len = snprintf(out, 32, "%05u%.*s", n, n % 7 == 0 ? 20 : 2, "abcdefghijklmnopqrstuvw");
    return (struct bytes){out, (size_t)len};
}

static struct bytes value_of(uint8_t out[VALUE_MAX], uint32_t n, uint16_t length)
{
    for (uint16_t i = 0; i < length; i++)
        out[i] = (uint8_t)(n + length + i);
    return (struct bytes){out, length};
}

static void check_value(uint32_t n, uint16_t length, struct bytes found)
{
    uint8_t value[VALUE_MAX];
    assert_true(bytes_equal(value_of(value, n, length), found));
}

static void put(struct fixture *f, struct store_txn *t, int table, uint32_t n)
{
    char key[32];
    uint8_t value[VALUE_MAX];
    struct err err;
    uint16_t length = (uint16_t)(1 + (dice(f, 50) ? dice(f, 200) : dice(f, VALUE_MAX - 1)));
    assert_int_equal(
        store_put(t, tables[table], key_of(key, n), value_of(value, n, length), &err), 0);
    f->now.lengths[table][n] = length;
}

static void get(struct fixture *f, struct store_txn *t, int table, uint32_t n)
{
    char key[32];
    struct bytes value;
    struct err err;
    uint16_t length = f->now.lengths[table][n];
    assert_int_equal(store_get(t, tables[table], key_of(key, n), &value, &err), length > 0);
    if (length)
        check_value(n, length, value);
}

static void drop(struct fixture *f, struct store_txn *t, int table, uint32_t n)
{
    char key[32];
    struct err err;
    assert_int_equal(
        store_delete(t, tables[table], key_of(key, n), &err), f->now.lengths[table][n] > 0);
    f->now.lengths[table][n] = 0;
}

/* All of a table from `n` on, in order. */
static void list(struct fixture *f, struct store_txn *t, int table, uint32_t n)
{
    char key[32];
    struct bytes found, value;
    struct err err;
    int rc = store_seek(t, tables[table], key_of(key, n), &found, &value, &err);
    for (; n < KEYS; n++) {
        uint16_t length = f->now.lengths[table][n];
        if (!length)
            continue;
        assert_int_equal(rc, 1);
        assert_true(bytes_equal(found, key_of(key, n)));
        check_value(n, length, value);
        rc = store_next(t, tables[table], &found, &value, &err);
    }
    assert_int_equal(rc, 0);
}

/* The same done to one key after the other, as a walk does. */
static void run(struct fixture *f, struct store_txn *t)
{
    int table = (int)dice(f, 2);
    uint32_t kind = dice(f, 7), n = dice(f, KEYS), end = n + dice(f, RUN_MAX),
             step = 1 + dice(f, 3);
    for (; n < end && n < KEYS; n += step) {
        if (kind < 3) {
            get(f, t, table, n);
            put(f, t, table, n);
        } else if (kind < 5) {
            drop(f, t, table, n);
        } else {
            get(f, t, (int)dice(f, 2), dice(f, 2) ? n : dice(f, KEYS));
        }
    }
    if (dice(f, 10) == 0)
        list(f, t, table, dice(f, KEYS));
}

static void transaction(struct fixture *f)
{
    struct model before = f->now;
    struct store_txn *t;
    struct err err;
    assert_int_equal(store_begin(f->store, true, &t, &err), 0);
    for (int i = 0; i < RUNS; i++)
        run(f, t);
    if (dice(f, 20) == 0) {
        assert_int_equal(store_clear(t, tables[0], &err), 0);
        memset(f->now.lengths[0], 0, sizeof f->now.lengths[0]);
        run(f, t);
    }
    if (dice(f, 4)) {
        assert_int_equal(store_commit(t, &err), 0);
    } else {
        store_abort(t);
        f->now = before;
    }
}

static void test_random_transactions(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct fixture *f = calloc(1, sizeof *f);
        struct store_txn *t;
        struct err err;
        f->random = seed;
        f->dir = scratch_new();
        assert_int_equal(store_open(f->dir, false, &f->store, &err), 0);
        for (int i = 0; i < TRANSACTIONS; i++) {
            transaction(f);
            assert_int_equal(store_begin(f->store, false, &t, &err), 0);
            list(f, t, 0, 0);
            list(f, t, 1, 0);
            for (int j = 0; j < 100; j++)
                get(f, t, (int)dice(f, 2), dice(f, KEYS));
            store_abort(t);
        }
        store_close(f->store);
        scratch_free(f->dir);
        free(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_transactions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
