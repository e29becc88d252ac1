/* A unit on its way, driven frame by frame against a far end that has nothing: it counts as owed
 * from its first event until all of it was acknowledged, whatever happens to the push. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/mem.h"
#include "primary/push/peer/peer_impl.h"
#include "primary/push/push_impl.h"
#include "primary/scan/scan.h"
#include "protocol/frame.h"

enum { PATIENCE_MS = 20000, SETTLE_MS = 30, SENT_MAX = 64 };

struct world {
    char top[64];
    char *root, *state;
    struct filter *filter;
    struct unit_rules *rules;
    struct site *site;
    struct scan *scan;
    struct queue *q;
    struct push_site_list sites;
    struct push_site *ps;
    struct push_options o;
    struct push *p;
    bool far_lacks_parent;
    uint64_t mark; /* of the flush */
    unsigned units, entries, deletes, drops, aborts, lists;
    char paths[SENT_MAX][64]; /* of entries and deletions, in order */
    size_t sent;
    uint32_t commits[SENT_MAX]; /* batches without an answer */
    size_t waiting;
};

/* --- the sink, and hooks that do nothing --- */

static void on_owe(void *ctx, struct site *s, struct bytes path, unsigned flags)
{
    struct world *w = ctx;
    (void)s;
    queue_owe(w->q, w->ps->owed, path, flags, OWED_ANY, (struct bytes){0}, 0, 0);
}

static void on_move(void *ctx, struct site *s, struct bytes from, struct bytes to)
{
    struct world *w = ctx;
    (void)s;
    queue_move(w->q, w->ps->owed, from, to);
}

static void on_compare(void *ctx, struct site *s)
{
    (void)ctx;
    (void)s;
}

static void nothing(void *ctx)
{
    (void)ctx;
}

/* --- the world --- */

static void shell(struct world *w, const char *command)
{
    char *line CLEANUP_FREE = mem_format("cd %s && { %s; }", w->root, command);
    assert_int_equal(system(line), 0);
}

static void open_site(struct world *w)
{
    struct err err;
    struct site_options o = {.name = "test",
        .root = w->root,
        .state_dir = w->state,
        .filter = w->filter,
        .units = w->rules,
        .max_delete_percent = 100};
    struct scan_sink sink = {on_owe, on_move, on_compare, on_compare, w};
    struct scan_options so = {0};
    if (site_open(&o, &w->site, &err) != 0 || scan_new(&so, &sink, &w->scan, &err) != 0)
        fail_msg("%s", err.text);
    w->site->cleared = true;
    w->ps = push_site_new(w->q, w->site, NULL, NULL);
    w->ps->state = PUSH_OPEN;
    w->ps->number = 1;
    TAILQ_INSERT_TAIL(&w->sites, w->ps, order);
    scan_add(w->scan, w->site);
    uint64_t end = io_now_ms() + PATIENCE_MS;
    while (!atomic_load(&w->site->scanned)) {
        assert_true(io_now_ms() < end);
        usleep(500);
    }
}

static void open_push(struct world *w)
{
    w->o = (struct push_options){.queue = w->q,
        .sites = &w->sites,
        .name = "far",
        .wake_fd = -1,
        .hooks = {.changed = nothing}};
    struct push *p = w->p = mem_alloc(sizeof *p);
    p->o = &w->o;
    p->names = names_new(NULL);
    p->block = mem_alloc(MSG_CHUNK_MAX);
    p->greeted = true;
    lanes_init(p);
}

static int setup(void **state)
{
    struct world *w = *state = mem_alloc(sizeof *w);
    struct err err;
    signal(SIGIO, SIG_IGN); /* a broken lease */
    snprintf(w->top, sizeof w->top, "%s/mirrord-unit-XXXXXX",
        access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(w->top));
    w->root = mem_format("%s/root", w->top);
    w->state = mem_format("%s/state", w->top);
    assert_int_equal(mkdir(w->root, 0755), 0);
    w->filter = filter_new();
    w->rules = unit_rules_new();
    assert_int_equal(filter_add(w->filter, false, bytes_of("/.maintenance"), &err), 0);
    assert_int_equal(unit_rules_add(w->rules, "plugins/*", &err), 0);
    assert_int_equal(unit_rules_add_bracket(w->rules, ".maintenance", &err), 0);
    unit_rules_set_times(w->rules, SETTLE_MS, 600000);
    w->q = queue_new(nothing, NULL);
    TAILQ_INIT(&w->sites);
    shell(w, "mkdir -p plugins/a/sub; echo 1 > first");
    open_site(w);
    open_push(w);
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    push_site_reset(w->p, w->ps);
    lanes_free(w->p);
    scan_free(w->scan);
    push_site_free(w->q, w->ps);
    queue_free(w->q);
    site_unref(w->site);
    names_free(w->p->names);
    wire_free(&w->p->out);
    free(w->p->block);
    free(w->p->packing.room);
    free(w->p);
    filter_free(w->filter);
    unit_rules_free(w->rules);
    char *command CLEANUP_FREE = mem_format("rm -rf %s", w->top);
    assert_int_equal(system(command), 0);
    free(w->root);
    free(w->state);
    free(w);
    return 0;
}

/* --- the far end --- */

static void answer_list(struct world *w, const struct msg_list *m)
{
    struct err err;
    struct msg_listing l = {.request = m->request, .last = 1, .missing = w->far_lacks_parent};
    uint8_t differ[BUFSIZ] = {0};
    if (m->buckets.len && !l.missing) {
        memset(differ, 0xff, sizeof differ);
        l.differ = (struct bytes){differ, m->buckets.len / 64};
    }
    if (compare_listing(w->p, &l, &err) < 0)
        fail_msg("%s", err.text);
}

static void note_path(struct world *w, struct bytes path)
{
    assert_true(w->sent < SENT_MAX && path.len < sizeof w->paths[0]);
    if (path.len)
        memcpy(w->paths[w->sent], path.data, path.len);
    w->paths[w->sent++][path.len] = '\0';
}

static void take_frame(struct world *w, const struct frame *f)
{
    struct msg_list list;
    struct msg_entry *entry CLEANUP_FREE = mem_alloc(sizeof *entry);
    struct msg_delete gone;
    struct msg_commit commit;
    w->units += f->type == MSG_UNIT;
    w->drops += f->type == MSG_DROP;
    w->aborts += f->type == MSG_ABORT;
    w->lists += f->type == MSG_LIST;
    if (f->type == MSG_LIST && msg_get_list(f->payload, &list))
        answer_list(w, &list);
    if (f->type == MSG_ENTRY && msg_get_entry(f->payload, entry)) {
        w->entries++;
        note_path(w, entry->path);
    }
    if (f->type == MSG_DELETE && msg_get_delete(f->payload, &gone)) {
        w->deletes++;
        note_path(w, gone.path);
    }
    if (f->type == MSG_COMMIT && msg_get_commit(f->payload, &commit)) {
        assert_true(w->waiting < SENT_MAX);
        w->commits[w->waiting++] = commit.batch;
    }
}

static void take_frames(struct world *w)
{
    struct wire_writer out = w->p->out;
    struct frame f;
    int n;
    w->p->out = (struct wire_writer){0};
    for (size_t at = 0; out.len && (n = frame_next(out.data + at, out.len - at, &f)) > 0;
         at += (size_t)n)
        take_frame(w, &f);
    wire_free(&out);
}

static void acknowledge(struct world *w)
{
    struct err err;
    for (size_t i = 0; i < w->waiting; i++) {
        struct msg_ack *m CLEANUP_FREE = mem_alloc(sizeof *m);
        *m = (struct msg_ack){.batch = w->commits[i], .last = 1};
        if (acks_take(w->p, m, &err) < 0)
            fail_msg("%s", err.text);
    }
    w->waiting = 0;
}

static bool owes(struct world *w)
{
    return queue_owes(w->q, w->ps->owed, w->mark, NULL, 0);
}

static void step(struct world *w)
{
    if (!lanes_step(w->p)) {
        queue_next_due(w->q);
        usleep(500);
    }
    take_frames(w);
}

/* All the while a flush that began at the mark must not end. */
static void until(struct world *w, bool (*condition)(struct world *w))
{
    uint64_t end = io_now_ms() + PATIENCE_MS;
    while (!condition(w)) {
        assert_true(io_now_ms() < end);
        step(w);
        assert_true(owes(w));
    }
}

static bool has_committed(struct world *w)
{
    return w->waiting > 0;
}

static bool has_begun(struct world *w)
{
    return w->units > 0;
}

static bool has_compared(struct world *w)
{
    return w->lists > 0;
}

/* What the shell did has been told; a flush begins. */
static void happens(struct world *w, const char *command)
{
    struct err err;
    shell(w, command);
    struct scan_flush *f = scan_flush_new(w->scan, w->site, NULL, 0, 0);
    uint64_t end = io_now_ms() + PATIENCE_MS;
    int done;
    while ((done = scan_flush_poll(f, &err)) == SCAN_FLUSH_WAITING) {
        assert_true(io_now_ms() < end);
        usleep(200);
    }
    scan_flush_free(f);
    assert_int_equal(done, SCAN_FLUSH_DONE);
    w->mark = queue_mark(w->q);
    assert_true(owes(w));
}

static bool was_sent(const struct world *w, const char *path)
{
    for (size_t i = 0; i < w->sent; i++)
        if (strcmp(w->paths[i], path) == 0)
            return true;
    return false;
}

/* Acknowledges until nothing is owed. */
static void finish(struct world *w)
{
    uint64_t end = io_now_ms() + PATIENCE_MS;
    while (owes(w)) {
        assert_true(io_now_ms() < end);
        if (w->waiting)
            acknowledge(w);
        else
            step(w);
    }
}

/* --- tests --- */

static void test_owed_until_acknowledged(void **state)
{
    struct world *w = *state;
    happens(w, "echo 1 > plugins/a/x; echo 1 > plugins/a/sub/y; echo 1 > plugins/a/z");
    until(w, has_committed);
    assert_int_equal(w->units, 1);
    assert_true(owes(w));
    finish(w);
    assert_true(was_sent(w, "plugins/a/x") && was_sent(w, "plugins/a/sub/y"));
}

/* Its files are replaced under their names: the manifest does not know their content before they
 * are read to be sent, and what the last look finds of that is no change. */
static void test_what_was_replaced_is_sent_once(void **state)
{
    struct world *w = *state;
    happens(w, "for i in 1 2 3 4 5 6; do echo $i > plugins/a/$i; done");
    finish(w);
    happens(w, "for i in 1 2 3 4 5 6; do echo new $i > plugins/a/$i; done");
    w->units = w->entries = 0;
    finish(w);
    assert_int_equal(w->drops, 0);
    assert_int_equal(w->units, 1);
    assert_true(was_sent(w, "plugins/a/1") && was_sent(w, "plugins/a/6"));
}

/* It changes after some of it was sent: it is compared again before the commit. */
static void test_owed_when_it_changes(void **state)
{
    struct world *w = *state;
    happens(w, "echo 1 > plugins/a/x; echo 1 > plugins/a/y");
    until(w, has_begun);
    shell(w, "echo 2 > plugins/a/x");
    w->lists = 0;
    until(w, has_compared);
    assert_int_equal(w->waiting, 0);
    until(w, has_committed);
    finish(w);
}

static bool has_sent_all(struct world *w)
{
    return w->units > 0 && was_sent(w, "plugins/a/x") && was_sent(w, "plugins/a/y");
}

static bool is_ready(struct world *w)
{
    const struct unit_push *u = unit_push_each(w->p, NULL, &(struct compare *){NULL});
    return has_sent_all(w) && u && !lanes_step(w->p);
}

/* Some frames more: whoever wants to commit does, and is acknowledged. The unit does not. */
static void go_on(struct world *w)
{
    struct compare *c;
    for (int i = 0; i < 20; i++) {
        step(w);
        acknowledge(w);
    }
    assert_non_null(unit_push_each(w->p, NULL, &c));
}

/* It does not rest while a bracket stands. All of it is sent, nothing is committed; of what
 * changes meanwhile only that is sent again, and what is gone is taken back. Then it rests. */
static void test_made_ready_before_it_rests(void **state)
{
    struct world *w = *state;
    happens(w, "echo 1 > .maintenance; echo 1 > plugins/a/x; echo 1 > plugins/a/y; echo 1 > "
               "plugins/a/sub/z");
    until(w, is_ready);
    go_on(w);
    w->sent = 0;
    w->aborts = 0;
    happens(w, "echo 2 > plugins/a/x; rm plugins/a/sub/z; echo 1 > plugins/a/new");
    while (!was_sent(w, "plugins/a/new") || !was_sent(w, "plugins/a/x"))
        step(w);
    go_on(w);
    assert_false(was_sent(w, "plugins/a/y"));
    assert_true(w->aborts >= 2); /* x, z, and directories whose times are others */
    assert_int_equal(w->units, 1);
    assert_int_equal(w->drops, 0);
    happens(w, "rm .maintenance");
    finish(w);
    assert_int_equal(w->units, 1);
    assert_int_equal(w->drops, 0);
}

/* Somebody opens one of its files to write, of which no event tells: what cannot be read at one
 * moment is not left out. */
static void test_one_of_its_files_is_held_open(void **state)
{
    struct world *w = *state;
    happens(w, "echo 1 > plugins/a/x; echo 1 > plugins/a/y");
    char *path CLEANUP_FREE = mem_format("%s/plugins/a/y", w->root);
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    w->lists = 0;
    until(w, has_compared);
    assert_int_equal(w->waiting, 0);
    close(fd);
    until(w, has_committed);
    assert_true(was_sent(w, "plugins/a/x") && was_sent(w, "plugins/a/y"));
    finish(w);
}

/* It changes behind the commit, which the acknowledgement says nothing about. */
static void test_owed_again_behind_the_commit(void **state)
{
    struct world *w = *state;
    happens(w, "echo 1 > plugins/a/x; echo 1 > plugins/a/y");
    until(w, has_committed);
    happens(w, "echo 2 > plugins/a/x; echo 2 > plugins/a/y");
    acknowledge(w);
    assert_true(owes(w));
    w->sent = 0;
    until(w, has_committed);
    assert_true(was_sent(w, "plugins/a/y"));
    finish(w);
}

static void test_owed_when_the_link_is_lost(void **state)
{
    struct world *w = *state;
    happens(w, "echo 1 > plugins/a/x; echo 1 > plugins/a/y");
    until(w, has_committed);
    push_site_reset(w->p, w->ps);
    w->ps->number = 1;
    w->waiting = 0;
    assert_true(owes(w));
    until(w, has_committed);
    finish(w);
}

/* More than fits a batch: path by path, and owed until the last of them is there. */
static void test_more_than_fits(void **state)
{
    struct world *w = *state;
    struct piecemeal_unit piecemeal;
    w->o.unit_atoms = 3;
    happens(w, "for i in 1 2 3 4 5 6; do echo $i > plugins/a/$i; done");
    until(w, has_committed);
    finish(w);
    assert_int_equal(w->units, 0);
    assert_int_equal(push_site_piecemeal_units(w->ps, &piecemeal, 1), 1);
    assert_string_equal(piecemeal.unit, "plugins/a");
    assert_non_null(strstr(piecemeal.why, "more changes"));
    assert_true(was_sent(w, "plugins/a/1") && was_sent(w, "plugins/a/6"));
}

static bool has_begun_both(struct world *w)
{
    return w->units == 2;
}

/* The far end holds them until they are acknowledged: with as many paths on their way as one unit
 * may have, only the first goes on. */
static void test_large_ones_wait_for_each_other(void **state)
{
    struct world *w = *state;
    w->o.unit_atoms = 8; /* UNIT, the directory, and these */
    happens(w, "mkdir plugins/b; rmdir plugins/a/sub; "
               "for i in 1 2 3 4 5; do echo $i > plugins/a/$i; echo $i > plugins/b/$i; done");
    until(w, has_begun_both);
    for (int i = 0; i < 100; i++) {
        step(w);
        assert_true(w->p->lanes[LANE_UNIT].atoms <= 8 + 1); /* the UNIT of the other one */
    }
    assert_true(was_sent(w, "plugins/a/5") != was_sent(w, "plugins/b/5"));
    finish(w);
    assert_true(was_sent(w, "plugins/a/5") && was_sent(w, "plugins/b/5"));
    assert_int_equal(w->p->lanes[LANE_UNIT].atoms, 0);
}

/* The directory above is at neither end, or something else is there: there is nothing to send and
 * nothing to wait for. */
static void test_the_parent_is_gone(void **state)
{
    struct world *w = *state;
    w->far_lacks_parent = true;
    happens(w, "echo 1 > plugins/a/x; rm -r plugins");
    finish(w);
    happens(w, "mkdir -p plugins/a; echo 1 > plugins/a/x; rm -r plugins; echo file > plugins");
    finish(w);
    assert_int_equal(w->units, 0);
}

/* It is here and not there: it goes first. */
static void test_the_parent_goes_first(void **state)
{
    struct world *w = *state;
    w->far_lacks_parent = true;
    happens(w, "echo 1 > plugins/a/x; echo 1 > plugins/a/y");
    until(w, has_committed);
    assert_string_equal(w->paths[0], "plugins");
    w->far_lacks_parent = false;
    finish(w);
    assert_true(was_sent(w, "plugins/a/x"));
}

static void make_hot(struct world *w, const char *path)
{
    uint64_t now = io_now_ms();
    for (unsigned i = 0; i < 8; i++)
        unrest_note_change(w->site->unrest, bytes_of(path), now + i * 100, false);
    assert_true(unrest_is_hot(w->site->unrest, bytes_of(path)));
}

/* A directory in which a file comes and goes all the time still holds what is the unit's, and the
 * file that changes all the time goes, too, by itself. */
static void test_hot_paths(void **state)
{
    struct world *w = *state;
    make_hot(w, "plugins/a");
    make_hot(w, "plugins/a/sub");
    make_hot(w, "plugins/a/log");
    happens(w, "echo 1 > plugins/a/sub/x; echo 1 > plugins/a/y; echo 1 > plugins/a/log");
    finish(w);
    assert_true(was_sent(w, "plugins/a/sub/x") && was_sent(w, "plugins/a/y"));
    assert_true(was_sent(w, "plugins/a/log"));
    /* The same where a comparison finds it, as behind a lost link. */
    w->sent = 0;
    w->units = 0;
    queue_owe(w->q, w->ps->owed, bytes_of("plugins/a/log"), 0, OWED_ANY, (struct bytes){0}, 0, 0);
    w->mark = queue_mark(w->q);
    finish(w);
    assert_true(was_sent(w, "plugins/a/log"));
}

/* What is above it is renamed when all of it was sent. */
static void test_the_parent_is_renamed(void **state)
{
    struct world *w = *state;
    happens(w, "mkdir -p other/a; echo 1 > plugins/a/x; echo 1 > plugins/a/y; echo 2 > other/a/x; "
               "echo 2 > other/a/y; cp -r other spare");
    until(w, has_sent_all);
    w->lists = 0;
    happens(w, "mv plugins third; mv spare plugins");
    until(w, has_compared);
    finish(w);
    assert_true(was_sent(w, "plugins/a/x"));
}

/* What was found before anybody could be told is in the manifest, which is compared when the site
 * was opened: not opened twice for that. */
static void test_news_before_the_opening(void **state)
{
    struct world *w = *state;
    struct peer_options o = {.name = "far", .host = "near"};
    struct peer *p = peer_new(&o, NULL);
    struct push_site_list list = TAILQ_HEAD_INITIALIZER(list);
    peer_add_site(p, w->site, "/there", NULL);
    peer_compare_news(p, w->site);
    peer_pass_on(p, &list);
    struct push_site *ps = TAILQ_FIRST(&list);
    assert_non_null(ps);
    assert_false(ps->again);
    ps->state = PUSH_UNSCANNED;
    peer_compare_news(p, w->site);
    peer_pass_on(p, &list);
    assert_false(ps->again);
    ps->state = PUSH_OPEN;
    peer_compare_news(p, w->site);
    peer_pass_on(p, &list);
    assert_true(ps->again);
    ps->again = false;
    ps->state = PUSH_OPENING; /* whoever asks for a look there wants one that begins now */
    peer_compare(p, w->site);
    peer_pass_on(p, &list);
    assert_true(ps->again);
    peer_free(p);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_owed_until_acknowledged),
        T(test_what_was_replaced_is_sent_once),
        T(test_owed_when_it_changes),
        T(test_made_ready_before_it_rests),
        T(test_one_of_its_files_is_held_open),
        T(test_owed_again_behind_the_commit),
        T(test_owed_when_the_link_is_lost),
        T(test_more_than_fits),
        T(test_large_ones_wait_for_each_other),
        T(test_the_parent_is_gone),
        T(test_the_parent_goes_first),
        T(test_hot_paths),
        T(test_the_parent_is_renamed),
        T(test_news_before_the_opening),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
