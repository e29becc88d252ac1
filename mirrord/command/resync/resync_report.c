/* A resync's result in words and in JSON; see resync_report.h. */
#include "command/resync/resync_report.h"

#include <string.h>

#include "base/mem.h"

static const char *size_text(uint64_t bytes, char out[32])
{
    static const char *const units[] = {"bytes", "KB", "MB", "GB", "TB"};
    double value = (double)bytes;
    size_t unit = 0;
    for (; value >= 1000 && unit < 4; unit++)
        value /= 1000;
    snprintf(out, 32, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return out;
}

#define SIZE(bytes) size_text((bytes), (char[32]){0})

char *resync_report_line(const char *name, bool dry_run, const struct resync_result *r)
{
    const struct push_counts *p = &r->push;
    char *skipped CLEANUP_FREE = r->walk.skipped
                                     ? mem_format(", %llu skipped (device, socket or FIFO)",
                                           (unsigned long long)r->walk.skipped)
                                     : mem_copy_string("");
    return mem_format("%s%s%s%llu created, %llu updated, %llu deleted, %llu moved of %llu files "
                      "(%s)%s; sent %s, received %s in %.2f s",
        name, name[0] ? ": " : "", dry_run ? "would be: " : "", (unsigned long long)p->created,
        (unsigned long long)p->updated, (unsigned long long)p->deleted,
        (unsigned long long)p->moved, (unsigned long long)r->walk.files, SIZE(r->walk.bytes),
        skipped, SIZE(r->bytes_sent), SIZE(r->bytes_received), r->seconds);
}

static struct json *files_json(const struct resync_result *r)
{
    struct json *files = json_object();
    json_set_number(files, "examined", (double)(r->walk.entries - r->walk.directories));
    json_set_number(files, "created", (double)r->push.created);
    json_set_number(files, "updated", (double)r->push.updated);
    json_set_number(files, "deleted", (double)r->push.deleted);
    json_set_number(files, "moved", (double)r->push.moved);
    json_set_number(files, "skipped", (double)r->walk.skipped);
    return files;
}

static struct json *bytes_json(const struct resync_result *r)
{
    struct json *bytes = json_object();
    json_set_number(bytes, "tree", (double)r->walk.bytes);
    json_set_number(bytes, "sent", (double)r->bytes_sent);
    json_set_number(bytes, "received", (double)r->bytes_received);
    json_set_number(bytes, "literal", (double)r->push.literal);
    json_set_number(bytes, "matched", (double)r->push.matched);
    return bytes;
}

static struct json *errors_json(const struct resync_result *r)
{
    struct json *errors = json_array();
    for (size_t i = 0; i < r->error_count; i++) {
        struct json *e = json_object();
        json_set_name(e, "path", r->errors[i].path, strlen(r->errors[i].path));
        json_set_text(e, "error", r->errors[i].text);
        json_append_json(errors, e);
    }
    return errors;
}

struct json *resync_report_json(
    const char *name, const struct resync_result *r, const struct err *failed)
{
    struct json *out = json_object();
    if (name[0])
        json_set_text(out, "name", name);
    json_set_json(out, "files", files_json(r));
    json_set_json(out, "bytes", bytes_json(r));
    json_set_number(out, "seconds", r->seconds);
    json_set_text(out, "link", r->kind ? r->kind : "");
    json_set_json(out, "errors", errors_json(r));
    json_set_number(out, "code", failed ? failed->code : 0);
    if (failed && failed->code)
        json_set_text(out, "error", failed->text);
    return out;
}
