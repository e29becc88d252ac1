/*
 * `mirrord pair`: makes this host and others able to reach each other with keys of their own, that
 * can do nothing but receive. The order of it is here: trust their host keys (pair_trust.c), log in
 * as the person does (pair_end.c), find out what is missing (pair_mesh.c), say it, do it, try it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "command/command.h"
#include "command/options.h"
#include "command/pair/pair_agent.h"
#include "command/pair/pair_impl.h"
#include "command/words.h"

struct request {
    const char *config, *as;
    bool agent;
    char **rehost;
    struct pairing p;
};

void pair_failed(struct pairing *p, const struct err *err)
{
    log_error("pair: %s", err->text);
    if (!p->worst.code)
        p->worst = *err;
}

int pair_ask(const char *question, const char *instead, struct err *err)
{
    char answer[16] = "";
    if (!isatty(STDIN_FILENO))
        return err_set(err, ERR_USAGE, "there is no terminal to ask at: %s", instead);
    do {
        printf("%s [yes/no] ", question);
        fflush(stdout);
        if (!fgets(answer, sizeof answer, stdin))
            return 0;
        answer[strcspn(answer, "\n")] = '\0';
    } while (strcmp(answer, "yes") != 0 && strcmp(answer, "no") != 0);
    return answer[0] == 'y';
}

/* ---- who takes part ---- */

static int add_member(struct pairing *p, const char *name, struct err *err)
{
    const struct config_host *h = config_host(p->config, name);
    if (!h)
        return err_set(err, ERR_USAGE, "there is no host %s in %s", name, p->config->path);
    for (size_t i = 0; i < p->count; i++)
        if (p->members[i].host == h)
            return 0;
    p->members[p->count++] = (struct pair_member){.host = h};
    return 0;
}

/* This host, then those that are named; without names all there are. */
static int add_members(struct pairing *p, char **names, int count, char **rehost, struct err *err)
{
    p->members = mem_array(p->config->host_count, sizeof *p->members);
    if (add_member(p, p->config->self, err))
        return -1;
    for (int i = 0; i < count; i++)
        if (add_member(p, names[i], err))
            return -1;
    for (size_t i = 0; count == 0 && i < p->config->host_count; i++)
        add_member(p, p->config->hosts[i].name, err);
    for (char **name = rehost; name && *name; name++) {
        if (add_member(p, *name, err))
            return err_prefix(err, "--rehost");
        for (size_t i = 0; i < p->count; i++)
            p->members[i].rehost |= strcmp(p->members[i].host->name, *name) == 0;
    }
    return p->count > 1 ? 0
                        : err_set(err, ERR_USAGE, "there is no other host in %s", p->config->path);
}

static int check_config(const struct pairing *p, struct err *err)
{
    for (size_t i = 0; i < p->count; i++) {
        const struct pair_member *m = &p->members[i];
        if (!pair_identity(p, m) || !pair_known_hosts(p, m))
            return err_set(err, ERR_USAGE,
                "%s does not say where keys are: add  identity = \"/etc/mirrord/id_ed25519\"  and  "
                "known-hosts = \"/etc/mirrord/known_hosts\"",
                p->config->path);
    }
    return 0;
}

/* Those that are not paired now cannot be reached by these when they are promoted. */
static void name_others(const struct pairing *p)
{
    for (size_t i = 0; i < p->config->host_count; i++) {
        bool there = false;
        for (size_t k = 0; k < p->count; k++)
            there |= p->members[k].host == &p->config->hosts[i];
        if (!there)
            printf("note: %s is not among these: once it is there, say `mirrord pair` for all\n",
                p->config->hosts[i].name);
    }
}

/* ---- the logins ---- */

static int trust_file(const struct pairing *p, char **path, struct err *err)
{
    *path = mem_format("%s/known", p->scratch);
    FILE *f = fopen(*path, "we");
    if (!f)
        return err_sys(err, errno, "create %s", *path);
    for (size_t i = 0; i < p->count; i++)
        if (p->members[i].shown.plain)
            fprintf(f, "%s\n", p->members[i].shown.plain);
    return fclose(f) == 0 ? 0 : err_sys(err, errno, "write %s", *path);
}

static void look_at_name(const struct pair_member *m)
{
    const char *called = pair_end_says(m->end, "host");
    size_t n = strlen(m->host->name);
    if (strncmp(called, m->host->name, n) != 0 || (called[n] && called[n] != '.'))
        printf("note: %s calls itself %s: `mirrord run` there needs --as %s\n", m->host->name,
            QUOTED(called, strlen(called)), m->host->name);
}

static int log_in(struct pairing *p, struct err *err)
{
    char *known CLEANUP_FREE = NULL;
    size_t open = 0;
    int rc = trust_file(p, &known, err);
    for (size_t i = 1; i < p->count && rc == 0; i++) {
        struct pair_member *m = &p->members[i];
        struct err why = {0};
        if (!m->shown.key)
            continue;
        if (pair_end_open(m->host, &p->login, known, &m->end, &why) == 0) {
            look_at_name(m);
            open++;
        } else {
            pair_failed(p, &why);
        }
    }
    if (rc == 0 && open == 0)
        rc = err_set(err, p->worst.code, "no other host is left: nothing was changed");
    return rc;
}

/* ---- what is done ---- */

/* Their own configuration is replaced only by a word for that. */
static int may_replace(struct pairing *p, const struct pair_plan *config, struct err *err)
{
    for (size_t i = 0; i < config->count; i++) {
        const struct pair_planned *f = &config->files[i];
        p->replaced |= f->there && strcmp(f->was, f->text) != 0;
    }
    if (!p->replaced || p->replace_config)
        return 0;
    int yes = pair_ask("Replace what differs by the configuration of this host?",
        "make the configurations equal, or say --replace-config", err);
    if (yes == 0)
        err_set(err, ERR_REFUSED, "no: nothing was changed. All hosts need the same configuration");
    return yes > 0 ? 0 : -1;
}

static int may_apply(const struct pairing *p, struct err *err)
{
    int yes = p->yes ? 1 : pair_ask("Do this?", "look at the above, then say --yes", err);
    if (yes == 0)
        err_set(err, ERR_REFUSED, "no: nothing was changed");
    return yes > 0 ? 0 : -1;
}

static int apply(struct pairing *p, struct pair_plan *config, struct pair_plan *keys,
    struct pair_places *places, struct err *err)
{
    if (pair_mesh_config(p, config, err))
        return -1;
    pair_plan_print(config);
    if (may_replace(p, config, err) || pair_mesh_known(p, keys, err) ||
        pair_mesh_keys(p, "", false, keys, err))
        return -1;
    pair_plan_print(keys);
    pair_places_find(p, places);
    if (pair_plan_is_empty(config) && pair_plan_is_empty(keys) && places->count == 0) {
        puts("all is in its place already");
        return 0;
    }
    return may_apply(p, err) || pair_places_make(places, err) || pair_plan_apply(config, err) ||
                   pair_plan_apply(keys, err)
               ? -1
               : 0;
}

static int pair_all(struct pairing *p, struct err *err)
{
    struct pair_plan config = {0}, keys = {0};
    struct pair_places places = {0};
    fflush(stdout);
    int rc = apply(p, &config, &keys, &places, err);
    pair_places_free(&places);
    pair_plan_free(&config);
    pair_plan_free(&keys);
    if (rc)
        return -1;
    unsigned failures = pair_mesh_try(p, "", true);
    if (failures)
        return err_set(err, ERR_FAILED, "%u of the ways between the hosts do%s not work", failures,
            failures == 1 ? "es" : "");
    name_others(p);
    if (p->replaced)
        puts("note: where mirrord runs already, `mirrord reload` makes it read what was replaced");
    if (p->worst.code) {
        *err = p->worst;
        return err_prefix(err, "not all hosts were paired");
    }
    puts("next: mirrord check");
    return 0;
}

/* ---- the command ---- */

static int with_scratch(struct pairing *p, struct err *err)
{
    char dir[] = "/tmp/mirrord-pair-XXXXXX";
    if (!mkdtemp(dir))
        return err_sys(err, errno, "create %s", dir);
    p->scratch = dir;
    p->members[0].end = pair_end_here(p->members[0].host);
    int rc = pair_trust(p, err);
    if (rc == 0)
        rc = log_in(p, err);
    if (rc == 0)
        rc = p->rotate ? pair_rotate(p, err) : pair_all(p, err);
    char *known CLEANUP_FREE = mem_format("%s/known", dir);
    unlink(known);
    rmdir(dir);
    return rc;
}

static int pair(struct request *r, char **names, int count, struct err *err)
{
    struct pairing *p = &r->p;
    if (config_load(r->config, r->as, &p->config, err))
        return -1;
    if (!p->config->self)
        return config_no_self(p->config, err);
    if (add_members(p, names, count, r->rehost, err) || check_config(p, err))
        return -1;
    return with_scratch(p, err);
}

static void clear(struct request *r)
{
    for (size_t i = 0; i < r->p.count; i++) {
        pair_end_close(r->p.members[i].end);
        pair_key_free(&r->p.members[i].shown);
    }
    free(r->p.members);
    config_free(r->p.config);
    words_free(r->p.accepted);
    words_free(r->rehost);
}

static int take_word(void *to, const char *argument, struct err *err)
{
    char ***words = to;
    (void)err;
    *words = words_append(*words, (const char *const[]){argument, NULL});
    return 0;
}

int command_pair(int argc, char **argv)
{
    struct request r = {.config = CONFIG_DEFAULT_PATH,
        .rehost = words_split(""),
        .p = {.login = {.ssh_command = "ssh"}, .accepted = words_split("")}};
    const struct option_spec specs[] = {
        OPTION_CONFIG(&r.config),
        OPTION_AS(&r.as),
        {0, "accept-fingerprint", OPTION_CALL, &r.p.accepted, "SHA256:…",
            "trust a host that shows this host key; may be said again", take_word},
        {'y', "yes", OPTION_FLAG, &r.p.yes, NULL, "do it without asking (host keys apart)"},
        {0, "replace-config", OPTION_FLAG, &r.p.replace_config, NULL,
            "replace another configuration that a host has"},
        {0, "rehost", OPTION_CALL, &r.rehost, "HOST",
            "this host was installed anew: its host key has changed", take_word},
        {0, "rotate", OPTION_FLAG, &r.p.rotate, NULL, "new keys for all hosts, or none"},
        {0, "login", OPTION_TEXT, &r.p.login.user, "USER",
            "log in as this user (default: as ssh does)"},
        {0, "sudo", OPTION_FLAG, &r.p.login.sudo, NULL, "become root there with sudo"},
        {0, "ssh-command", OPTION_TEXT, &r.p.login.ssh_command, "CMD",
            "how you log in (default: ssh); may hold options"},
        {0, "authorized-keys", OPTION_TEXT, &r.p.authorized_keys, "FILE",
            "where sshd looks on the hosts (default: ~/.ssh/authorized_keys)"},
        {0, "agent", OPTION_FLAG, &r.agent, NULL,
            "the far end of this command; it starts that itself"},
        {0},
    };
    const struct options o = {"[-c FILE] [--as HOST] [OPTIONS] [HOST…]",
        "Lets this host and these (or all) reach each other: keys, host keys, the configuration.",
        specs, -1};
    struct err err = {0};
    int first = options_parse(&o, argc, argv, &err);
    if (first > 0 && r.agent) {
        clear(&r);
        return pair_agent_serve();
    }
    if (first > 0)
        pair(&r, argv + first, argc - first, &err);
    fflush(stdout);
    clear(&r);
    return options_report(argv[0], &err);
}
