/* The list of files that change; see pair_plan.h. Whether what is written is right is not known
 * here. */
#include "command/pair/pair_plan.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "command/pair/pair_agent.h"
#include "link/keys/base64.h"

static struct json *request_for(const char *what, const char *path)
{
    struct json *r = json_object();
    json_set_text(r, "do", what);
    json_set_text(r, "path", path);
    return r;
}

static int take_answer(struct pair_planned *f, const struct json *answer, struct err *err)
{
    const char *text = json_get_text(answer, "text", "");
    size_t room = strlen(text) / 4 * 3 + 3;
    f->was = mem_alloc(room + 1);
    size_t len = base64_decode(text, strlen(text), (unsigned char *)f->was, room);
    f->there = json_get_bool(answer, "there", false);
    if (f->there)
        f->mode = (unsigned)json_get_number(answer, "mode", f->mode);
    f->text = mem_copy_string(f->was);
    if (strlen(f->was) != len)
        return err_set(
            err, ERR_FAILED, "%s: %s has a NUL byte in it", pair_end_name(f->end), f->path);
    return 0;
}

static void free_file(struct pair_planned *f)
{
    free(f->path);
    free(f->user);
    free(f->was);
    free(f->text);
    buf_free(&f->says);
}

int pair_plan_file(struct pair_plan *p, struct pair_end *end, const char *path, const char *user,
    unsigned mode, struct pair_planned **out, struct err *err)
{
    for (size_t i = 0; i < p->count; i++)
        if (p->files[i].end == end && strcmp(p->files[i].path, path) == 0) {
            *out = &p->files[i];
            return 0;
        }
    struct json *answer;
    if (pair_end_ask(end, request_for("read", path), &answer, err))
        return -1;
    struct pair_planned f = {
        .end = end, .path = mem_copy_string(path), .user = mem_copy_string(user), .mode = mode};
    int rc = take_answer(&f, answer, err);
    json_free(answer);
    if (rc) {
        free_file(&f);
        return -1;
    }
    p->files = mem_resize(p->files, p->count + 1, sizeof *p->files);
    p->files[p->count] = f;
    *out = &p->files[p->count++];
    return 0;
}

void pair_plan_change(struct pair_planned *f, char *text, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    size_t n = (size_t)vsnprintf(NULL, 0, fmt, ap);
    vsnprintf((char *)buf_room(&f->says, n + 1), n + 1, fmt, again);
    buf_fill(&f->says, n);
    va_end(again);
    va_end(ap);
    free(f->text);
    f->text = text;
}

static bool changes(const struct pair_planned *f)
{
    return strcmp(f->was, f->text) != 0;
}

bool pair_plan_is_empty(const struct pair_plan *p)
{
    for (size_t i = 0; i < p->count; i++)
        if (changes(&p->files[i]))
            return false;
    return true;
}

/* Some of it is another host's file: nothing that a terminal would obey. */
static void print_lines(const uint8_t *text, size_t len)
{
    char *copy CLEANUP_FREE = mem_copy_bytes(text, len);
    for (const char *p = copy; *p;) {
        size_t n = *p == '\n' || *p == '\t' ? 0 : log_control(p);
        putchar(n ? '?' : *p);
        p += n ? n : 1;
    }
}

void pair_plan_print(const struct pair_plan *p)
{
    for (size_t i = 0; i < p->count; i++) {
        const struct pair_planned *f = &p->files[i];
        if (!changes(f))
            continue;
        printf("%s: %s%s\n", pair_end_name(f->end), QUOTED(f->path, strlen(f->path)),
            f->there ? "" : ", which is new");
        print_lines(buf_bytes(&f->says), buf_len(&f->says));
    }
}

static int apply_one(struct pair_planned *f, struct err *err)
{
    struct json *answer, *r = request_for("publish", f->path);
    char *was CLEANUP_FREE = base64_encode(f->was, strlen(f->was), true);
    char *text CLEANUP_FREE = base64_encode(f->text, strlen(f->text), true);
    json_set_text(r, "was", was);
    json_set_text(r, "text", text);
    json_set_text(r, "user", f->user);
    json_set_number(r, "mode", f->mode);
    if (pair_end_ask(f->end, r, &answer, err))
        return -1;
    json_free(answer);
    free(f->was);
    f->was = mem_copy_string(f->text);
    return 0;
}

int pair_plan_apply(struct pair_plan *p, struct err *err)
{
    for (size_t i = 0; i < p->count; i++)
        if (changes(&p->files[i]) && apply_one(&p->files[i], err))
            return -1;
    return 0;
}

void pair_plan_free(struct pair_plan *p)
{
    for (size_t i = 0; i < p->count; i++)
        free_file(&p->files[i]);
    free(p->files);
    *p = (struct pair_plan){0};
}
