/* Writing and reading the journal's records; see journal.h. What a step's record holds is in
 * step.c. */
#include "secondary/commit/journal.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"

enum { JOURNAL_VERSION = 1, JOURNAL_HEAD = 1 };

static int put(struct manifest_txn *t, uint64_t key, const struct wire_writer *w, struct err *err)
{
    if (w->bad)
        return err_set(err, ERR_FAILED, "a step cannot be encoded for the journal");
    return manifest_journal_put(t, key, (struct bytes){w->data, w->len}, err);
}

int journal_put(
    struct manifest_txn *t, struct step **steps, size_t first, size_t n, struct err *err)
{
    struct wire_writer w = {0};
    int bad = first ? 0 : manifest_journal_clear(t, err);
    for (size_t i = first; !bad && i < first + n; i++) {
        wire_reset(&w);
        step_encode(&w, steps[i]);
        bad = put(t, JOURNAL_HEAD + 1 + i, &w, err);
    }
    wire_free(&w);
    return bad;
}

int journal_seal(struct manifest_txn *t, const char boot[BOOT_ID + 1], struct err *err)
{
    struct wire_writer w = {0};
    wire_u8(&w, JOURNAL_VERSION);
    wire_raw(&w, boot, BOOT_ID);
    int bad = put(t, JOURNAL_HEAD, &w, err);
    wire_free(&w);
    return bad;
}

static bool read_head(struct bytes value, bool *same_boot)
{
    char then[BOOT_ID], now[BOOT_ID + 1];
    struct wire_reader r = wire_reader_of(value.data, value.len);
    uint8_t version = wire_get_u8(&r);
    wire_get_raw(&r, then, sizeof then);
    boot_id(now);
    *same_boot = memcmp(then, now, sizeof then) == 0;
    return wire_done(&r) && version == JOURNAL_VERSION;
}

int journal_read(
    struct manifest_txn *t, struct step ***steps, size_t *n, bool *same_boot, struct err *err)
{
    uint64_t key;
    struct bytes value;
    struct step **list = NULL;
    size_t count = 0;
    int found = manifest_journal_next(t, 0, &key, &value, err);
    if (found != 1)
        return found;
    bool sealed = key == JOURNAL_HEAD;
    bool readable = sealed && read_head(value, same_boot);
    if (!readable)
        log_warn("%s is dropped",
            sealed ? "a journal of another version" : "a journal that was not written to its end");
    while (readable && (found = manifest_journal_next(t, key, &key, &value, err)) == 1) {
        struct step *s = mem_alloc(sizeof *s);
        if (step_decode(value, s) < 0) {
            log_warn("a step of the journal cannot be read and is dropped");
            free(s);
            continue;
        }
        list = mem_resize(list, count + 1, sizeof *list);
        list[count++] = s;
    }
    *steps = list;
    *n = count;
    return found < 0 ? -1 : 1;
}
