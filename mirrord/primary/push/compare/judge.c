/*
 * Is what a comparison of a whole site found to be sent at all, or would it do harm? It may be the
 * first contact with somebody else's tree, or delete too much. Knows counts and examples; the words
 * for the operator, and the option that overrules, are here.
 */
#include "primary/push/compare/judge.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"

static bool adopts(const struct push_site *ps)
{
    return ps->site->options.adopt || ps->adopt;
}

static int judge_first_contact(
    const struct push_site *ps, const struct findings *f, struct err *err)
{
    if (!f->foreign || adopts(ps) || ps->force)
        return 0;
    if (f->namesake)
        return err_set(err, ERR_REFUSED,
            "the far root was not made by mirrord and already holds an entry named %s: did you "
            "mean "
            "that one? (SRC and SRC/ both mean the content of SRC.) Nothing was changed; "
            "--adopt goes on all the same",
            QUOTED(f->namesake, strlen(f->namesake)));
    if (f->doomed)
        return err_set(err, ERR_REFUSED,
            "the far root was not made by mirrord and %llu of its %llu entries would be deleted, "
            "for "
            "example %s. Nothing was changed; look with -n --itemize, then allow it with --adopt",
            (unsigned long long)f->doomed, (unsigned long long)f->remote_entries,
            QUOTED(f->doomed_example, strlen(f->doomed_example)));
    if (f->newer > f->older)
        return err_set(err, ERR_REFUSED,
            "the far root was not made by mirrord and %llu of the %llu differing files are newer "
            "there, for example %s. Is this the right direction? Nothing was changed; --adopt "
            "goes on all the same",
            (unsigned long long)f->newer, (unsigned long long)(f->newer + f->older),
            QUOTED(f->newer_example, strlen(f->newer_example)));
    return 0;
}

static int judge_deletions(const struct push_site *ps, const struct findings *f, struct err *err)
{
    const struct site_options *o = &ps->site->options;
    struct deletions_limit limit = site_limit(ps->site);
    if (o->force || ps->force || (f->foreign && adopts(ps)) || limit.percent >= 100 || !f->doomed)
        return 0;
    if (f->local_entries == 0)
        return err_set(err, ERR_REFUSED,
            "the root is empty, and all %llu entries there would be deleted. Nothing was changed; "
            "if that is right, use --force",
            (unsigned long long)f->remote_entries);
    if (!deletions_too_many(&limit, f->doomed + ps->deleted, ps->deleted_from))
        return 0;
    if (ps->deleted)
        return err_set(err, ERR_REFUSED,
            "%llu entries would be deleted, after %llu within the last minutes, of %llu: more than "
            "max-delete allows (%u %% and %u), for example %s. Nothing was changed; if that is "
            "right, use --force",
            (unsigned long long)f->doomed, (unsigned long long)ps->deleted,
            (unsigned long long)ps->deleted_from, o->max_delete_percent, o->max_delete_count,
            QUOTED(f->doomed_example, strlen(f->doomed_example)));
    return err_set(err, ERR_REFUSED,
        "%llu of %llu entries would be deleted, more than max-delete allows (%u %% and %u), for "
        "example %s. Nothing was changed; if that is right, use --force",
        (unsigned long long)f->doomed, (unsigned long long)f->remote_entries, o->max_delete_percent,
        o->max_delete_count, QUOTED(f->doomed_example, strlen(f->doomed_example)));
}

int judge_findings(const struct push_site *ps, const struct findings *f, struct err *err)
{
    return judge_first_contact(ps, f, err) < 0 ? -1 : judge_deletions(ps, f, err);
}

void judge_free(struct findings *f)
{
    free(f->namesake);
    free(f->doomed_example);
    free(f->newer_example);
}
