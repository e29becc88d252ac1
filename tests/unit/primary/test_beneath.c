/* What lies beneath a directory, out of the manifest: until when its record stands for a look. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "primary/push/push_impl.h"
#include "primary/push/send/beneath.h"

struct world {
    char top[64];
    char *root, *state;
    struct filter *filter;
    struct unit_rules *rules;
    struct site *site;
    struct queue *q;
    struct push_site *ps;
};

static void nothing(void *ctx)
{
    (void)ctx;
}

static void put(struct manifest_txn *t, const char *name, uint8_t flags, const char *owner)
{
    struct err err;
    struct record r = {.entry = {.type = ENTRY_FILE,
                           .mode = 0644,
                           .size = 1,
                           .owner = bytes_of(owner),
                           .group = bytes_of("web")},
        .validators = {.inode = 7, .size = 1},
        .flags = flags};
    assert_int_equal(manifest_put(t, MANIFEST_ROOT, bytes_of(name), &r, &err), 0);
}

static int setup(void **state)
{
    struct world *w = *state = mem_alloc(sizeof *w);
    struct err err;
    struct manifest_txn *t;
    struct record root = {.entry = {.type = ENTRY_DIR, .mode = 0755}};
    snprintf(w->top, sizeof w->top, "/tmp/mirrord-unit-XXXXXX");
    assert_non_null(mkdtemp(w->top));
    w->root = mem_format("%s/root", w->top);
    w->state = mem_format("%s/state", w->top);
    assert_int_equal(mkdir(w->root, 0755), 0);
    w->filter = filter_new();
    w->rules = unit_rules_new();
    struct site_options o = {.name = "test",
        .root = w->root,
        .state_dir = w->state,
        .filter = w->filter,
        .units = w->rules};
    if (site_open(&o, &w->site, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(manifest_begin(w->site->manifest, true, &t, &err), 0);
    assert_int_equal(manifest_put_root(t, &root, &err), 0);
    put(t, "a", 0, "web");
    put(t, "b", RECORD_RACY, "web");
    put(t, "c", 0, "");
    put(t, "d", 0, "web");
    put(t, "e", 0, "web");
    assert_int_equal(manifest_commit(t, &err), 0);
    w->q = queue_new(nothing, NULL);
    w->ps = push_site_new(w->q, w->site, NULL, NULL);
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    push_site_free(w->q, w->ps);
    queue_free(w->q);
    site_unref(w->site);
    filter_free(w->filter);
    unit_rules_free(w->rules);
    char *command CLEANUP_FREE = mem_format("rm -rf %s", w->top);
    assert_int_equal(system(command), 0);
    free(w->root);
    free(w->state);
    free(w);
    return 0;
}

static bool is_foreseen(struct beneath *b, const char *path)
{
    struct beneath_entry e;
    struct err err;
    assert_int_equal(beneath_next(b, &e, &err), 1);
    assert_true(bytes_equal(e.path, bytes_of(path)));
    return e.foreseen != NULL;
}

/* Racy ones may be another by now, and whose owner has no name is to be said. */
static void test_what_a_record_proves(void **state)
{
    struct world *w = *state;
    struct beneath_entry e;
    struct err err;
    struct beneath *b = beneath_new(w->ps, (struct bytes){0}, false);
    assert_true(is_foreseen(b, "a"));
    assert_false(is_foreseen(b, "b"));
    assert_false(is_foreseen(b, "c"));
    assert_true(is_foreseen(b, "d"));
    assert_true(is_foreseen(b, "e"));
    assert_int_equal(beneath_next(b, &e, &err), 0);
    beneath_free(b);
}

/* What was listed before it changed must not be sent after what it changed to: its content may
 * still be on the shelf, where nobody looks at the file. */
static void test_news_end_it(void **state)
{
    struct world *w = *state;
    struct beneath *b = beneath_new(w->ps, (struct bytes){0}, false);
    assert_true(is_foreseen(b, "a"));
    queue_owe(w->q, w->ps->owed, bytes_of("d"), 0, OWED_ANY, (struct bytes){0}, 0, 0);
    queue_done(w->q, queue_take(w->q, w->ps->owed, OWED_LIVE));
    assert_false(is_foreseen(b, "b"));
    assert_false(is_foreseen(b, "c"));
    assert_false(is_foreseen(b, "d"));
    assert_false(is_foreseen(b, "e"));
    beneath_free(b);
    b = beneath_new(w->ps, (struct bytes){0}, false);
    assert_true(is_foreseen(b, "a"));
    queue_move(w->q, w->ps->owed, bytes_of("x"), bytes_of("y"));
    is_foreseen(b, "b");
    is_foreseen(b, "c");
    assert_false(is_foreseen(b, "d"));
    beneath_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_a_record_proves, setup, teardown),
        cmocka_unit_test_setup_teardown(test_news_end_it, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
