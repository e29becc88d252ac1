/*
 * How a site is: up, or held back with the reason; and what goes out of the scanner about it: the
 * status that others read, and what the outbox has for the sink.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "base/log.h"
#include "primary/scan/scan_impl.h"

enum {
    BUSY_MS = 30000,      /* a file that does not hold still for so long is shown */
    ROOT_CHECK_MS = 2000, /* a root that is renamed away gives no event in it */
};

bool scan_is_up(const struct scan_site *s)
{
    return s->status.state == SCAN_OK;
}

bool scan_hint_path(
    struct scan_site *s, const struct hint *h, char path[PATH_TOTAL_MAX + 1], size_t *len)
{
    struct manifest_txn *t;
    size_t n = 0;
    struct bytes name = h->key.name;
    if (manifest_begin(s->site->manifest, false, &t, NULL) < 0)
        return false;
    int found = manifest_dir_path(t, h->key.dir, path, &n, NULL);
    manifest_abort(t);
    if (found <= 0 || n + 1 + name.len > PATH_TOTAL_MAX)
        return false;
    if (n && name.len)
        path[n++] = '/';
    if (name.len)
        memcpy(path + n, name.data, name.len);
    *len = n + name.len;
    return true;
}

static void collect_busy(struct scan_site *s, uint64_t now)
{
    struct scan_status *status = &s->status;
    char path[PATH_TOTAL_MAX + 1];
    size_t len;
    status->busy_count = 0;
    for (struct hint *h = batch_each(s->batch, NULL); h; h = batch_each(s->batch, h)) {
        if (status->busy_count == SCAN_BUSY_MAX)
            return;
        if (h->writer && now - h->first_ms >= BUSY_MS && scan_hint_path(s, h, path, &len))
            log_name(status->busy[status->busy_count++], SCAN_PATH_MAX, path, len);
    }
}

void scan_publish(struct scan_site *s)
{
    struct manifest_txn *t;
    struct msg_sums sums;
    uint64_t now = io_now_ms();
    if (now < s->publish_due_ms)
        return;
    s->publish_due_ms = UINT64_MAX;
    if (manifest_begin(s->site->manifest, false, &t, NULL) == 0) {
        if (manifest_sums(t, MANIFEST_ROOT, &sums, NULL) == 0) {
            s->status.entries = sums.entries;
            s->status.bytes = sums.bytes;
            s->status.files = sums.files;
            s->status.unproven = sums.unproven;
            if (scan_is_up(s))
                loss_look(&s->site->loss, sums.entries);
        }
        manifest_abort(t);
    }
    s->status.watches = s->watch ? watch_count(s->watch) : 0;
    collect_busy(s, now);
    unreadable_collect(s);
    pthread_mutex_lock(&s->scan->lock);
    s->published = s->status;
    pthread_mutex_unlock(&s->scan->lock);
}

void scan_want_publish(struct scan_site *s, uint64_t ms)
{
    uint64_t due = io_now_ms() + ms;
    if (due < s->publish_due_ms)
        s->publish_due_ms = due;
}

void scan_hold(struct scan_site *s, enum scan_state state, const char *fmt, ...)
{
    va_list ap;
    char text[sizeof s->status.error];
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (strcmp(text, s->status.error) != 0)
        log_error("%s: %s", s->site->label, text);
    memcpy(s->status.error, text, sizeof text);
    s->status.state = state;
    s->retry_due_ms = io_now_ms() + SCAN_HELD_RETRY_MS;
    s->compare = true;
    batch_clear(s->batch);
    outbox_clear(&s->outbox);
    rescan_drop(s);
    links_free(s);
    barrier_fail_all(s, text);
    unrest_stir_all(s->site->unrest, io_now_ms());
    scan_want_publish(s, 0);
    scan_publish(s);
    s->scan->sink.changed(s->scan->sink.ctx, s->site);
}

bool scan_root_in_place(struct scan_site *s)
{
    s->root_due_ms = io_now_ms() + ROOT_CHECK_MS;
    if (root_in_place(s->site->root))
        return true;
    scan_hold(s, SCAN_HELD,
        "the root %s is not the directory that it was: nothing is sent or deleted while it is "
        "missing, unmounted or replaced",
        root_path(s->site->root));
    return false;
}

void scan_trouble(struct scan_site *s, const struct err *err)
{
    scan_hold(s, SCAN_FAILED, "%s", err->text);
}

void scan_retry(struct scan_site *s)
{
    s->retry_due_ms = 0;
    if (!root_in_place(s->site->root)) {
        s->retry_due_ms = io_now_ms() + SCAN_HELD_RETRY_MS;
        return;
    }
    log_info("%s: looking through the whole site again", s->site->label);
    s->status.state = SCAN_SCANNING;
    rescan_start(s, true);
    scan_want_publish(s, 0);
}

static void hint_path(struct scan_site *s, struct manifest_txn *t, const struct outbox_item *i)
{
    struct record r;
    struct hint_key key = {0, path_name(i->path)};
    uint64_t now = io_now_ms();
    if (manifest_lookup(t, i->path, &r, &key.dir, NULL) <= 0 || !key.dir)
        return;
    unsigned pause = i->flags & HINT_PROVE ? validators_pause_ms(&r.validators) : 0;
    batch_add(s->batch, key, i->flags, now, now + pause);
}

static void send_hints(struct scan_site *s)
{
    struct manifest_txn *t = NULL;
    for (size_t i = 0; i < s->outbox.count; i++) {
        if (s->outbox.items[i].kind != OUTBOX_HINT)
            continue;
        if (!t && manifest_begin(s->site->manifest, false, &t, NULL) < 0)
            return;
        hint_path(s, t, &s->outbox.items[i]);
    }
    manifest_abort(t);
}

static void send_move(struct scan_site *s, const struct outbox_item *o)
{
    uint64_t now = io_now_ms();
    unrest_stir(s->site->unrest, o->path, true, now);
    unrest_stir(s->site->unrest, o->to, true, now);
    unrest_stir_beneath(s->site->unrest, o->path, now);
    unrest_stir_beneath(s->site->unrest, o->to, now);
    s->scan->sink.move(s->scan->sink.ctx, s->site, o->path, o->to);
}

void scan_send(struct scan_site *s)
{
    const struct scan_sink *sink = &s->scan->sink;
    if (!s->outbox.count)
        return;
    for (size_t i = 0; i < s->outbox.count; i++) {
        const struct outbox_item *o = &s->outbox.items[i];
        if (o->kind == OUTBOX_OWE)
            sink->owe(sink->ctx, s->site, o->path, o->flags);
        else if (o->kind == OUTBOX_MOVE)
            send_move(s, o);
    }
    send_hints(s);
    scan_want_publish(s, SCAN_PUBLISH_MS);
    outbox_clear(&s->outbox);
}
