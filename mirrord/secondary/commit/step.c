/* Steps as data: their memory, their failures, and their form in the journal; see step.h. How they
 * are done is install's business. */
#include "secondary/commit/step.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"

enum { STEP_VERSION = 1 };

void step_set_bytes(struct bytes *field, const void *p, size_t n)
{
    void *copy = n ? mem_copy_bytes(p, n) : NULL;
    free((void *)field->data);
    *field = (struct bytes){copy, n};
}

struct step_old step_old_of(const struct record *r)
{
    return (struct step_old){
        .known = true,
        .committed = r->flags & RECORD_COMMITTED,
        .has_digest = r->entry.has_digest,
        .type = r->entry.type,
        .size = r->entry.size,
        .validators = r->validators,
        .digest = r->entry.digest,
    };
}

void step_init(struct step *s, uint8_t kind, struct bytes path)
{
    *s = (struct step){.kind = kind};
    step_set_bytes(&s->path, path.data, path.len);
}

void step_clear(struct step *s)
{
    free((void *)s->path.data);
    free((void *)s->from.data);
    free((void *)s->staged.data);
    free(s->entry_bytes);
    free(s->text);
    *s = (struct step){0};
}

size_t step_set_entry(struct step *s, const struct entry *e)
{
    struct wire_writer w = {0};
    entry_encode(&w, e);
    struct wire_reader r = wire_reader_of(w.data, w.len);
    entry_decode(&r, &s->entry);
    free(s->entry_bytes);
    s->entry_bytes = w.data;
    return w.len;
}

static void set_failure(struct step *s, uint16_t reason, uint32_t sys, char *text)
{
    if (s->state == STEP_FAILED) {
        free(text);
        return;
    }
    if (strlen(text) > MSG_TEXT_MAX)
        text[MSG_TEXT_MAX] = '\0';
    s->state = STEP_FAILED;
    s->reason = reason;
    s->sys = sys;
    s->text = text;
}

void step_fail(struct step *s, uint16_t reason, const char *verb, const struct err *why)
{
    set_failure(s, reason, (uint32_t)why->sys,
        mem_format("%s %s: %s", verb, QUOTED(s->path.data, s->path.len), why->text));
}

void step_fail_errno(struct step *s, uint16_t reason, int sys, const char *verb, const char *call)
{
    struct err why;
    err_sys(&why, sys, "%s", call);
    step_fail(s, reason, verb, &why);
}

void step_fail_text(struct step *s, uint16_t reason, const char *verb, const char *text)
{
    struct err why;
    err_set(&why, ERR_FAILED, "%s", text);
    step_fail(s, reason, verb, &why);
}

void step_encode(struct wire_writer *w, const struct step *s)
{
    wire_u8(w, STEP_VERSION);
    wire_u8(w, s->kind);
    wire_u8(w, s->way);
    wire_short(w, s->path);
    wire_short(w, s->from);
    wire_short(w, s->staged);
    wire_u64(w, s->inode);
    if (s->kind == STEP_ENTRY)
        entry_encode(w, &s->entry);
}

int step_decode(struct bytes value, struct step *out)
{
    struct wire_reader r = wire_reader_of(value.data, value.len);
    uint8_t version = wire_get_u8(&r);
    struct step s = {.kind = wire_get_u8(&r), .way = wire_get_u8(&r)};
    s.path = wire_get_short(&r, PATH_TOTAL_MAX);
    s.from = wire_get_short(&r, PATH_TOTAL_MAX);
    s.staged = wire_get_short(&r, PATH_TOTAL_MAX);
    s.inode = wire_get_u64(&r);
    if (s.kind == STEP_ENTRY)
        entry_decode(&r, &s.entry);
    bool kind_known = s.kind >= STEP_ENTRY && s.kind <= STEP_UNIT_GONE && s.way <= WAY_LAST;
    if (!wire_done(&r) || version != STEP_VERSION || !kind_known)
        return -1;
    step_init(out, s.kind, s.path);
    step_set_bytes(&out->from, s.from.data, s.from.len);
    step_set_bytes(&out->staged, s.staged.data, s.staged.len);
    out->way = s.way;
    out->inode = s.inode;
    if (s.kind == STEP_ENTRY)
        step_set_entry(out, &s.entry);
    return 0;
}
