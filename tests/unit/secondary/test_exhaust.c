/*
 * A primary that asks for more than there is: sizes that no disk has, content that unpacks to more
 * than was announced, batches without an end, a byte a second, more sites than a session may have.
 * Each ends with its named error, and leaves the disk as it was.
 */
#include "peer.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "secondary/commit/atom.h"
#include "secondary/commit/batch.h"
#include "secondary/session/crawl.h"
#include "secondary/stage/stage.h"
#include "tree/content/zip.h"

enum { KEEPALIVE_S = 15 }; /* of peer.c */

/* Seconds by which the receivers' clock is ahead of the real one. */
static _Atomic(uint64_t) *later_s;

uint64_t __real_io_now_ms(void);
uint64_t __wrap_io_now_ms(void);
uint64_t __wrap_io_now_ms(void)
{
    return __real_io_now_ms() + atomic_load(later_s) * 1000;
}

uint64_t __real_io_now_us(void);
uint64_t __wrap_io_now_us(void);
uint64_t __wrap_io_now_us(void)
{
    return __real_io_now_us() + atomic_load(later_s) * 1000000;
}

/* The largest size that can be said is no promise. */
static void a_size_that_no_disk_has(void **state)
{
    struct peer *p = *state;
    struct entry f = a_file("x", 1, 0644);
    struct ack ack;
    peer_open(p);
    peer_batch(p);
    f.size = INT64_MAX;
    uint32_t atom = peer_entry(p, "huge", &f, HOW_DATA, "");
    peer_data(p, atom, DATA_CONTENT, "abc", 3);
    peer_finish(p, atom, &f);
    peer_commit(p, &ack);
    assert_int_equal(ack.failures, 1);
    assert_absent(p, "huge");
    assert_int_equal(staged_count(p), 0);
    /* One more is no size. */
    peer_batch(p);
    f.size = UINT64_C(1) << 63;
    peer_entry(p, "huge", &f, HOW_DATA, "");
    peer_send(p);
    peer_expect_error(p, REASON_MALFORMED);
}

/* More comes than was announced. */
static void more_than_its_size(void **state)
{
    struct peer *p = *state;
    struct entry f = a_file("x", 1, 0644);
    uint8_t *piece CLEANUP_FREE = mem_alloc(60000);
    peer_open(p);
    peer_batch(p);
    f.size = 100;
    uint32_t atom = peer_entry(p, "long", &f, HOW_DATA, "");
    for (int i = 0; i < 100; i++)
        msg_put_data(&p->out,
            &(struct msg_data){.atom = atom, .kind = DATA_CONTENT, .content = {piece, 60000}});
    peer_finish(p, atom, &f);
    struct ack ack;
    peer_commit(p, &ack);
    assert_int_equal(ack.failures, 1);
    assert_absent(p, "long");
    assert_int_equal(staged_count(p), 0);
    peer_end(p);
}

/* A frame of zstd that unpacks to more than a message may hold: 60 KB of zeros packed are
 * gigabytes. */
static void content_that_unpacks_to_too_much(void **state)
{
    struct peer *p = *state;
    enum { MUCH = 64 << 20 };
    uint8_t *zeros CLEANUP_FREE = mem_alloc(MUCH), *packed CLEANUP_FREE = mem_alloc(MSG_PACK_MAX);
    struct zip *zip = zip_new(1);
    size_t n = zip_pack(zip, zeros, MUCH, packed, MSG_PACK_MAX);
    zip_free(zip);
    assert_true(n > 0);
    peer_open(p);
    peer_batch(p);
    peer_send(p);
    msg_put_pack(&p->out, &(struct msg_pack){{packed, n}});
    peer_send(p);
    peer_expect_error(p, REASON_MALFORMED);
    assert_absent(p, "x");
}

/* It is never committed: what is staged goes with the session. */
static void a_batch_without_an_end(void **state)
{
    struct peer *p = *state;
    struct entry f = a_file("x", 1, 0644);
    char path[32];
    peer_open(p);
    for (int b = 0; b < 4; b++) {
        peer_batch(p);
        for (int i = 0; i < 200; i++) {
            snprintf(path, sizeof path, "b%d-%d", b, i);
            peer_put(p, path, &f, "x");
        }
        peer_send(p);
    }
    f.size = 1 << 20;
    uint32_t atom = peer_entry(p, "begun", &f, HOW_DATA, "");
    peer_data(p, atom, DATA_CONTENT, "abc", 3);
    peer_end(p);
    assert_absent(p, "b0-0");
    assert_absent(p, "begun");
    peer_open(p);
    assert_int_equal(staged_count(p), 0);
    peer_end(p);
}

/* Nor do its atoms take memory without an end: a thousand ENTRYs fit a message of a kilobyte. */
static void atoms_without_an_end(void **state)
{
    enum { MORE = 5, PATH = MSG_HELD_ATOM };
    (void)state;
    struct tools tools = {
        .replicas = set_new(), .held = MSG_HELD_MAX - MORE * (MSG_HELD_ATOM + PATH)};
    struct replica r = {.tools = &tools, .site = 1, .state = REPLICA_FAILED};
    size_t before = tools.held;
    struct err err;
    char path[PATH];
    memset(path, 'x', sizeof path);
    set_add(tools.replicas, &r.site, sizeof r.site)->value = &r;
    assert_int_equal(batch_open(&tools, &(struct msg_begin){1, 1}, &err), 0);
    assert_int_equal(batch_open(&tools, &(struct msg_begin){2, 1}, &err), 0);
    uint32_t n = 1;
    while (atom_delete(&tools, &(struct msg_delete){1 + n % 2, n, {path, PATH}}, &err) == 0)
        n++;
    assert_int_equal(n, MORE + 1);
    assert_int_equal(tools.reason, REASON_LIMIT);
    batch_forget_all(&tools);
    assert_int_equal(tools.held, before);
    set_free(tools.replicas);
}

/* Sends `out` in so many pieces, each a second after the one before was read. False: the session
 * ended before. */
static bool send_piecemeal(struct peer *p, size_t pieces)
{
    size_t n = p->out.len, done = 0;
    bool taken = true;
    for (size_t i = 0; i < pieces && taken; i++) {
        size_t end = n * (i + 1) / pieces;
        int unread = 1;
        taken = send(p->fd, p->out.data + done, end - done, MSG_NOSIGNAL) == (ssize_t)(end - done);
        while (taken && unread) {
            assert_int_equal(ioctl(p->fd, SIOCOUTQ, &unread), 0);
            usleep(unread ? 100 : 0);
        }
        done = end;
        atomic_fetch_add(later_s, 1);
    }
    wire_reset(&p->out);
    return taken;
}

static void put_content(struct peer *p, uint32_t atom, const uint8_t *content, size_t n)
{
    msg_put_data(
        &p->out, &(struct msg_data){.atom = atom, .kind = DATA_CONTENT, .content = {content, n}});
}

/* Each message comes within its time, all together take three minutes. */
static void a_slow_link(void **state)
{
    struct peer *p = *state;
    uint8_t content[4096];
    memset(content, 'x', sizeof content);
    struct entry f = a_file(content, sizeof content, 0644);
    peer_open(p);
    peer_batch(p);
    uint32_t atom = peer_entry(p, "slow", &f, HOW_DATA, "");
    peer_send(p);
    for (size_t at = 0; at < sizeof content; at += sizeof content / 4) {
        put_content(p, atom, content + at, sizeof content / 4);
        assert_true(send_piecemeal(p, 3 * KEEPALIVE_S));
    }
    peer_finish(p, atom, &f);
    peer_commit_all(p);
    assert_file(p, "slow", content, &f);
    peer_end(p);
}

/* A sign of life now and then, and never a whole message. */
static void a_byte_a_second(void **state)
{
    struct peer *p = *state;
    uint8_t content[300] = {0};
    struct entry f = a_file(content, sizeof content, 0644);
    peer_open(p);
    peer_batch(p);
    uint32_t atom = peer_entry(p, "begun", &f, HOW_DATA, "");
    peer_send(p);
    put_content(p, atom, content, sizeof content);
    uint64_t begun = atomic_load(later_s);
    assert_false(send_piecemeal(p, p->out.len));
    assert_true(atomic_load(later_s) - begun >= CRAWL_KEEPALIVES * KEEPALIVE_S);
    peer_expect_error(p, REASON_LIMIT);
    peer_open(p); /* its lock is free */
    assert_int_equal(staged_count(p), 0);
    assert_absent(p, "begun");
    peer_end(p);
}

/* Those that are refused count, too: each is remembered. */
static void more_sites_than_a_session_has(void **state)
{
    struct peer *p = *state;
    struct msg_site_error m;
    peer_open(p);
    for (uint32_t i = 2; i <= MSG_SITES_MAX; i++) {
        peer_send_open(p, i, "/etc");
        if (i % 64 == 0 || i == MSG_SITES_MAX)
            for (uint32_t k = i == MSG_SITES_MAX ? (i - 1) / 64 * 64 + 1 : i - 63; k <= i; k++)
                if (k >= 2)
                    assert_true(msg_get_site_error(peer_expect(p, MSG_SITE_ERROR), &m));
    }
    peer_send_open(p, MSG_SITES_MAX + 1, "/etc");
    peer_expect_error(p, REASON_LIMIT);
}

static void put_long_open(struct peer *p, uint32_t site, const char *root)
{
    static const char pattern[] =
        "a pattern that is as long as it takes to fill a frame with all that "
        "there may be, though nothing is ever called so";
    struct msg_open *m CLEANUP_FREE = mem_alloc(sizeof *m);
    m->site = site;
    m->root = bytes_of(root);
    m->flags = OPEN_DRY_RUN; /* of a root that is not there: it is open at once */
    for (m->rule_count = 0; m->rule_count < MSG_RULES_MAX; m->rule_count++)
        m->rules[m->rule_count].pattern = bytes_of(pattern);
    msg_put_open(&p->out, m);
}

/* What is kept of each site is bounded for all of them together. */
static void filters_of_many_sites(void **state)
{
    struct peer *p = *state;
    struct msg_opened m;
    char root[300];
    size_t bytes = 0;
    peer_start(p);
    peer_hello(p);
    for (uint32_t i = 1;; i++) {
        snprintf(root, sizeof root, "%s/%05u", p->fence, i);
        put_long_open(p, i, root);
        bytes += p->out.len;
        peer_send(p);
        if (bytes > MSG_OPENS_MAX + 5 * i) /* without the frames' heads */
            break;
        assert_true(msg_get_opened(peer_expect(p, MSG_OPENED), &m));
        assert_int_equal(m.site, i);
    }
    peer_expect_error(p, REASON_LIMIT);
}

/* A primary that reads what it is answered, and not what is logged. */
static void a_log_that_nobody_reads(void **state)
{
    struct peer *p = *state;
    struct msg_site_error m;
    char path[64];
    static const char line[] = "x\n";
    int ends[2], before CLEANUP_FD = dup(STDERR_FILENO);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", ends[1]);
    int filler CLEANUP_FD = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
    peer_start(p);
    assert_true(dup2(before, STDERR_FILENO) >= 0);
    peer_hello(p);
    while (write(filler, line, sizeof line - 1) > 0)
        continue;
    peer_send_open(p, 1, "/etc");
    assert_true(msg_get_site_error(peer_expect(p, MSG_SITE_ERROR), &m));
    peer_end(p);
    close(ends[0]);
    close(ends[1]);
}

/* A dry run does not make the root; what is looked at now and then is looked at all the same. */
static void a_dry_run_that_lasts(void **state)
{
    struct peer *p = *state;
    struct msg_ping ping = {7};
    p->open_flags = OPEN_DRY_RUN;
    assert_int_equal(peer_open(p).state, ROOT_CREATED);
    for (int i = 0; i < 3; i++) {
        atomic_fetch_add(later_s, 1);
        msg_put_ping(&p->out, &ping);
        peer_send(p);
        peer_expect(p, MSG_PONG);
    }
    peer_end(p);
}

/* What is refused is said, but not without an end: neither many sites nor one again and again. */
static void refusals_do_not_fill_the_log(void **state)
{
    enum { SITES = 300, CAUSES = 64 };
    struct peer *p = *state;
    struct msg_site_error m;
    char root[32], line[512];
    unsigned lines = 0;
    FILE *log = tmpfile();
    int before CLEANUP_FD = dup(STDERR_FILENO);
    assert_true(log && dup2(fileno(log), STDERR_FILENO) >= 0);
    peer_start(p);
    assert_true(dup2(before, STDERR_FILENO) >= 0);
    peer_hello(p);
    for (uint32_t i = 1; i <= 2 * SITES; i++) {
        snprintf(root, sizeof root, "/etc/%u", i < SITES ? i : SITES);
        peer_send_open(p, i < SITES ? i : SITES, root);
        assert_true(msg_get_site_error(peer_expect(p, MSG_SITE_ERROR), &m));
    }
    peer_end(p);
    rewind(log);
    while (fgets(line, sizeof line, log))
        lines += strstr(line, "is outside of") != NULL;
    fclose(log);
    assert_int_equal(lines, CAUSES);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, peer_make, peer_unmake)
    later_s =
        mmap(NULL, sizeof *later_s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(later_s, MAP_FAILED);
    const struct CMUnitTest tests[] = {
        T(a_size_that_no_disk_has),
        T(more_than_its_size),
        T(content_that_unpacks_to_too_much),
        T(a_batch_without_an_end),
        T(atoms_without_an_end),
        T(filters_of_many_sites),
        T(a_dry_run_that_lasts),
        T(a_log_that_nobody_reads),
        T(refusals_do_not_fill_the_log),
        T(a_slow_link),
        T(a_byte_a_second),
        T(more_sites_than_a_session_has),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
