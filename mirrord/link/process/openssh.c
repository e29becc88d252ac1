/*
 * A link through OpenSSH's client: a child process whose arguments say everything that must not
 * depend on the user's configuration. Starting it does not yet mean that it can connect;
 * that shows in the stream, and conn_explain tells.
 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "link/conn_impl.h"
#include "link/keys/keyfile.h"
#include "link/process/quote.h"

#define MAX_ARGS 64

struct args {
    char *list[MAX_ARGS];
    size_t count;
};

static void add(struct args *a, char *word)
{
    if (a->count < MAX_ARGS - 1)
        a->list[a->count++] = word;
    else
        free(word);
}

static void add_option(struct args *a, char *option)
{
    add(a, mem_copy_string("-o"));
    add(a, option);
}

static void add_fixed(struct args *a)
{
    static const char *const fixed[] = {"BatchMode=yes", "StrictHostKeyChecking=yes",
        "UpdateHostKeys=no", "ClearAllForwardings=yes", "ForwardAgent=no", "PermitLocalCommand=no",
        "ControlMaster=no", "ControlPath=none", "RequestTTY=no", "RemoteCommand=none",
        "LogLevel=ERROR", "Compression=no", "ServerAliveInterval=20", "ServerAliveCountMax=3"};
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        add_option(a, mem_copy_string(fixed[i]));
    add(a, mem_copy_string("-T"));
    add(a, mem_copy_string("-e"));
    add(a, mem_copy_string("none"));
}

/* A path within an option of ssh: quoted for its own parser. */
static char *path_option(const char *name, const char *path)
{
    return mem_format("%s=\"%s\"", name, path);
}

static void add_given(struct args *a, const struct conn_options *o)
{
    if (o->known_hosts) {
        add_option(a, path_option("UserKnownHostsFile", o->known_hosts));
        add_option(a, mem_copy_string("GlobalKnownHostsFile=/dev/null"));
    }
    if (o->identity) {
        add(a, mem_copy_string("-i"));
        add(a, mem_copy_string(o->identity));
        add_option(a, mem_copy_string("IdentitiesOnly=yes"));
    }
    if (o->port) {
        add(a, mem_copy_string("-p"));
        add(a, mem_format("%u", o->port));
    }
    if (o->user) {
        add(a, mem_copy_string("-l"));
        add(a, mem_copy_string(o->user));
    }
}

/* ssh would only warn of these and then say that permission is denied. */
static int check_identity(const char *path, struct err *err)
{
    struct keyfile key;
    int rc = keyfile_load(path, &key, err);
    if (rc > 0)
        return err_set(err, ERR_FAILED, "there is no key file %s", path);
    if (rc == 0)
        keyfile_free(&key);
    return rc;
}

int openssh_open(
    const struct conn_options *o, unsigned timeout_ms, struct conn **out, struct err *err)
{
    if (o->identity && check_identity(o->identity, err))
        return -1;
    struct args a = {0};
    add(&a, mem_copy_string("ssh"));
    add_fixed(&a);
    add_option(&a, mem_format("ConnectTimeout=%u", (timeout_ms + 999) / 1000));
    add_given(&a, o);
    add(&a, mem_copy_string("--"));
    add(&a, mem_copy_string(o->host));
    add(&a, quote_command(o->argv));
    int rc = child_start(a.list, "openssh", out, err);
    for (size_t i = 0; i < a.count; i++)
        free(a.list[i]);
    return rc;
}
