/* What a secondary is owed: once each, newest state, moves as barriers, marks for flush. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "primary/push/peer/peer.h"
#include "primary/push/queue/queue.h"

struct fixture {
    struct queue *q;
    struct queue_site *site;
    unsigned wakes;
    struct site *with_units;
};

static void wake(void *ctx)
{
    ((struct fixture *)ctx)->wakes++;
}

static int setup(void **state)
{
    static struct fixture f;
    f = (struct fixture){0};
    f.q = queue_new(wake, &f);
    f.site = queue_add_site(f.q, NULL);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    queue_free(((struct fixture *)*state)->q);
    return 0;
}

static void owe(struct fixture *f, const char *path, unsigned flags)
{
    queue_owe(f->q, f->site, bytes_of(path), flags, OWED_ANY, (struct bytes){0}, 0, 0);
}

static struct owed *take(struct fixture *f, enum owed_class class)
{
    return queue_take(f->q, f->site, class);
}

static void assert_path(const struct owed *o, const char *path)
{
    assert_non_null(o);
    assert_int_equal(queue_path(o).len, strlen(path));
    assert_string_equal(queue_path(o).data, path);
}

static void test_once_and_in_order(void **state)
{
    struct fixture *f = *state;
    owe(f, "a", 0);
    owe(f, "b", 0);
    owe(f, "a", 0);
    assert_true(f->wakes >= 2);
    struct owed *a = take(f, OWED_LIVE), *b = take(f, OWED_LIVE);
    assert_path(a, "a");
    assert_path(b, "b");
    assert_null(take(f, OWED_LIVE));
    queue_done(f->q, a);
    queue_done(f->q, b);
    assert_int_equal(queue_size(f->q, f->site), 0);
}

static void test_changed_while_flying_is_owed_again(void **state)
{
    struct fixture *f = *state;
    owe(f, "a", 0);
    struct owed *a = take(f, OWED_LIVE);
    owe(f, "a", 0);
    assert_null(take(f, OWED_LIVE)); /* never twice at once */
    queue_done(f->q, a);
    a = take(f, OWED_LIVE);
    assert_path(a, "a");
    queue_done(f->q, a);
    assert_int_equal(queue_size(f->q, f->site), 0);
}

/* While it flies its fields are the taker's. */
static void test_what_comes_while_it_flies_counts_afterwards(void **state)
{
    struct fixture *f = *state;
    static const enum { DONE, RETRY, LAND } ends[] = {DONE, RETRY, LAND};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        owe(f, "a", 0);
        struct owed *a = take(f, OWED_LIVE);
        owe(f, "a", OWE_SUBTREE | OWE_KNOWN | OWE_OPEN | OWE_ALONE);
        assert_false(a->subtree || a->known || a->open || a->alone);
        if (ends[i] == DONE)
            queue_done(f->q, a);
        else if (ends[i] == RETRY)
            queue_retry(f->q, a, 0, 0, NULL);
        else
            queue_land(f->q, f->site);
        a = take(f, OWED_LIVE);
        assert_true(a->subtree && a->known && a->open && a->alone);
        queue_done(f->q, a);
        assert_int_equal(queue_size(f->q, f->site), 0);
    }
}

static void test_live_overtakes_bulk(void **state)
{
    struct fixture *f = *state;
    owe(f, "bulk", OWE_BULK);
    assert_null(take(f, OWED_LIVE));
    assert_true(queue_ready(f->q, f->site, OWED_BULK));
    owe(f, "bulk", 0); /* a live change of the same path */
    assert_path(take(f, OWED_LIVE), "bulk");
}

static void test_retry_waits_and_counts_as_failing(void **state)
{
    struct fixture *f = *state;
    struct queue_counts c;
    owe(f, "a", 0);
    queue_retry(f->q, take(f, OWED_LIVE), 60000, 60000, "disk full");
    assert_null(take(f, OWED_LIVE));
    int due = queue_next_due(f->q);
    assert_in_range(due, 1, 60000);
    queue_count(f->q, f->site, &c);
    assert_int_equal(c.failing, 1);
    owe(f, "a", 0); /* news make it due at once */
    assert_path(take(f, OWED_LIVE), "a");
}

static void test_retry_without_pause(void **state)
{
    struct fixture *f = *state;
    owe(f, "a", 0);
    queue_retry(f->q, take(f, OWED_LIVE), 0, 1000, NULL);
    assert_path(take(f, OWED_LIVE), "a");
}

static void test_a_move_waits_for_all_and_all_for_it(void **state)
{
    struct fixture *f = *state;
    owe(f, "x", 0);
    owe(f, "old/in", 0);
    struct owed *x = take(f, OWED_LIVE);
    queue_move(f->q, f->site, bytes_of("old"), bytes_of("new"));
    owe(f, "later", OWE_BULK);
    assert_null(take(f, OWED_LIVE)); /* x flies */
    assert_null(take(f, OWED_BULK));
    queue_done(f->q, x);
    struct owed *move = take(f, OWED_LIVE);
    assert_path(move, "new");
    assert_int_equal(move->kind, OWED_MOVE);
    assert_string_equal(move->source, "old");
    assert_null(take(f, OWED_LIVE)); /* the move flies */
    assert_null(take(f, OWED_BULK));
    queue_done(f->q, move);
    assert_path(take(f, OWED_LIVE), "new/in"); /* what was owed beneath the old name */
    assert_path(take(f, OWED_BULK), "later");
}

static void test_a_move_that_cannot_be_done_becomes_content(void **state)
{
    struct fixture *f = *state;
    queue_move(f->q, f->site, bytes_of("old"), bytes_of("new"));
    struct owed *o = take(f, OWED_LIVE);
    o->whole = true;
    queue_retry(f->q, o, 0, 1000, NULL);
    o = take(f, OWED_LIVE);
    assert_path(o, "old"); /* what is left there must go */
    assert_true(o->check); /* also when another directory is there by now */
    o = take(f, OWED_LIVE);
    assert_path(o, "new");
    assert_int_equal(o->kind, OWED_ANY);
    assert_true(o->subtree && o->check);
}

/* What the secondary has at either name is not what the moves say. */
static void test_two_moves_to_one_name(void **state)
{
    struct fixture *f = *state;
    queue_move(f->q, f->site, bytes_of("a"), bytes_of("to"));
    queue_move(f->q, f->site, bytes_of("b"), bytes_of("to"));
    struct owed *o = take(f, OWED_LIVE);
    assert_path(o, "to");
    assert_true(o->check);
    queue_done(f->q, o);
    o = take(f, OWED_LIVE);
    assert_path(o, "b");
    assert_true(o->check && o->subtree);
}

static void test_a_lost_connection_gives_up_moves(void **state)
{
    struct fixture *f = *state;
    queue_move(f->q, f->site, bytes_of("old"), bytes_of("new"));
    assert_path(take(f, OWED_LIVE), "new");
    queue_land(f->q, f->site);
    assert_path(take(f, OWED_LIVE), "old");
    assert_path(take(f, OWED_LIVE), "new");
}

static void test_a_chain_of_moves_is_one(void **state)
{
    struct fixture *f = *state;
    queue_move(f->q, f->site, bytes_of("a"), bytes_of("t"));
    queue_move(f->q, f->site, bytes_of("t"), bytes_of("b"));
    struct owed *o = take(f, OWED_LIVE);
    assert_path(o, "b");
    assert_int_equal(o->kind, OWED_MOVE);
    assert_string_equal(o->source, "a");
    queue_done(f->q, o);
    o = take(f, OWED_LIVE); /* the secondary may have had another t, which the first one replaced */
    assert_path(o, "t");
    assert_int_equal(o->kind, OWED_ANY);
    assert_true(o->subtree && o->check);
    queue_done(f->q, o);
    assert_int_equal(queue_size(f->q, f->site), 0);
}

/* Names that lead in a circle are no move: what is there decides. */
static void test_a_chain_that_leads_back_is_no_move(void **state)
{
    struct fixture *f = *state;
    queue_move(f->q, f->site, bytes_of("a"), bytes_of("t"));
    queue_move(f->q, f->site, bytes_of("t"), bytes_of("a"));
    struct owed *o = take(f, OWED_LIVE);
    assert_path(o, "a");
    assert_int_equal(o->kind, OWED_ANY);
    assert_true(o->subtree && o->check);
    queue_done(f->q, o);
    queue_move(f->q, f->site, bytes_of("b"), bytes_of("t"));
    queue_move(f->q, f->site, bytes_of("t"), bytes_of("b/in")); /* another b meanwhile */
    while ((o = take(f, OWED_LIVE)) != NULL) {
        assert_int_not_equal(o->kind, OWED_MOVE);
        queue_done(f->q, o);
    }
}

/* The target of a move that waits is renamed itself: the first source must not be forgotten. */
static void test_a_move_of_what_waits_to_be_moved_in(void **state)
{
    struct fixture *f = *state;
    queue_move(f->q, f->site, bytes_of("a"), bytes_of("d/x"));
    queue_move(f->q, f->site, bytes_of("d"), bytes_of("e"));
    const char *const want[] = {"e", "e/x", "a"};
    for (size_t i = 0; i < 3; i++) {
        struct owed *o = take(f, OWED_LIVE);
        assert_path(o, want[i]);
        assert_int_equal(o->kind == OWED_MOVE, i == 0);
        queue_done(f->q, o);
    }
    assert_int_equal(queue_size(f->q, f->site), 0);
}

static void doomed(struct fixture *f, const char *path)
{
    queue_owe(f->q, f->site, bytes_of(path), OWE_BULK | OWE_SUBTREE, OWED_DELETE, (struct bytes){0},
        0, 0);
}

/* A directory that has to go there, while one of its name is made here: the old one's content must
 * not survive in it, whenever it is owed anew. */
static void test_a_doomed_directory_is_compared_if_it_is_there_again(void **state)
{
    struct fixture *f = *state;
    doomed(f, "a");
    owe(f, "a", 0);
    assert_true(take(f, OWED_LIVE)->check);
    owe(f, "b", 0);
    doomed(f, "b");
    assert_true(take(f, OWED_LIVE)->check);
    owe(f, "c", 0);
    struct owed *c = take(f, OWED_LIVE);
    doomed(f, "c");
    assert_false(c->check);
    queue_done(f->q, c);
    assert_ptr_equal(take(f, OWED_LIVE), c);
    assert_true(c->check);
    queue_done(f->q, c);
    queue_owe(f->q, f->site, bytes_of("d"), 0, OWED_DELETE, (struct bytes){0}, 0, 0);
    assert_false(take(f, OWED_LIVE)->check); /* a file */
}

static void test_what_came_while_it_flew_outlives_a_failure(void **state)
{
    struct fixture *f = *state;
    queue_owe(f->q, f->site, bytes_of("a"), 0, OWED_META, (struct bytes){0}, 0, 0);
    struct owed *a = take(f, OWED_LIVE);
    doomed(f, "a");
    queue_retry(f->q, a, 0, 0, NULL);
    assert_ptr_equal(take(f, OWED_LIVE), a);
    assert_true(a->check);
    assert_int_equal(a->kind, OWED_ANY);
    queue_move(f->q, f->site, bytes_of("b"), bytes_of("a"));
    assert_true(a->again_check);
    queue_land(f->q, f->site);
    assert_true(a->check && a->subtree);
}

/* Its new name flies just then: it is owed again behind that. */
static void test_what_waits_is_renamed_to_what_flies(void **state)
{
    struct fixture *f = *state;
    uint64_t mark;
    owe(f, "to/x", 0);
    struct owed *x = take(f, OWED_LIVE);
    owe(f, "from/x", 0);
    mark = queue_mark(f->q);
    queue_move(f->q, f->site, bytes_of("from"), bytes_of("to"));
    queue_done(f->q, x);
    assert_true(queue_owes(f->q, f->site, mark, NULL, 0));
    struct owed *move = take(f, OWED_LIVE);
    assert_int_equal(move->kind, OWED_MOVE);
    queue_done(f->q, move);
    assert_path(take(f, OWED_LIVE), "to/x");
}

static void test_claim(void **state)
{
    struct fixture *f = *state;
    owe(f, "top", OWE_SUBTREE);
    struct owed *top = take(f, OWED_LIVE);
    owe(f, "a", 0);
    assert_null(queue_claim(f->q, f->site, bytes_of("a"), OWED_BULK, top));
    struct owed *b = queue_claim(f->q, f->site, bytes_of("b"), OWED_BULK, top);
    assert_path(b, "b");
    assert_null(queue_claim(f->q, f->site, bytes_of("b"), OWED_BULK, top));
    queue_done(f->q, b);
    queue_done(f->q, top);
    assert_int_equal(queue_size(f->q, f->site), 1);
}

/* What is found on the way, or by comparing, happened before: flushes wait for it. */
static void test_what_is_found_is_not_news(void **state)
{
    struct fixture *f = *state;
    owe(f, "top", OWE_SUBTREE);
    uint64_t mark = queue_mark(f->q);
    struct owed *top = take(f, OWED_LIVE);
    owe(f, "top/a", 0);
    assert_null(queue_claim(f->q, f->site, bytes_of("top/a"), OWED_BULK, top));
    struct owed *b = queue_claim(f->q, f->site, bytes_of("top/b"), OWED_BULK, top);
    queue_done(f->q, top);
    struct owed *a = take(f, OWED_LIVE);
    assert_path(a, "top/a");
    queue_done(f->q, a);
    assert_true(queue_owes(f->q, f->site, mark, NULL, 0));
    owe(f, "top/b", 0);
    queue_backdate(f->q, f->site, bytes_of("top/b")); /* while it flies: it will again */
    queue_done(f->q, b);
    assert_true(queue_owes(f->q, f->site, mark, NULL, 0));
    b = take(f, OWED_BULK);
    assert_path(b, "top/b");
    queue_done(f->q, b);
    owe(f, "later", 0);
    assert_false(queue_owes(f->q, f->site, mark, NULL, 0));
    queue_backdate(f->q, f->site, bytes_of("later"));
    queue_backdate(f->q, f->site, bytes_of("not there"));
    assert_true(queue_owes(f->q, f->site, mark, NULL, 0));
}

static void test_what_was_sent_meanwhile(void **state)
{
    struct fixture *f = *state;
    owe(f, "before", 0);
    queue_done(f->q, take(f, OWED_LIVE));
    queue_remember(f->q, f->site, true);
    owe(f, "a", 0);
    owe(f, "meta", 0);
    assert_false(queue_sent(f->q, f->site, bytes_of("a"))); /* it waits: what is found is added */
    struct owed *a = take(f, OWED_LIVE), *meta = take(f, OWED_LIVE);
    meta->kind = OWED_META;
    assert_true(queue_sent(f->q, f->site, bytes_of("a")));
    assert_false(queue_sent(f->q, f->site, bytes_of("meta")));
    queue_done(f->q, a);
    queue_done(f->q, meta);
    assert_true(queue_sent(f->q, f->site, bytes_of("a")));
    assert_false(queue_sent(f->q, f->site, bytes_of("meta")));
    assert_false(queue_sent(f->q, f->site, bytes_of("before")));
    queue_remember(f->q, f->site, false);
    assert_false(queue_sent(f->q, f->site, bytes_of("a")));
}

/* A comparison that goes on, of one directory more: what was read before that may be older. */
static void test_what_was_sent_before_is_not_meanwhile(void **state)
{
    struct fixture *f = *state;
    queue_remember(f->q, f->site, true);
    owe(f, "done", 0);
    owe(f, "flies", 0);
    queue_done(f->q, take(f, OWED_LIVE));
    struct owed *flies = take(f, OWED_LIVE);
    assert_true(queue_sent(f->q, f->site, bytes_of("done")));
    assert_true(queue_sent(f->q, f->site, bytes_of("flies")));
    queue_remember(f->q, f->site, true);
    assert_false(queue_sent(f->q, f->site, bytes_of("done")));
    assert_false(queue_sent(f->q, f->site, bytes_of("flies")));
    queue_done(f->q, flies);
    assert_false(queue_sent(f->q, f->site, bytes_of("flies")));
    owe(f, "done", 0);
    queue_done(f->q, take(f, OWED_LIVE));
    assert_true(queue_sent(f->q, f->site, bytes_of("done")));
    queue_remember(f->q, f->site, false);
}

static void test_news_are_counted(void **state)
{
    struct fixture *f = *state;
    uint64_t before = queue_news(f->site);
    owe(f, "a", 0);
    assert_true(queue_news(f->site) > before);
    before = queue_news(f->site);
    queue_done(f->q, take(f, OWED_LIVE));
    assert_int_equal(queue_news(f->site), before);
    queue_move(f->q, f->site, bytes_of("a"), bytes_of("b"));
    assert_true(queue_news(f->site) > before);
}

static void test_a_lost_connection_owes_what_flew(void **state)
{
    struct fixture *f = *state;
    owe(f, "a", 0);
    take(f, OWED_LIVE);
    queue_land(f->q, f->site);
    assert_path(take(f, OWED_LIVE), "a");
}

static void test_marks(void **state)
{
    struct fixture *f = *state;
    const struct bytes in_a = bytes_of("a"), in_c = bytes_of("c");
    owe(f, "a/1", 0);
    uint64_t mark = queue_mark(f->q);
    owe(f, "b", 0);
    assert_true(queue_owes(f->q, f->site, mark, NULL, 0));
    assert_true(queue_owes(f->q, f->site, mark, &in_a, 1));
    assert_false(queue_owes(f->q, f->site, mark, &in_c, 1));
    struct owed *a = take(f, OWED_LIVE);
    owe(f, "a/1", 0); /* later than the mark, but the earlier state is not there yet either */
    assert_true(queue_owes(f->q, f->site, mark, NULL, 0));
    queue_done(f->q, a);
    assert_false(queue_owes(f->q, f->site, mark, NULL, 0));
    assert_true(queue_owes(f->q, f->site, queue_mark(f->q), NULL, 0));
}

/* Sent, and refused for this reason: it waits for a minute. */
static void refuse(struct fixture *f, const char *path, uint64_t bytes, const char *error)
{
    owe(f, path, 0);
    struct owed *o = take(f, OWED_LIVE);
    assert_path(o, path);
    o->bytes = bytes;
    queue_retry(f->q, o, 60000, 60000, error);
}

static void test_a_success_hurries_what_failed(void **state)
{
    struct fixture *f = *state;
    refuse(f, "full", 10, "No space left on device");
    refuse(f, "busy", 10, NULL);
    refuse(f, "also full", 10, "No space left on device");
    assert_null(take(f, OWED_LIVE));
    queue_hurry(f->q, f->site);
    assert_path(take(f, OWED_LIVE), "full");
    assert_path(take(f, OWED_LIVE), "also full");
    assert_null(take(f, OWED_LIVE));
}

static void test_the_smallest_that_failed_is_tried(void **state)
{
    struct fixture *f = *state;
    assert_true(queue_probe(f->q, f->site, 100)); /* nothing failed */
    refuse(f, "large", 1000, "No space left on device");
    assert_false(queue_probe(f->q, f->site, 100));
    assert_null(take(f, OWED_LIVE));
    refuse(f, "small", 20, "No space left on device");
    refuse(f, "smaller, and busy", 10, NULL);
    refuse(f, "less small", 30, "No space left on device");
    assert_true(queue_probe(f->q, f->site, 100));
    assert_path(take(f, OWED_LIVE), "small");
    assert_null(take(f, OWED_LIVE));
}

/* A site of which the queue needs to know its units only. */
static int setup_units(void **state)
{
    static struct site site;
    struct unit_rules *rules = unit_rules_new();
    struct err err;
    assert_int_equal(unit_rules_add(rules, "plugins/*", &err), 0);
    assert_int_equal(unit_rules_add(rules, "admin + *.php", &err), 0);
    site = (struct site){.options.units = rules, .unrest = unrest_new(rules)};
    setup(state);
    struct fixture *f = *state;
    f->site = queue_add_site(f->q, &site);
    f->with_units = &site;
    return 0;
}

static int teardown_units(void **state)
{
    struct fixture *f = *state;
    struct site *site = f->with_units;
    teardown(state);
    unrest_free(site->unrest);
    unit_rules_free((struct unit_rules *)site->options.units);
    return 0;
}

static void test_unit_is_owed_once(void **state)
{
    struct fixture *f = *state;
    owe(f, "plugins/shop/a", 0);
    owe(f, "plugins/shop/b", OWE_BULK);
    owe(f, "plugins/shop", OWE_SUBTREE);
    owe(f, "plugins/hello.php", 0);
    owe(f, "admin/x", 0);
    owe(f, "index.php", 0);
    assert_int_equal(queue_size(f->q, f->site), 3);
    struct owed *shop = take(f, OWED_UNIT), *core = take(f, OWED_UNIT);
    assert_path(shop, "plugins/shop");
    assert_path(core, "admin + *.php");
    assert_null(take(f, OWED_UNIT));
    assert_path(take(f, OWED_LIVE), "plugins/hello.php");
    assert_null(take(f, OWED_BULK));
    owe(f, "plugins/shop/c", 0);
    queue_done(f->q, shop);
    assert_path(take(f, OWED_UNIT), "plugins/shop");
}

static void test_path_alone(void **state)
{
    struct fixture *f = *state;
    owe(f, "plugins/shop/a", 0);
    owe(f, "plugins/shop/log", OWE_ALONE);
    assert_path(take(f, OWED_LIVE), "plugins/shop/log");
    struct owed *shop = take(f, OWED_UNIT);
    owe(f, "plugins/shop", OWE_ALONE | OWE_SUBTREE | OWE_BULK); /* it cannot be switched */
    queue_done(f->q, shop);
    assert_null(take(f, OWED_UNIT));
    shop = take(f, OWED_BULK);
    assert_path(shop, "plugins/shop");
    assert_true(shop->alone);
}

/* What a link that leads there has to wait for. */
static void test_owed_beneath(void **state)
{
    struct fixture *f = *state;
    const struct bytes shop = bytes_of("plugins/shop"), x = bytes_of("x");
    owe(f, "plugins/shop/a", 0);
    owe(f, "plugins/shopping", 0);
    assert_true(queue_owes_beneath(f->q, f->site, shop));
    struct owed *unit = take(f, OWED_UNIT);
    assert_true(queue_owes_beneath(f->q, f->site, shop)); /* until it is acknowledged */
    queue_retry(f->q, unit, 1000, 1000, "unreadable");
    assert_true(queue_owes_beneath(f->q, f->site, shop));
    assert_true(queue_owes_beneath(f->q, f->site, bytes_of("plugins")));
    assert_false(queue_owes_beneath(f->q, f->site, x));
    struct owed *file = take(f, OWED_LIVE);
    assert_path(file, "plugins/shopping");
    queue_done(f->q, file);
    owe(f, "x/link", 0);
    owe(f, "x/bad", 0);
    struct owed *link = take(f, OWED_LIVE), *bad = take(f, OWED_LIVE);
    link->awaits = true;
    queue_retry(f->q, link, 1000, 1000, NULL);
    assert_true(queue_owes_beneath(f->q, f->site, x));
    queue_retry(f->q, bad, 1000, 1000, "unreadable");
    assert_false(queue_owes_beneath(f->q, f->site, x));
}

static void nothing(void *ctx)
{
    (void)ctx;
}

static void test_unit_waits_for_rest(void **state)
{
    struct fixture *f = *state;
    struct site *site = f->with_units;
    struct unrest_view view = {.now_ms = UINT64_MAX / 2};
    uint64_t due;
    unrest_watch(site->unrest, nothing, NULL);
    owe(f, "plugins/shop/a", 0);
    owe(f, "uploads/x", 0);
    assert_false(queue_ready(f->q, f->site, OWED_UNIT));
    assert_path(take(f, OWED_LIVE), "uploads/x");
    assert_true(unrest_settle(site->unrest, &view, "site", &due));
    assert_path(take(f, OWED_UNIT), "plugins/shop");
}

/* What a unit has to do with is not moved, and a unit on its way is in no move's way. */
static void test_units_and_moves(void **state)
{
    struct fixture *f = *state;
    queue_move(f->q, f->site, bytes_of("plugins/shop"), bytes_of("old/shop"));
    struct owed *shop = take(f, OWED_UNIT);
    assert_path(shop, "plugins/shop");
    struct owed *old = take(f, OWED_LIVE);
    assert_path(old, "old/shop");
    assert_true(old->kind == OWED_ANY && old->subtree && old->check);
    queue_done(f->q, old);
    queue_move(f->q, f->site, bytes_of("a"), bytes_of("b"));
    struct owed *move = take(f, OWED_LIVE);
    assert_true(move && move->kind == OWED_MOVE);
    queue_done(f->q, move);
    queue_move(f->q, f->site, bytes_of("plugins"), bytes_of("c"));
    struct owed *plugins = take(f, OWED_LIVE);
    assert_path(plugins, "plugins");
    assert_true(plugins->check); /* what left it is still there, on the secondary */
    assert_path(take(f, OWED_LIVE), "c");
}

/* It was sent, and left with a directory that is a unit now: a comparison may find it there. */
static void test_what_was_sent_before_a_rename_is_no_excuse(void **state)
{
    struct fixture *f = *state;
    queue_remember(f->q, f->site, true);
    owe(f, "d/sent", 0);
    queue_done(f->q, take(f, OWED_LIVE));
    owe(f, "d/flies", 0);
    struct owed *flies = take(f, OWED_LIVE);
    assert_true(queue_sent(f->q, f->site, bytes_of("d/sent")));
    queue_move(f->q, f->site, bytes_of("d"), bytes_of("plugins/shop"));
    assert_false(queue_sent(f->q, f->site, bytes_of("d/sent")));
    assert_path(take(f, OWED_LIVE), "d");
    queue_done(f->q, flies);
    assert_path(take(f, OWED_LIVE), "d/flies");
}

static void test_flush_of_units(void **state)
{
    struct fixture *f = *state;
    owe(f, "admin/x", 0);
    uint64_t mark = queue_mark(f->q);
    const struct bytes in = bytes_of("index.php"), beside = bytes_of("uploads");
    assert_true(queue_owes(f->q, f->site, mark, &in, 1));
    assert_false(queue_owes(f->q, f->site, mark, &beside, 1));
    owe(f, "plugins/shop/a", 0);
    assert_false(queue_owes(f->q, f->site, mark, (const struct bytes[]){bytes_of("plugins")}, 1));
    queue_backdate(f->q, f->site, bytes_of("plugins/shop/a"));
    assert_true(queue_owes(f->q, f->site, mark, (const struct bytes[]){bytes_of("plugins")}, 1));
}

/* A path that is owed alone may be owed with its unit, too. */
static void test_flush_of_a_path_alone(void **state)
{
    struct fixture *f = *state;
    uint64_t mark = queue_mark(f->q);
    owe(f, "plugins/shop/log", OWE_ALONE);
    owe(f, "plugins/shop/log", 0);
    queue_backdate(f->q, f->site, bytes_of("plugins/shop/log"));
    queue_done(f->q, take(f, OWED_LIVE));
    assert_true(queue_owes(f->q, f->site, mark, NULL, 0));
    queue_done(f->q, take(f, OWED_UNIT));
    assert_false(queue_owes(f->q, f->site, mark, NULL, 0));
}

#define WITH_UNITS(test) cmocka_unit_test_setup_teardown(test, setup_units, teardown_units)

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_once_and_in_order),
        T(test_changed_while_flying_is_owed_again),
        T(test_what_comes_while_it_flies_counts_afterwards),
        T(test_live_overtakes_bulk),
        T(test_retry_waits_and_counts_as_failing),
        T(test_retry_without_pause),
        T(test_a_move_waits_for_all_and_all_for_it),
        T(test_a_move_that_cannot_be_done_becomes_content),
        T(test_two_moves_to_one_name),
        T(test_a_lost_connection_gives_up_moves),
        T(test_a_chain_of_moves_is_one),
        T(test_a_chain_that_leads_back_is_no_move),
        T(test_a_move_of_what_waits_to_be_moved_in),
        T(test_a_doomed_directory_is_compared_if_it_is_there_again),
        T(test_what_came_while_it_flew_outlives_a_failure),
        T(test_what_waits_is_renamed_to_what_flies),
        T(test_claim),
        T(test_what_is_found_is_not_news),
        T(test_what_was_sent_meanwhile),
        T(test_what_was_sent_before_is_not_meanwhile),
        T(test_news_are_counted),
        T(test_a_lost_connection_owes_what_flew),
        T(test_marks),
        T(test_a_success_hurries_what_failed),
        T(test_the_smallest_that_failed_is_tried),
        WITH_UNITS(test_unit_is_owed_once),
        WITH_UNITS(test_path_alone),
        WITH_UNITS(test_owed_beneath),
        WITH_UNITS(test_unit_waits_for_rest),
        WITH_UNITS(test_units_and_moves),
        WITH_UNITS(test_what_was_sent_before_a_rename_is_no_excuse),
        WITH_UNITS(test_flush_of_units),
        WITH_UNITS(test_flush_of_a_path_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
