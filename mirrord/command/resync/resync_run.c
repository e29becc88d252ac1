/* What one job of a run is made of, and what becomes of its result; see resync_run.h. The work is
 * resync_job.c's, the words are resync_report.c's. */
#include "command/resync/resync_run.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "command/config/config.h"
#include "command/resync/resync_report.h"
#include "tree/state/state.h"

int resync_run_begin(struct resync_run *r, const char *state_dir, struct err *err)
{
    r->state_dir = state_dir ? mem_copy_string(state_dir) : state_default_dir();
    if ((r->asked->verify || r->beside) && (r->scratch = state_scratch(r->state_dir, err)) == NULL)
        return -1;
    if (gethostname(r->host, sizeof r->host - 1) < 0 || !r->host[0])
        strcpy(r->host, "primary");
    return state_host_id(r->state_dir, &r->host_id, err);
}

void resync_run_end(struct resync_run *r)
{
    if (r->scratch)
        state_discard(r->scratch);
    json_free(r->results);
    resync_summary_free(r->summary);
    free(r->scratch);
    free(r->state_dir);
}

void resync_run_note(struct resync_run *r, const struct err *err)
{
    if (err->code && r->worst.code && !r->asked->json)
        log_error("%s", err->text);
    if (err->code && (!r->worst.code || r->worst.code == ERR_PARTIAL))
        r->worst = *err;
}

static void report(
    struct resync_run *r, const char *name, const struct resync_result *out, const struct err *err)
{
    const struct resync_options *o = r->asked;
    if (o->json) {
        struct json *j = resync_report_json(name, out, err);
        if (r->results) {
            json_append_json(r->results, j);
            return;
        }
        char *text CLEANUP_FREE = json_print(j, true);
        puts(text);
        json_free(j);
    } else if (o->verify && o->verbosity >= 0 && (!err->code || err->code == ERR_BEHIND)) {
        printf("%s%s%llu files compared by content, %llu path%s differ%s\n", name,
            name[0] ? ": " : "", (unsigned long long)out->walk.files,
            (unsigned long long)out->items, out->items == 1 ? "" : "s", out->items == 1 ? "s" : "");
    } else if (o->verbosity >= 0 && (!err->code || err->code == ERR_PARTIAL)) {
        char *line CLEANUP_FREE = resync_report_line(name, o->dry_run, out);
        puts(line);
    }
}

struct site_options resync_run_site(const struct resync_run *r, const struct filter *f)
{
    const struct resync_options *o = r->asked;
    return (struct site_options){.name = "",
        .state_dir = r->scratch ? r->scratch : r->state_dir,
        .filter = f,
        .owner = true,
        .checksum = o->checksum,
        .adopt = o->adopt,
        .force = o->force,
        .accept_root = o->force,
        .dry_run = o->dry_run,
        .no_delete = o->no_delete,
        .max_delete_percent = o->max_delete_percent,
        .max_delete_count = o->max_delete_count,
        .unit_grace = CONFIG_UNIT_GRACE};
}

/* What a dry run would change is what differs. */
static void judge_drift(const struct resync_result *out, struct err *err)
{
    if (out->items)
        err_set(err, ERR_BEHIND, "%llu path%s", (unsigned long long)out->items,
            out->items == 1 ? " differs" : "s differ");
}

/* The job's own errors begin with the host that is in `name`, too. */
static void put_name(struct err *err, const char *name, const char *host)
{
    size_t len = strlen(host);
    if (strncmp(err->text, host, len) == 0 && err->text[len] == ':')
        err_set(err, err->code, "%s%s", name, err->text + len);
    else
        err_prefix(err, "%s", name);
}

void resync_run_job(struct resync_run *r, const char *name, const struct site_options *site,
    const struct resync_target *target, const struct epoch *epoch)
{
    const struct resync_options *o = r->asked;
    bool terminal = isatty(STDERR_FILENO) && o->verbosity >= 0 && !o->json;
    struct resync_result out = {0};
    struct err err = {0};
    const struct resync_job job = {.site = *site,
        .target = target,
        .host_id = r->host_id,
        .host = r->host,
        .epoch = r->scratch && epoch ? *epoch : (struct epoch){0},
        .progress = terminal || o->progress ? stderr : NULL,
        .itemize = o->itemize ? (o->json ? stderr : stdout) : NULL,
        .name_skipped = o->verbosity > 0,
        .stop = r->stop};
    if (resync_job_run(&job, &out, &err) == 0)
        err_clear(&err);
    if (o->verify && !err.code)
        judge_drift(&out, &err);
    bool equal = r->summary && resync_summary_note(r->summary, site->name, &out, &err);
    if (!equal || o->json || o->verbosity > 0)
        report(r, name, &out, &err);
    if (err.code && name[0])
        put_name(&err, name, target->name);
    resync_run_note(r, &err);
    resync_result_free(&out);
}
