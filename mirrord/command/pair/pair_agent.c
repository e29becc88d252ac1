/* Pairing's hands on one host; see pair_agent.h for what may be asked. */
#include "command/pair/pair_agent.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "command/config/config.h"
#include "command/handover/claim.h"
#include "command/pair/pair_file.h"
#include "command/pair/pair_keys.h"
#include "link/conn.h"
#include "link/keys/base64.h"
#include "link/target.h"

/* A request in `ask`; what is found out goes into `answer`. 0, or -1 with err. */
typedef int do_request(const struct json *ask, struct json *answer, struct err *err);

static const char *text_of(const struct json *ask, const char *key)
{
    return json_get_text(ask, key, "");
}

/* The bytes of a base64 value, with a NUL behind; the caller frees them. */
static char *bytes_of_text(const struct json *ask, const char *key, size_t *len)
{
    const char *text = text_of(ask, key);
    size_t room = strlen(text) / 4 * 3 + 3;
    char *out = mem_alloc(room + 1);
    *len = base64_decode(text, strlen(text), (unsigned char *)out, room);
    return out;
}

static int do_hello(const struct json *ask, struct json *answer, struct err *err)
{
    char name[HOST_NAME_MAX + 1] = "";
    (void)ask;
    (void)err;
    gethostname(name, sizeof name - 1);
    json_set_text(answer, "host", name);
    json_set_bool(answer, "root", geteuid() == 0);
    json_set_text(answer, "version", MIRRORD_VERSION);
    return 0;
}

static int do_read(const struct json *ask, struct json *answer, struct err *err)
{
    struct pair_file_content c;
    if (pair_file_read(text_of(ask, "path"), PAIR_FILE_MAX, &c, err))
        return -1;
    char *text CLEANUP_FREE = base64_encode(c.text, c.len, true);
    free(c.text);
    json_set_bool(answer, "there", c.there);
    json_set_text(answer, "text", text);
    json_set_number(answer, "mode", c.mode);
    return 0;
}

static int do_publish(const struct json *ask, struct json *answer, struct err *err)
{
    struct pair_file_change f = {.path = text_of(ask, "path"),
        .user = text_of(ask, "user"),
        .mode = (unsigned)json_get_number(ask, "mode", 0600) & 0777};
    (void)answer;
    char *was CLEANUP_FREE = bytes_of_text(ask, "was", &f.was_len);
    char *text CLEANUP_FREE = bytes_of_text(ask, "text", &f.len);
    f.was = was;
    f.text = text;
    return pair_file_replace(&f, PAIR_FILE_MAX, err);
}

static int do_key(const struct json *ask, struct json *answer, struct err *err)
{
    char *public CLEANUP_FREE = NULL;
    const char *path = text_of(ask, "path");
    int rc = pair_keys_public(path, &public, err);
    if (rc > 0 && json_get_bool(ask, "make", false)) {
        rc = pair_keys_make(path, text_of(ask, "comment"), err);
        if (rc == 0)
            rc = pair_keys_public(path, &public, err);
        json_set_bool(answer, "made", rc == 0);
    }
    if (rc < 0)
        return -1;
    json_set_bool(answer, "there", rc == 0);
    json_set_text(answer, "public", public ? public : "");
    return 0;
}

/* The public half is away while the private one changes: ssh would believe it, libssh2 not. */
static int do_move(const struct json *ask, struct json *answer, struct err *err)
{
    const char *from = text_of(ask, "from"), *to = text_of(ask, "to");
    char *from_pub CLEANUP_FREE = mem_format("%s.pub", from);
    char *to_pub CLEANUP_FREE = mem_format("%s.pub", to);
    (void)answer;
    unlink(to_pub);
    if (rename(from, to) < 0)
        return err_sys(err, errno, "rename %s to %s", from, to);
    if (rename(from_pub, to_pub) < 0 && errno != ENOENT)
        return err_sys(err, errno, "rename %s to %s", from_pub, to_pub);
    return 0;
}

static int do_remove(const struct json *ask, struct json *answer, struct err *err)
{
    const char *path = text_of(ask, "path");
    char *public CLEANUP_FREE = mem_format("%s.pub", path);
    (void)answer;
    if ((unlink(path) < 0 && errno != ENOENT) || (unlink(public) < 0 && errno != ENOENT))
        return err_sys(err, errno, "remove %s", path);
    return 0;
}

static int do_host_keys(const struct json *ask, struct json *answer, struct err *err)
{
    enum { KEY_MAX = 64 * 1024 };
    struct json *keys = json_array();
    glob_t found;
    (void)ask;
    (void)err;
    int rc = glob("/etc/ssh/ssh_host_*_key.pub", 0, NULL, &found);
    for (size_t i = 0; rc == 0 && i < found.gl_pathc; i++) {
        char *text CLEANUP_FREE = NULL;
        size_t len;
        struct err ignored;
        if (io_slurp(AT_FDCWD, found.gl_pathv[i], KEY_MAX, &text, &len, &ignored))
            continue;
        size_t n = strcspn(text, " ");
        n += text[n] ? 1 + strcspn(text + n + 1, " \n") : 0;
        text[n] = '\0';
        json_append_text(keys, text);
    }
    globfree(&found);
    json_set_json(answer, "keys", keys);
    return 0;
}

static int do_known_name(const struct json *ask, struct json *answer, struct err *err)
{
    enum { ASK_SSH_MS = 10000 };
    const struct conn_options o = {
        .host = text_of(ask, "address"), .port = (unsigned)json_get_number(ask, "port", 0)};
    struct patience p = patience_for(ASK_SSH_MS, NULL);
    struct target t;
    if (target_resolve(&o, &p, &t, err))
        return -1;
    char *name CLEANUP_FREE = target_known_name(&t);
    json_set_text(answer, "name", name);
    target_free(&t);
    return 0;
}

static int do_keys_of(const struct json *ask, struct json *answer, struct err *err)
{
    char *path CLEANUP_FREE = pair_file_keys_of(text_of(ask, "user"), err);
    if (!path)
        return -1;
    json_set_text(answer, "path", path);
    return 0;
}

static int do_missing(const struct json *ask, struct json *answer, struct err *err)
{
    (void)err;
    bool missing = access(text_of(ask, "path"), F_OK) < 0 && errno == ENOENT;
    json_set_bool(answer, "missing", missing);
    return 0;
}

static int do_make_directory(const struct json *ask, struct json *answer, struct err *err)
{
    enum { DIRECTORY_MODE = 0755 };
    (void)answer;
    return io_make_path(text_of(ask, "path"), DIRECTORY_MODE, err);
}

static void set_identity(struct config *c, const char *host, const char *identity)
{
    for (size_t i = 0; i < c->host_count; i++)
        if (*identity && strcmp(c->hosts[i].name, host) == 0) {
            free(c->hosts[i].identity);
            c->hosts[i].identity = mem_copy_string(identity);
        }
}

static int do_try(const struct json *ask, struct json *answer, struct err *err)
{
    struct config *c = NULL;
    struct claim *session = NULL;
    const char *to = text_of(ask, "to");
    (void)answer;
    if (config_load(text_of(ask, "config"), text_of(ask, "as"), &c, err))
        return -1;
    set_identity(c, to, text_of(ask, "identity"));
    const struct config_host *h = config_host(c, to);
    int rc = h ? claim_open(c, h, c->state_dir, &session, err)
               : err_set(err, ERR_USAGE, "%s has no host %s", c->path, to);
    claim_close(session);
    config_free(c);
    return rc;
}

static const struct {
    const char *name;
    do_request *run;
} requests[] = {
    {"hello", do_hello},
    {"read", do_read},
    {"publish", do_publish},
    {"key", do_key},
    {"move", do_move},
    {"remove", do_remove},
    {"host-keys", do_host_keys},
    {"known-name", do_known_name},
    {"keys-of", do_keys_of},
    {"missing", do_missing},
    {"make-directory", do_make_directory},
    {"try", do_try},
};

struct json *pair_agent_do(const struct json *request)
{
    struct json *answer = json_object();
    struct err err = {0};
    const char *name = text_of(request, "do");
    int rc = 1;
    for (size_t i = 0; i < sizeof requests / sizeof *requests && rc == 1; i++)
        if (strcmp(requests[i].name, name) == 0)
            rc = requests[i].run(request, answer, &err) ? -1 : 0;
    if (rc == 1)
        err_set(&err, ERR_USAGE, "'%s' is nothing that pairing asks for", name);
    if (rc) {
        json_set_text(answer, "error", err.text);
        json_set_number(answer, "code", err.code);
    }
    return answer;
}

int pair_agent_serve(void)
{
    char *line CLEANUP_FREE = NULL;
    size_t room = 0;
    ssize_t len;
    log_set_level(LOG_LEVEL_ERROR); /* what is to be said goes into the answers */
    puts(PAIR_AGENT_GREETING);
    fflush(stdout);
    while ((len = getline(&line, &room, stdin)) > 0) {
        struct json *request = json_parse(line, (size_t)len);
        struct json *answer = pair_agent_do(request);
        char *text CLEANUP_FREE = json_print(answer, false);
        json_free(request);
        json_free(answer);
        if (puts(text) < 0 || fflush(stdout) != 0)
            break;
    }
    return 0;
}
