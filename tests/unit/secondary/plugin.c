/* The plugin; see plugin.h. */
#include "plugin.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "faults.h"

struct entry old_dir(void)
{
    return a_dir(0755);
}

struct entry new_dir(void)
{
    struct entry d = a_dir(0755);
    d.mtime += 500;
    return d;
}

struct entry text(const char *content, int later)
{
    struct entry e = a_file(content, strlen(content), 0644);
    e.mtime += later;
    return e;
}

const char *in(const char *unit, const char *name)
{
    static char paths[4][128];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", unit, name);
    return path;
}

void put_text(struct peer *p, const char *path, const char *content, int later)
{
    struct entry e = text(content, later);
    peer_put(p, path, &e, content);
}

void send_old(struct peer *p, const char *unit)
{
    struct entry d = old_dir(), l = a_link("old");
    peer_put(p, unit, &d, NULL);
    peer_put(p, in(unit, "sub"), &d, NULL);
    peer_put(p, in(unit, "sub/deep"), &d, NULL);
    put_text(p, in(unit, "sub/deep/same"), "same", 0);
    put_text(p, in(unit, "sub/changed"), "old", 0);
    put_text(p, in(unit, "changed"), "old", 0);
    put_text(p, in(unit, "same"), "same", 0);
    put_text(p, in(unit, "times"), "times", 0);
    put_text(p, in(unit, "mode"), "mode", 0);
    put_text(p, in(unit, "deleted"), "old", 0);
    peer_put(p, in(unit, "dir-deleted"), &d, NULL);
    put_text(p, in(unit, "dir-deleted/file"), "old", 0);
    put_text(p, in(unit, "file-to-dir"), "old", 0);
    peer_put(p, in(unit, "dir-to-file"), &d, NULL);
    put_text(p, in(unit, "dir-to-file/file"), "old", 0);
    peer_put(p, in(unit, "link"), &l, NULL);
}

void send_changes(struct peer *p, const char *unit)
{
    struct entry d = new_dir(), l = a_link("new"), times = text("times", 500),
                 mode = text("mode", 500);
    mode.mode = 0600;
    peer_put(p, unit, &d, NULL);
    put_text(p, in(unit, "sub/changed"), "new!", 500);
    put_text(p, in(unit, "changed"), "new!", 500);
    peer_entry(p, in(unit, "times"), &times, HOW_META, NULL);
    peer_entry(p, in(unit, "mode"), &mode, HOW_META, NULL);
    peer_delete(p, in(unit, "deleted"));
    peer_delete(p, in(unit, "dir-deleted"));
    put_text(p, in(unit, "added"), "new!", 500);
    peer_put(p, in(unit, "file-to-dir"), &d, NULL);
    put_text(p, in(unit, "file-to-dir/file"), "new!", 500);
    put_text(p, in(unit, "dir-to-file"), "new!", 500);
    peer_put(p, in(unit, "link"), &l, NULL);
}

void assert_text(struct peer *p, const char *path, const char *content, int later)
{
    struct entry e = text(content, later);
    assert_file(p, path, content, &e);
}

void assert_old(struct peer *p, const char *unit)
{
    struct entry d = old_dir(), l = a_link("old");
    assert_dir(p, unit, &d);
    assert_text(p, in(unit, "sub/changed"), "old", 0);
    assert_text(p, in(unit, "changed"), "old", 0);
    assert_text(p, in(unit, "times"), "times", 0);
    assert_text(p, in(unit, "mode"), "mode", 0);
    assert_text(p, in(unit, "deleted"), "old", 0);
    assert_text(p, in(unit, "dir-deleted/file"), "old", 0);
    assert_text(p, in(unit, "file-to-dir"), "old", 0);
    assert_text(p, in(unit, "dir-to-file/file"), "old", 0);
    assert_link(p, in(unit, "link"), &l);
    assert_absent(p, in(unit, "added"));
}

void assert_new(struct peer *p, const char *unit)
{
    struct entry d = new_dir(), o = old_dir(), l = a_link("new"), mode = text("mode", 500);
    mode.mode = 0600;
    assert_dir(p, unit, &d);
    assert_dir(p, in(unit, "sub"), &o);
    assert_dir(p, in(unit, "sub/deep"), &o);
    assert_dir(p, in(unit, "file-to-dir"), &d);
    assert_text(p, in(unit, "sub/deep/same"), "same", 0);
    assert_text(p, in(unit, "sub/changed"), "new!", 500);
    assert_text(p, in(unit, "changed"), "new!", 500);
    assert_text(p, in(unit, "same"), "same", 0);
    assert_text(p, in(unit, "times"), "times", 500);
    assert_file(p, in(unit, "mode"), "mode", &mode);
    assert_absent(p, in(unit, "deleted"));
    assert_absent(p, in(unit, "dir-deleted"));
    assert_text(p, in(unit, "added"), "new!", 500);
    assert_text(p, in(unit, "file-to-dir/file"), "new!", 500);
    assert_text(p, in(unit, "dir-to-file"), "new!", 500);
    assert_link(p, in(unit, "link"), &l);
}

void send_site(struct peer *p, bool two)
{
    struct entry d = old_dir();
    peer_batch(p);
    peer_put(p, "", &d, NULL);
    peer_put(p, "plugins", &d, NULL);
    send_old(p, "plugins/x");
    if (two)
        send_old(p, "plugins/y");
    put_text(p, "outside", "old", 0);
    peer_commit_all(p);
}

void send_update(struct peer *p)
{
    peer_batch(p);
    peer_unit(p, "plugins/x");
    send_changes(p, "plugins/x");
}

ino_t inode_of(struct peer *p, const char *path)
{
    struct stat st;
    assert_int_equal(lstat(on_root(p, path), &st), 0);
    return st.st_ino;
}

struct msg_sums sums_of(struct peer *p, const char *name)
{
    struct msg_listing l;
    struct msg_item item = {0};
    static uint32_t request;
    msg_put_list(&p->out, &(struct msg_list){.request = ++request, .site = 1});
    peer_send(p);
    assert_true(msg_get_listing(peer_expect(p, MSG_LISTING), &l));
    struct wire_reader r = wire_reader_of(l.items.data, l.items.len);
    for (int i = 0; i < l.count; i++) {
        msg_item_decode(&r, &item);
        if (bytes_equal(item.name, bytes_of(name)))
            return item.sums;
    }
    fail_msg("%s is not listed", name);
    return item.sums;
}

void assert_sums(const struct msg_sums *a, const struct msg_sums *b)
{
    assert_int_equal(a->entries, b->entries);
    assert_int_equal(a->unproven, b->unproven);
    assert_int_equal(a->bytes, b->bytes);
    assert_memory_equal(&a->meta, &b->meta, sizeof a->meta);
    assert_memory_equal(&a->content, &b->content, sizeof a->content);
}

struct msg_sums reference(bool two)
{
    struct peer p;
    peer_setup(&p);
    peer_open(&p);
    send_site(&p, two);
    peer_batch(&p);
    send_changes(&p, "plugins/x");
    if (two)
        send_changes(&p, "plugins/y");
    peer_commit_all(&p);
    struct msg_sums sums = sums_of(&p, "plugins");
    peer_end(&p);
    peer_cleanup(&p);
    return sums;
}

void assert_known(struct peer *p, const struct msg_sums *want)
{
    struct msg_sums sums = sums_of(p, "plugins");
    assert_sums(&sums, want);
    peer_end(p);
    assert_int_equal(staged_count(p), 0);
    atomic_store(&faults->reads, 0);
    peer_open(p);
    sums = sums_of(p, "plugins");
    assert_sums(&sums, want);
    assert_int_equal(atomic_load(&faults->reads), 0);
}

void commit_with(struct peer *p, uint8_t flags)
{
    struct ack *ack = mem_alloc(sizeof *ack);
    peer_commit(p, ack);
    if (ack->failures)
        print_error("atom %u: %s\n", ack->atoms[0], ack->text);
    assert_int_equal(ack->failures, 0);
    assert_int_equal(ack->flags, flags);
    free(ack);
}

/* Answers come between the steps of jobs, so that enough of them let jobs end. */
void let_jobs_end(struct peer *p)
{
    for (uint64_t i = 1; kept_count(p) || staged_count(p); i++) {
        assert_true(i < 100000);
        msg_put_ping(&p->out, &(struct msg_ping){i});
        peer_send(p);
        peer_expect(p, MSG_PONG);
    }
}

void let_unwanted_go(struct peer *p)
{
    for (uint64_t i = 1; staged_count(p); i++) {
        assert_true(i < 100000);
        msg_put_ping(&p->out, &(struct msg_ping){i});
        peer_send(p);
        peer_expect(p, MSG_PONG);
    }
}

void expect_one_failure(struct peer *p, uint32_t atom, uint16_t reason)
{
    struct ack *ack = mem_alloc(sizeof *ack);
    peer_commit(p, ack);
    if (ack->failures != 1)
        print_error("atom %u: %s\n", ack->atoms[0], ack->text);
    assert_int_equal(ack->failures, 1);
    assert_int_equal(ack->atoms[0], atom);
    assert_string_equal(msg_reason_name(ack->reasons[0]), msg_reason_name(reason));
    free(ack);
}

void stays_in_place(struct peer *p, const char *path, const char *content)
{
    char text_there[16] = {0};
    int fd = open(on_root(p, path), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    assert_true(fd >= 0);
    assert_true(read(fd, text_there, sizeof text_there - 1) >= 0);
    close(fd);
    assert_string_equal(text_there, content);
}

const char *numbered(int i)
{
    static char path[64];
    snprintf(path, sizeof path, "plugins/x/%02d/%04d", i % 50, i);
    return path;
}

void send_many(struct peer *p, int version)
{
    struct entry d = old_dir();
    char path[64];
    struct entry same = text("same", version), changed = text("0", 0);
    peer_batch(p);
    if (version == 0) {
        peer_put(p, "", &d, NULL);
        peer_put(p, "plugins", &d, NULL);
        peer_put(p, "plugins/x", &d, NULL);
        for (int i = 0; i < 50; i++) {
            snprintf(path, sizeof path, "plugins/x/%02d", i);
            peer_put(p, path, &d, NULL);
        }
        peer_commit_all(p);
        peer_batch(p);
    }
    peer_unit(p, "plugins/x");
    for (int i = 0; i < MANY; i++) {
        if (version > 0 && i % 1000 == 0)
            peer_put(p, numbered(i), &changed, "0");
        else if (version > 0)
            peer_entry(p, numbered(i), &same, HOW_META, NULL);
        else
            peer_put(p, numbered(i), &same, "same");
    }
}
