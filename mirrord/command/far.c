/* How a configured host is reached; see far.h. */
#include "command/far.h"

#include "command/words.h"

/* What is started there: it reads the same file, as the host it is. */
static char **far_argv(const struct config *c, const struct config_host *h, struct err *err)
{
    char **argv = words_split(h->remote_command);
    if (!argv) {
        err_set(err, ERR_USAGE, "%s:%u: host %s: remote-command: a quote is not closed", h->file,
            h->line, h->name);
        return NULL;
    }
    const char *const rest[] = {"receive", "-c", c->path, "--as", h->name, NULL};
    return words_append(argv, rest);
}

char **far_peer_options(const struct config *c, const struct config_host *h,
    const struct digest *host_id, struct peer_options *out, struct err *err)
{
    static const int compressions[] = {
        [COMPRESS_AUTO] = -1, [COMPRESS_NONE] = 0, [COMPRESS_ZSTD] = 1};
    char **argv = far_argv(c, h, err);
    if (!argv)
        return NULL;
    *out = (struct peer_options){.name = h->name,
        .link = {.transport = h->transport,
            .host = h->address,
            .user = h->user,
            .port = h->port,
            .identity = h->identity ? h->identity : c->identity,
            .known_hosts = h->known_hosts ? h->known_hosts : c->known_hosts,
            .argv = argv},
        .compress = compressions[h->compress],
        .bwlimit = h->bwlimit,
        .keepalive_ms = h->keepalive * 1000,
        .host_id = *host_id,
        .host = c->self};
    return argv;
}
