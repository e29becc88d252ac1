/*
 * Learning a host's key; see pair_meet.h. ssh itself does it, with an empty file for its known
 * hosts and no way to log in: so it comes by the route, under the name and in the type that ssh
 * uses. What comes is not trusted here.
 */
#include "command/pair/pair_meet.h"

#include <fcntl.h>
#include <string.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "command/pair/pair_keys.h"
#include "command/words.h"
#include "link/process/proc.h"

enum { MEET_MS = 40000, OUTPUT_MAX = 64 * 1024 };

void pair_key_free(struct pair_key *k)
{
    free(k->name);
    free(k->key);
    free(k->fingerprint);
    free(k->plain);
    *k = (struct pair_key){0};
}

/* Why there is no key, in ssh's own words. */
static int unmet(const struct proc_result *r, struct err *err)
{
    char *said CLEANUP_FREE = tail_last_line(r->said.text);
    return err_set(err, ERR_TEMPORARY, "it does not show its host key: %s",
        *said ? QUOTED(said, strlen(said)) : "ssh says nothing");
}

static int run_ssh(const struct config_host *host, const struct pair_login *login, const char *file,
    struct proc_result *result, struct err *err)
{
    char *learned CLEANUP_FREE = mem_format("UserKnownHostsFile=\"%s\"", file);
    const char *const options[] = {learned, "StrictHostKeyChecking=accept-new", "HashKnownHosts=no",
        "BatchMode=yes", "PreferredAuthentications=none", "ConnectTimeout=15", NULL};
    struct patience p = patience_for(MEET_MS, NULL);
    p.doing = "asking for its host key";
    char **argv = pair_end_ssh(host, login, options, err);
    if (!argv)
        return -1;
    argv = words_append(argv, (const char *const[]){"true", NULL});
    int rc = proc_capture(argv, OUTPUT_MAX, &p, result, err);
    if (rc > 0)
        rc = pair_end_no_ssh(argv[0], err);
    words_free(argv);
    return rc;
}

/* The line that ssh wrote: name, type, key. */
static int take_line(struct pair_key *k, const char *line, struct err *err)
{
    size_t len = strcspn(line, "\n"), name = strcspn(line, " ");
    if (name == 0 || name >= len)
        return err_set(err, ERR_FAILED, "ssh wrote no host key");
    k->plain = mem_copy_bytes(line, len);
    k->name = mem_copy_bytes(line, name);
    k->key = mem_copy_string(k->plain + name + 1);
    return pair_keys_fingerprint(k->key, &k->fingerprint, err);
}

int pair_meet(const struct config_host *host, const struct pair_login *login, const char *scratch,
    struct pair_key *out, struct err *err)
{
    char *file CLEANUP_FREE = mem_format("%s/met", scratch), *text CLEANUP_FREE = NULL;
    struct proc_result result = {0};
    struct pair_key k = {0};
    size_t len;
    unlink(file);
    int rc = run_ssh(host, login, file, &result, err);
    free(result.output);
    if (rc == 0)
        rc = io_slurp(AT_FDCWD, file, OUTPUT_MAX, &text, &len, err);
    if (rc > 0)
        rc = unmet(&result, err);
    if (rc == 0)
        rc = take_line(&k, text, err);
    unlink(file);
    if (rc) {
        pair_key_free(&k);
        return err_prefix(err, "%s", host->name);
    }
    *out = k;
    return 0;
}
