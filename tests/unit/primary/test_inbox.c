/* A scripted secondary: what it says out of place ends the session with an ERROR that names the
 * fault, whichever message it is, and nothing it says crosses that was legal when it was sent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../tree/scratch.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/often.h"
#include "link/conn_impl.h"
#include "primary/push/push.h"
#include "tree/walk/walk.h"

enum { PATIENCE_MS = 10000, KEEPALIVE_MS = 1000 };

/* --- a link through two pipes --- */

struct pipes {
    struct conn conn;
    int in, out;
};

static void pipes_close(struct conn *c)
{
    struct pipes *l = (struct pipes *)c;
    close(l->in);
    if (l->out >= 0)
        close(l->out);
    free(l);
}

static ssize_t pipes_read(struct conn *c, void *p, size_t n, struct err *err)
{
    ssize_t got = read(((struct pipes *)c)->in, p, n);
    return got >= 0 ? got : errno == EAGAIN ? CONN_AGAIN : err_sys(err, errno, "read");
}

static ssize_t pipes_write(struct conn *c, const void *p, size_t n, struct err *err)
{
    ssize_t put = write(((struct pipes *)c)->out, p, n);
    return put >= 0 ? put : errno == EAGAIN ? CONN_AGAIN : err_sys(err, errno, "write");
}

static int pipes_flush(struct conn *c, struct err *err)
{
    (void)c;
    (void)err;
    return 0;
}

static size_t pipes_pending(const struct conn *c)
{
    (void)c;
    return 0;
}

static int pipes_poll(struct conn *c, struct pollfd fds[2])
{
    fds[0] = (struct pollfd){.fd = ((struct pipes *)c)->in, .events = POLLIN};
    return 1;
}

static int pipes_shutdown(struct conn *c, struct err *err)
{
    struct pipes *l = (struct pipes *)c;
    (void)err;
    close(l->out);
    l->out = -1;
    return 0;
}

static const char *pipes_text(struct conn *c)
{
    (void)c;
    return "";
}

static int pipes_status(struct conn *c)
{
    (void)c;
    return -1;
}

static void pipes_settle(struct conn *c, int ms)
{
    (void)c;
    (void)ms;
}

static const char *pipes_kind(const struct conn *c)
{
    (void)c;
    return "pipes";
}

static const struct conn_ops pipes_ops = {pipes_close, pipes_read, pipes_write, pipes_flush,
    pipes_pending, pipes_poll, pipes_shutdown, pipes_text, pipes_status, pipes_settle, pipes_kind};

/* --- the primary in a thread, and its secondary --- */

struct far {
    char *top, *root, *state;
    struct filter *filter;
    struct site *site;
    struct queue *queue;
    struct push_site *ps;
    struct push_site_list sites;
    struct pipes *link;
    struct push_options options;
    atomic_bool stop;
    pthread_t thread;
    bool running;
    struct err why; /* the push's end */
    int result;
    int in, out; /* this end's */
    struct buf got;
    size_t taken;
    struct wire_writer w;
    struct msg_hello hello; /* the primary's */
    struct push_far said;   /* the rest is the push's, to be looked at when that has ended */
    uint64_t free_bytes, batches;
    uint32_t fences;
};

static void nothing(void *ctx)
{
    (void)ctx;
}

/* Two files and a directory, as a scan would have it. */
static void fill(struct far *f)
{
    struct err err;
    char name[160];
    for (int i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "%s/f%d", f->root, i);
        int fd = open(name, O_WRONLY | O_CREAT, 0644);
        assert_true(fd >= 0);
        assert_int_equal(ftruncate(fd, i ? 200000 : 10), 0);
        close(fd);
    }
    struct names *names = names_new(NULL);
    struct walk_options options = {0};
    struct walk_hooks hooks = {0};
    struct walk *w = walk_new(
        f->site->root, f->site->manifest, f->filter, names, (struct bytes){0}, &options, &hooks);
    while (walk_step(w, 1000, &err) == WALK_MORE)
        continue;
    walk_free(w);
    names_free(names);
    f->site->scanned = f->site->cleared = true;
}

static void *run(void *arg)
{
    struct far *f = arg;
    f->result = push_run(&f->options, &f->why);
    return NULL;
}

static int setup(void **state)
{
    struct far *f = mem_alloc(sizeof *f);
    struct err err;
    int to[2], back[2];
    f->top = scratch_new();
    f->root = mem_format("%s/root", f->top);
    f->state = mem_format("%s/state", f->top);
    mkdir(f->root, 0755);
    f->filter = filter_new();
    struct site_options o = {.name = "s",
        .root = f->root,
        .state_dir = f->state,
        .filter = f->filter,
        .max_delete_percent = 100};
    assert_int_equal(site_open(&o, &f->site, &err), 0);
    fill(f);
    assert_int_equal(pipe2(to, O_CLOEXEC), 0);
    assert_int_equal(pipe2(back, O_CLOEXEC), 0);
    f->link = mem_alloc(sizeof *f->link);
    *f->link = (struct pipes){.conn = {.ops = &pipes_ops}, .in = back[0], .out = to[1]};
    io_nonblock(back[0]);
    io_nonblock(to[1]);
    f->in = to[0];
    f->out = back[1];
    f->queue = queue_new(nothing, NULL);
    f->ps = push_site_new(f->queue, f->site, NULL, NULL);
    TAILQ_INIT(&f->sites);
    TAILQ_INSERT_TAIL(&f->sites, f->ps, order);
    f->options = (struct push_options){.conn = &f->link->conn,
        .queue = f->queue,
        .sites = &f->sites,
        .name = "far",
        .host = "near",
        .keepalive_ms = KEEPALIVE_MS,
        .stop = &f->stop,
        .wake_fd = -1,
        .strangers = 50,
        .often = often_new(OFTEN_KEPT),
        .far = &f->said,
        .free_bytes = &f->free_bytes,
        .batches = &f->batches,
        .fences = &f->fences,
        .hooks = {.changed = nothing}};
    assert_int_equal(pthread_create(&f->thread, NULL, run, f), 0);
    f->running = true;
    *state = f;
    return 0;
}

static void join(struct far *f)
{
    if (f->out >= 0)
        close(TAKE_FD(f->out));
    if (f->running)
        pthread_join(f->thread, NULL);
    f->running = false;
}

static int teardown(void **state)
{
    struct far *f = *state;
    f->stop = true;
    join(f);
    conn_close(&f->link->conn);
    often_free(f->options.often);
    push_site_free(f->queue, f->ps);
    queue_free(f->queue);
    site_unref(f->site);
    filter_free(f->filter);
    close(f->in);
    buf_free(&f->got);
    wire_free(&f->w);
    scratch_free(f->top);
    free(f->root);
    free(f->state);
    free(f);
    return 0;
}

static bool next(struct far *f, struct frame *frame)
{
    buf_drain(&f->got, f->taken);
    f->taken = 0;
    for (;;) {
        int n = frame_next(buf_bytes(&f->got), buf_len(&f->got), frame);
        assert_true(n >= 0);
        if (n > 0) {
            f->taken = (size_t)n;
            return true;
        }
        struct pollfd fd = {.fd = f->in, .events = POLLIN};
        assert_int_equal(poll(&fd, 1, PATIENCE_MS), 1);
        ssize_t got = read(f->in, buf_room(&f->got, 65536), 65536);
        if (got <= 0)
            return false;
        buf_fill(&f->got, (size_t)got);
    }
}

/* Up to the message of this type. */
static struct bytes expect(struct far *f, uint8_t type)
{
    struct frame frame = {0};
    do
        assert_true(next(f, &frame));
    while (frame.type != type);
    return frame.payload;
}

static void say(struct far *f)
{
    assert_false(f->w.bad);
    assert_int_equal(io_write_full(f->out, f->w.data, f->w.len), 0);
    wire_reset(&f->w);
}

static void put_hello(struct far *f, uint64_t session, uint16_t oldest, uint16_t newest)
{
    msg_put_hello(&f->w, &(struct msg_hello){.magic = MSG_MAGIC,
                             .oldest = oldest,
                             .newest = newest,
                             .session = session,
                             .software = bytes_of("test"),
                             .host = bytes_of("far")});
}

static void greet(struct far *f)
{
    assert_true(msg_get_hello(expect(f, MSG_HELLO), &f->hello));
    put_hello(f, f->hello.session, MSG_VERSION, MSG_VERSION);
    say(f);
    expect(f, MSG_OPEN);
}

static void put_opened(struct far *f, uint32_t site)
{
    msg_put_opened(&f->w, &(struct msg_opened){.site = site,
                              .state = ROOT_OURS,
                              .root = {.type = ENTRY_DIR, .mode = 0755},
                              .sums = {.entries = 1}});
}

/* Opened; the LIST of the root is the first request. */
static void compare(struct far *f)
{
    greet(f);
    put_opened(f, 1);
    say(f);
    expect(f, MSG_LIST);
}

/* Opened while the first scan is not done yet. */
static void open_early(struct far *f)
{
    f->site->scanned = false;
    greet(f);
    put_opened(f, 1);
    say(f);
    while (f->ps->state != PUSH_UNSCANNED)
        usleep(500);
}

/* What was told of the site, read as status reads it. */
struct told {
    struct space room;
    bool low;
    struct msg_trash trash;
    struct push_hook hook;
    struct err error;
    struct drifted_status drift;
};

static struct told told_of(struct far *f)
{
    struct push_site *ps = f->ps;
    struct told t;
    pthread_mutex_lock(&ps->lock);
    t = (struct told){ps->room, ps->low, ps->trash, ps->hook, ps->error, {0}};
    drifted_status(ps->drifted, &t.drift);
    pthread_mutex_unlock(&ps->lock);
    return t;
}

/* --- what the log says, from `hear` on --- */

struct heard {
    FILE *log;
    int before;
};

static void hear(struct heard *h)
{
    h->log = tmpfile();
    h->before = dup(STDERR_FILENO);
    assert_true(h->log && dup2(fileno(h->log), STDERR_FILENO) >= 0);
    log_set_level(LOG_LEVEL_INFO);
}

static void hear_no_more(struct heard *h)
{
    log_set_level(LOG_LEVEL_ERROR);
    assert_true(dup2(h->before, STDERR_FILENO) >= 0);
    close(h->before);
}

static unsigned lines_with(struct heard *h, const char *words)
{
    char line[1024];
    unsigned lines = 0;
    rewind(h->log);
    while (fgets(line, sizeof line, h->log))
        lines += strstr(line, words) != NULL;
    return lines;
}

/* The next one that is no PING. */
static uint8_t next_type(struct far *f)
{
    struct frame frame;
    do
        assert_true(next(f, &frame));
    while (frame.type == MSG_PING);
    return frame.type;
}

static void put_listing(struct far *f, uint32_t request, bool last, const char *const *names)
{
    struct wire_writer items = {0};
    struct msg_listing m = {.request = request, .last = last};
    for (; names && *names; names++, m.count++)
        msg_item_encode(
            &items, &(struct msg_item){.name = bytes_of(*names),
                        .entry = {.type = ENTRY_FILE, .mode = 0644, .size = 150000, .mtime = 1}});
    m.items = (struct bytes){items.data, items.len};
    msg_put_listing(&f->w, &m);
    wire_free(&items);
}

/* What has been put is said; ERROR comes with this reason, and the push ends with this sentence. */
static void assert_refused(struct far *f, uint16_t reason, const char *sentence)
{
    struct msg_error m;
    say(f);
    assert_true(msg_get_error(expect(f, MSG_ERROR), &m));
    assert_string_equal(msg_reason_name(m.reason), msg_reason_name(reason));
    assert_true(m.text.len > 0);
    join(f);
    assert_int_equal(f->result, -1);
    if (!strstr(f->why.text, sentence))
        print_error("%s\n", f->why.text);
    assert_non_null(strstr(f->why.text, sentence));
}

/* --- HELLO, ERROR, PONG --- */

static void hello_of_another_session(void **state)
{
    struct far *f = *state;
    expect(f, MSG_HELLO);
    put_hello(f, 1, MSG_VERSION, MSG_VERSION);
    assert_refused(f, REASON_MALFORMED, "another session");
}

static void hello_twice(void **state)
{
    struct far *f = *state;
    greet(f);
    put_hello(f, f->hello.session, MSG_VERSION, MSG_VERSION);
    assert_refused(f, REASON_MALFORMED, "another session");
}

static void hello_of_a_version_not_offered(void **state)
{
    struct far *f = *state;
    assert_true(msg_get_hello(expect(f, MSG_HELLO), &f->hello));
    put_hello(f, f->hello.session, MSG_VERSION + 1, MSG_VERSION + 1);
    assert_refused(f, REASON_VERSION, "no common version");
}

static void an_error_is_not_answered(void **state)
{
    struct far *f = *state;
    struct frame frame;
    greet(f);
    msg_put_error(&f->w, &(struct msg_error){REASON_INTERNAL, bytes_of("my fault")});
    say(f);
    join(f);
    conn_shutdown(&f->link->conn, &f->why);
    while (next(f, &frame))
        assert_int_not_equal(frame.type, MSG_ERROR);
    assert_int_equal(f->result, -1);
}

static void pong_without_ping(void **state)
{
    struct far *f = *state;
    greet(f);
    msg_put_pong(&f->w, &(struct msg_ping){1});
    assert_refused(f, REASON_MALFORMED, "PING that was not sent");
}

static void pong_of_another_ping(void **state)
{
    struct far *f = *state;
    struct msg_ping ping;
    greet(f);
    assert_true(msg_get_ping(expect(f, MSG_PING), &ping));
    msg_put_pong(&f->w, &ping);
    say(f);
    assert_true(msg_get_ping(expect(f, MSG_PING), &ping));
    ping.token++;
    msg_put_pong(&f->w, &ping);
    assert_refused(f, REASON_MALFORMED, "PING that was not sent");
}

/* --- sites --- */

static void opened_twice(void **state)
{
    struct far *f = *state;
    greet(f);
    put_opened(f, 1);
    put_opened(f, 1);
    assert_refused(f, REASON_MALFORMED, "twice");
}

static void a_site_that_was_never_opened(void **state)
{
    struct far *f = *state;
    greet(f);
    put_opened(f, 2);
    assert_refused(f, REASON_MALFORMED, "never opened");
}

static void site_error_of_no_site(void **state)
{
    struct far *f = *state;
    greet(f);
    msg_put_site_error(
        &f->w, &(struct msg_site_error){.site = 9, .reason = REASON_IO, .text = bytes_of("x")});
    assert_refused(f, REASON_MALFORMED, "never opened");
}

static void progress_of_no_site(void **state)
{
    struct far *f = *state;
    greet(f);
    msg_put_progress(&f->w, &(struct msg_progress){.site = 0, .done = 1});
    assert_refused(f, REASON_MALFORMED, "never opened");
}

/* What was under way when the site was closed is no fault. */
static void what_crosses_is_ignored(void **state)
{
    struct far *f = *state;
    static const char *const names[] = {"f0", NULL};
    compare(f);
    msg_put_site_error(
        &f->w, &(struct msg_site_error){.site = 1, .reason = REASON_IO, .text = bytes_of("x")});
    put_listing(f, 1, true, names);
    msg_put_progress(&f->w, &(struct msg_progress){.site = 1, .done = 1});
    msg_put_site_error(
        &f->w, &(struct msg_site_error){.site = 1, .reason = REASON_IO, .text = bytes_of("x")});
    say(f);
    expect(f, MSG_PING); /* it goes on */
}

/* --- answers --- */

static void listing_of_no_request(void **state)
{
    struct far *f = *state;
    compare(f);
    put_listing(f, 7, true, NULL);
    assert_refused(f, REASON_MALFORMED, "LIST that it was not sent");
}

static void listing_out_of_order(void **state)
{
    struct far *f = *state;
    static const char *const names[] = {"b", "a", NULL};
    compare(f);
    put_listing(f, 1, true, names);
    assert_refused(f, REASON_MALFORMED, "malformed LISTING");
}

static void listing_out_of_order_across_frames(void **state)
{
    struct far *f = *state;
    static const char *const first[] = {"b", NULL}, *const second[] = {"a", NULL};
    compare(f);
    put_listing(f, 1, false, first);
    put_listing(f, 1, false, NULL);
    put_listing(f, 1, true, second);
    assert_refused(f, REASON_MALFORMED, "listing");
}

/* A secondary that lists names without end: its site is closed, the session and its memory stay. */
static void names_without_end(void **state)
{
    struct far *f = *state;
    struct msg_close closed;
    char names[64][8];
    const char *list[65] = {NULL};
    for (int i = 0; i < 64; i++)
        snprintf(names[i], sizeof names[i], "x%02d", i), list[i] = names[i];
    compare(f);
    put_listing(f, 1, false, list);
    say(f);
    assert_true(msg_get_close(expect(f, MSG_CLOSE), &closed));
    assert_int_equal(closed.site, 1);
    put_listing(f, 1, false, list); /* crosses the CLOSE */
    say(f);
    expect(f, MSG_PING); /* the session goes on */
    assert_int_equal(f->ps->state, PUSH_FAILED);
    struct told told = told_of(f);
    assert_non_null(strstr(told.error.text, "more than 50 names that are not here"));
}

static void put_drift(struct far *f, uint32_t i)
{
    char path[32];
    snprintf(path, sizeof path, "none%u/x", i);
    msg_put_drift(&f->w, &(struct msg_drift){1, DRIFT_ADDED, bytes_of(path), {0}});
}

/* Changes that are told of faster than they can be looked at are looked at together, and what
 * nobody has here is not owed. */
static void drift_without_end(void **state)
{
    enum { TOLD = 3000, MOST = 1024 };
    struct far *f = *state;
    struct frame frame;
    struct msg_list m;
    unsigned lists = 0, whole = 0;
    compare(f);
    for (uint32_t i = 0; i < 2 * TOLD; i++) {
        put_drift(f, i < TOLD ? i : i % 7);
        say(f);
    }
    put_listing(f, 1, true, NULL);
    say(f);
    for (;;) {
        assert_true(next(f, &frame));
        if (frame.type == MSG_PING)
            break;
        assert_int_not_equal(frame.type, MSG_DELETE);
        if (frame.type != MSG_LIST)
            continue;
        assert_true(msg_get_list(frame.payload, &m));
        lists++;
        whole += m.path.len == 0;
        msg_put_listing(&f->w,
            &(struct msg_listing){.request = m.request, .last = true, .missing = m.path.len > 0});
        say(f);
    }
    assert_int_equal(whole, 1);
    assert_int_equal(lists, MOST + 1);
    assert_true(queue_size(f->queue, f->ps->owed) <= 3); /* f0, f1, the root */
}

static void listing_with_buckets_nobody_sent(void **state)
{
    struct far *f = *state;
    compare(f);
    msg_put_listing(
        &f->w, &(struct msg_listing){.request = 1, .last = true, .differ = bytes_of("x")});
    assert_refused(f, REASON_MALFORMED, "listing");
}

/* f1 is another there, and large enough for a delta. */
static uint32_t await_delta(struct far *f, uint32_t *batch)
{
    static const char *const names[] = {"f1", NULL};
    struct msg_entry e;
    compare(f);
    put_listing(f, 1, true, names);
    say(f);
    do
        assert_true(msg_get_entry(expect(f, MSG_ENTRY), &e));
    while (e.how != HOW_DELTA);
    *batch = e.batch;
    return e.atom;
}

static void a_signature_nobody_asked_for(void **state)
{
    struct far *f = *state;
    greet(f);
    msg_put_signature(&f->w, &(struct msg_signature){.atom = 3, .last = true, .none = true});
    assert_refused(f, REASON_MALFORMED, "signature of an atom");
}

static void extents_nobody_asked_for(void **state)
{
    struct far *f = *state;
    greet(f);
    msg_put_extents(&f->w, &(struct msg_extents){.atom = 3, .last = true, .size = 0});
    assert_refused(f, REASON_MALFORMED, "signature of an atom");
}

static void told_what_nobody_asked_for(void **state)
{
    struct far *f = *state;
    compare(f);
    msg_put_told(&f->w, &(struct msg_tell){1, 1});
    assert_refused(f, REASON_MALFORMED, "TOLD");
}

static void a_signature_that_is_none(void **state)
{
    struct far *f = *state;
    uint32_t batch, atom = await_delta(f, &batch);
    msg_put_signature(&f->w,
        &(struct msg_signature){.atom = atom, .last = true, .content = bytes_of("not librsync's")});
    assert_refused(f, REASON_MALFORMED, "signature");
}

static void ack_of_an_unknown_batch(void **state)
{
    struct far *f = *state;
    greet(f);
    msg_put_ack(&f->w, &(struct msg_ack){.batch = 1, .last = true});
    assert_refused(f, REASON_MALFORMED, "was not sent");
}

static void ack_of_a_batch_that_is_open(void **state)
{
    struct far *f = *state;
    uint32_t batch;
    await_delta(f, &batch);
    msg_put_ack(&f->w, &(struct msg_ack){.batch = batch, .last = true});
    assert_refused(f, REASON_MALFORMED, "not committed");
}

/* --- what has no place --- */

static void an_answer_to_no_question(void **state)
{
    struct far *f = *state;
    greet(f);
    msg_put_claimed(&f->w, &(struct msg_claimed){.request = 1, .epoch = 1});
    assert_refused(f, REASON_MALFORMED, "no place");
}

static void a_message_of_the_other_direction(void **state)
{
    struct far *f = *state;
    greet(f);
    msg_put_bye(&f->w);
    assert_refused(f, REASON_MALFORMED, "no place");
}

/* A frame of this type with a payload that none has. */
static void put_nonsense(struct far *f, uint8_t type)
{
    size_t start = frame_begin(&f->w, type);
    wire_raw(&f->w, "\xff", 1);
    frame_end(&f->w, start);
}

static void nonsense_of_each_kind(void **state)
{
    static const uint8_t types[] = {MSG_HELLO, MSG_ERROR, MSG_PONG, MSG_OPENED, MSG_LISTING,
        MSG_SIGNATURE, MSG_ACK, MSG_PROGRESS, MSG_SITE_ERROR, MSG_TRASH, MSG_DRIFT, MSG_EXTENTS,
        MSG_RENEWED, MSG_HOOK, MSG_SPACE, MSG_TOLD, MSG_PROVING};
    for (size_t i = 0; i < sizeof types; i++) {
        assert_int_equal(i ? setup(state) : 0, 0);
        struct far *f = *state;
        greet(f);
        put_nonsense(f, types[i]);
        assert_refused(f, REASON_MALFORMED, msg_name(types[i]));
        if (i + 1 < sizeof types)
            teardown(state);
    }
}

/* Of everything that is said of a site. */
static void put_report(struct far *f, unsigned which, uint32_t site)
{
    switch (which) {
    case 0: msg_put_trash(&f->w, &(struct msg_trash){site, 3, 4096, 2}); break;
    case 1:
        msg_put_space(&f->w, &(struct msg_space){site, .free_bytes = 1 << 29, .all_bytes = 1 << 30,
                                 .free_files = 77, .all_files = 100, .keep_bytes = 1000});
        break;
    case 2: msg_put_proving(&f->w, &(struct msg_proving){site, 9}); break;
    case 3: msg_put_hook(&f->w, &(struct msg_hook){site, 2, 5, bytes_of("\x1b[2Jno")}); break;
    case 4:
        msg_put_drift(&f->w, &(struct msg_drift){site, DRIFT_CHANGED, bytes_of("f0"),
                                 {.type = ENTRY_FILE, .mode = 0644, .size = 1}});
        break;
    case 5:
        msg_put_drift(&f->w,
            &(struct msg_drift){site, DRIFT_TIMES, {NULL, 0}, {.type = ENTRY_DIR, .mode = 0755}});
        break;
    case 6: msg_put_progress(&f->w, &(struct msg_progress){site, 1}); break;
    default: break;
    }
}

enum { REPORTS = 7 };

static void reports_of_no_site(void **state)
{
    for (unsigned i = 0; i < REPORTS; i++) {
        assert_int_equal(i ? setup(state) : 0, 0);
        struct far *f = *state;
        greet(f);
        put_report(f, i, 2);
        assert_refused(f, REASON_MALFORMED, "never opened");
        if (i + 1 < REPORTS)
            teardown(state);
    }
}

static void reports_are_kept(void **state)
{
    struct far *f = *state;
    struct msg_commit m;
    struct msg_tell tell;
    struct msg_entry *e CLEANUP_FREE = mem_alloc(sizeof *e);
    struct frame frame;
    bool closed = false, asked = false;
    static const char *const names[] = {"f0", "f1", NULL};
    f->ps->tell = 1; /* a flush has asked */
    compare(f);
    for (unsigned i = 0; i < REPORTS; i++)
        put_report(f, i, 1);
    put_listing(f, 1, true, names);
    say(f);
    struct msg_ping ping;
    struct msg_list list;
    while (!closed || !asked) { /* what differs goes, and is there */
        assert_true(next(f, &frame));
        if (frame.type == MSG_PING && msg_get_ping(frame.payload, &ping))
            msg_put_pong(&f->w, &ping);
        if (frame.type == MSG_TELL && msg_get_tell(frame.payload, &tell)) {
            msg_put_told(&f->w, &tell);
            asked = true;
        }
        if (frame.type == MSG_LIST && msg_get_list(frame.payload, &list)) /* for what drifted */
            put_listing(f, list.request, true, names);
        if (frame.type == MSG_ENTRY && msg_get_entry(frame.payload, e) && e->how == HOW_DELTA)
            msg_put_signature(
                &f->w, &(struct msg_signature){.atom = e->atom, .last = true, .none = true});
        if (frame.type == MSG_COMMIT && msg_get_commit(frame.payload, &m)) {
            msg_put_ack(
                &f->w, &(struct msg_ack){.batch = m.batch, .last = true, .free_bytes = 1 << 29});
            msg_put_ack(&f->w, &(struct msg_ack){.batch = m.batch, .last = true}); /* no more */
            closed = true;
        }
        say(f);
    }
    struct told told = told_of(f);
    assert_int_equal(told.trash.foreign, 3);
    assert_int_equal(told.room.free_files, 77);
    assert_false(told.low);
    assert_int_equal(f->ps->unproven, 9);
    assert_int_equal(told.hook.failures, 2);
    assert_null(strchr(told.hook.text, '\x1b'));
    assert_int_equal(told.drift.healed + told.drift.count, 1);
    /* Of a site that is closed they are nothing. */
    msg_put_site_error(
        &f->w, &(struct msg_site_error){.site = 1, .reason = REASON_IO, .text = bytes_of("x")});
    for (unsigned i = 0; i < REPORTS; i++)
        put_report(f, i, 1);
    msg_put_told(&f->w, &(struct msg_tell){1, 1});
    say(f);
    expect(f, MSG_PING);
    assert_int_equal(f->ps->tell_done, 1);
    join(f);
    assert_true(f->batches > 0);
    assert_int_equal(f->said.version, MSG_VERSION);
    assert_non_null(strstr(f->said.software, "test"));
}

/* --- what does not come by the rules of frames and paths --- */

static void words_of_a_shell(void **state)
{
    struct far *f = *state;
    expect(f, MSG_HELLO);
    wire_raw(&f->w, "Last login: yesterday\n", 22);
    say(f);
    join(f);
    assert_int_equal(f->result, -1);
    assert_non_null(strstr(f->why.text, "is not mirrord; it says: Last login: yesterday"));
}

static void a_frame_that_is_none(void **state)
{
    struct far *f = *state;
    greet(f);
    wire_raw(&f->w, "\xff\xff\xff\xff\xff\xff", 6);
    assert_refused(f, REASON_MALFORMED, "malformed frame");
}

static void a_path_out_of_the_root(void **state)
{
    struct far *f = *state;
    compare(f);
    msg_put_drift(
        &f->w, &(struct msg_drift){.site = 1, .path = bytes_of("aa/x"), .kind = DRIFT_ADDED});
    uint8_t *path = memmem(f->w.data, f->w.len, "aa/x", 4);
    assert_non_null(path);
    memcpy(path, "..", 2);
    assert_refused(f, REASON_PATH, "refused path in a message");
}

/* --- why a site cannot be, or the session --- */

static void reasons_have_their_codes(void **state)
{
    static const struct {
        uint16_t reason;
        enum err_code code;
        bool held;
    } all[] = {{REASON_FULL, ERR_TEMPORARY, false}, {REASON_LOCKED, ERR_TEMPORARY, false},
        {REASON_PATH, ERR_REFUSED, false}, {REASON_FENCED, ERR_REFUSED, false},
        {REASON_HELD, ERR_REFUSED, true}, {REASON_NO_ROOT, ERR_FAILED, false}};
    enum { COUNT = sizeof all / sizeof *all };
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(i ? setup(state) : 0, 0);
        struct far *f = *state;
        greet(f);
        msg_put_site_error(&f->w,
            &(struct msg_site_error){.site = 1, .reason = all[i].reason, .text = bytes_of("x")});
        say(f);
        while (f->ps->state < PUSH_HELD)
            usleep(500);
        assert_int_equal(told_of(f).error.code, all[i].code);
        assert_int_equal(f->ps->state == PUSH_HELD, all[i].held);
        assert_int_equal(f->site->fenced, all[i].reason == REASON_FENCED);
        msg_put_error(&f->w, &(struct msg_error){all[i].reason, bytes_of("that is why")});
        say(f);
        join(f);
        assert_int_equal(f->why.code, all[i].code);
        if (i + 1 < COUNT)
            teardown(state);
    }
}

/* --- RENEW --- */

static void put_yield(struct far *f, uint32_t site)
{
    msg_put_site_error(&f->w,
        &(struct msg_site_error){.site = site, .reason = REASON_YIELD, .text = bytes_of("later")});
}

/* Once; a site that needs another process after that again has failed. */
static void a_site_for_another_process(void **state)
{
    struct far *f = *state;
    struct msg_open *m CLEANUP_FREE = mem_alloc(sizeof *m);
    struct frame frame;
    greet(f);
    put_yield(f, 1);
    say(f);
    assert_true(msg_get_renew(expect(f, MSG_RENEW)));
    msg_put_renewed(&f->w, &(struct msg_renewed){{NULL, 0}});
    say(f);
    assert_true(next(f, &frame)); /* nothing stands between the two */
    assert_int_equal(frame.type, MSG_OPEN);
    assert_true(msg_get_open(frame.payload, m));
    assert_int_equal(m->site, 2);
    put_yield(f, 2);
    say(f);
    expect(f, MSG_PING);
    assert_int_equal(f->ps->state, PUSH_FAILED);
    msg_put_renewed(&f->w, &(struct msg_renewed){{NULL, 0}});
    assert_refused(f, REASON_MALFORMED, "without having been asked");
}

/* What the far end closed while it was renewed is opened at once. */
static void a_site_that_another_process_does_not_take(void **state)
{
    struct far *f = *state;
    struct frame frame;
    compare(f);
    put_yield(f, 1);
    say(f);
    assert_true(next(f, &frame));
    assert_int_equal(frame.type, MSG_OPEN);
}

/* The far end has walked its tree to say OPENED, and need not do so again. */
static void opened_before_the_first_scan(void **state)
{
    struct far *f = *state;
    open_early(f);
    f->site->scanned = true;
    assert_int_equal(next_type(f), MSG_LIST);
}

static void drift_before_the_first_scan(void **state)
{
    struct far *f = *state;
    open_early(f);
    msg_put_drift(
        &f->w, &(struct msg_drift){.site = 1, .path = bytes_of("new"), .kind = DRIFT_ADDED});
    say(f);
    while (told_of(f).drift.count == 0)
        usleep(500);
    f->site->scanned = true;
    assert_int_equal(next_type(f), MSG_CLOSE);
    assert_int_equal(next_type(f), MSG_OPEN);
}

/* But not all the time: it would be opened again and again. */
static void a_site_that_yields_again_and_again(void **state)
{
    struct far *f = *state;
    enum { MOST = 4 };
    compare(f);
    for (uint32_t site = 1; site <= MOST; site++) {
        put_yield(f, site);
        say(f);
        expect(f, MSG_OPEN);
        put_opened(f, site + 1);
    }
    put_yield(f, MOST + 1);
    say(f);
    expect(f, MSG_PING);
    assert_int_equal(f->ps->state, PUSH_FAILED);
}

/* The site is opened again and again, and each time these sessions were known there. */
static void open_with_sessions(struct far *f, const uint64_t *theirs, uint32_t count)
{
    greet(f);
    for (uint32_t i = 0; i < count; i++) {
        msg_put_opened(&f->w, &(struct msg_opened){.site = i + 1,
                                  .state = ROOT_OURS,
                                  .root = {.type = ENTRY_DIR, .mode = 0755},
                                  .sums = {.entries = 1},
                                  .session = theirs[i]});
        put_yield(f, i + 1);
        say(f);
        expect(f, MSG_OPEN);
    }
}

/* A memory that one end has and the other has not is said, and hinders nothing; nor does a number
 * that nobody can have reached. */
static void sessions_that_went_back(void **state)
{
    static const uint64_t theirs[] = {0, UINT64_MAX, 1};
    struct far *f = *state;
    struct heard heard;
    f->site->options.owner = true;
    hear(&heard);
    open_with_sessions(f, theirs, 3);
    hear_no_more(&heard);
    assert_int_equal(lines_with(&heard, "this host was put back from a snapshot"), 1);
    assert_int_equal(lines_with(&heard, "it knows less sessions than there were"), 1);
    assert_int_equal(lines_with(&heard, "owner and group are the far end's own"), 1);
    fclose(heard.log);
}

static void sessions_of_which_nothing_is_known_here(void **state)
{
    static const uint64_t theirs[] = {5};
    struct heard heard;
    hear(&heard);
    open_with_sessions(*state, theirs, 1);
    hear_no_more(&heard);
    assert_int_equal(lines_with(&heard, "it was mirrored there before"), 1);
    fclose(heard.log);
}

/* As often as the far end likes, and with any text: the log has it once each. */
static void a_command_that_fails_and_works(void **state)
{
    struct far *f = *state;
    char text[64];
    struct heard heard;
    compare(f);
    hear(&heard);
    for (unsigned i = 0; i < 500; i++) {
        text[0] = '\0';
        if (i % 2 == 0)
            snprintf(text, sizeof text, "because of %u", i);
        msg_put_hook(&f->w, &(struct msg_hook){1, i % 2 ? 0 : 1, i % 2 ? 0 : 5, bytes_of(text)});
        say(f);
    }
    expect(f, MSG_PING);
    hear_no_more(&heard);
    assert_int_equal(lines_with(&heard, "its command after a commit"), 2);
    fclose(heard.log);
}

static void version_1_is_not_renewed(void **state)
{
    struct far *f = *state;
    struct frame frame;
    assert_true(msg_get_hello(expect(f, MSG_HELLO), &f->hello));
    put_hello(f, f->hello.session, 1, 1);
    say(f);
    expect(f, MSG_OPEN);
    put_yield(f, 1);
    say(f);
    assert_true(next(f, &frame));
    assert_int_equal(frame.type, MSG_PING);
    assert_int_equal(f->ps->state, PUSH_FAILED);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(hello_of_another_session),
        T(hello_twice),
        T(hello_of_a_version_not_offered),
        T(an_error_is_not_answered),
        T(pong_without_ping),
        T(pong_of_another_ping),
        T(opened_twice),
        T(a_site_that_was_never_opened),
        T(site_error_of_no_site),
        T(progress_of_no_site),
        T(what_crosses_is_ignored),
        T(listing_of_no_request),
        T(listing_out_of_order),
        T(listing_out_of_order_across_frames),
        T(names_without_end),
        T(drift_without_end),
        T(a_site_that_yields_again_and_again),
        T(a_command_that_fails_and_works),
        T(listing_with_buckets_nobody_sent),
        T(a_signature_nobody_asked_for),
        T(extents_nobody_asked_for),
        T(told_what_nobody_asked_for),
        T(a_signature_that_is_none),
        T(ack_of_an_unknown_batch),
        T(ack_of_a_batch_that_is_open),
        T(nonsense_of_each_kind),
        T(reports_of_no_site),
        T(reports_are_kept),
        T(words_of_a_shell),
        T(a_frame_that_is_none),
        T(a_path_out_of_the_root),
        T(reasons_have_their_codes),
        T(sessions_that_went_back),
        T(sessions_of_which_nothing_is_known_here),
        T(an_answer_to_no_question),
        T(a_message_of_the_other_direction),
        T(a_site_for_another_process),
        T(a_site_that_another_process_does_not_take),
        T(version_1_is_not_renewed),
        T(opened_before_the_first_scan),
        T(drift_before_the_first_scan),
    };
    log_set_level(LOG_LEVEL_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
