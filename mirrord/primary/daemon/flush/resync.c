/* `resync`: sites are looked through and compared, what differs is sent; nobody waits for it. */
#include <string.h>

#include "primary/daemon/flush/flush_impl.h"

/* What is gone is not sent, whoever wants it so. */
static int check_there(struct daemon *d, const char *name, struct err *err)
{
    const struct roster_site *s = roster_find(d, name);
    return s && s->presence ? err_set(err, ERR_REFUSED, "%s: %s", name, s->error) : 0;
}

static int check_hosts(struct daemon *d, const struct json *hosts, struct err *err)
{
    for (size_t i = 0; i < json_count(hosts); i++) {
        const char *name = json_text_at(hosts, i);
        struct roster_peer *p;
        TAILQ_FOREACH (p, &d->peers, order)
            if (name && strcmp(p->name, name) == 0)
                break;
        if (!p)
            return err_set(err, ERR_USAGE, "%s is not a secondary of this host",
                name ? name : "something else");
    }
    return 0;
}

static struct json *copy_texts(const struct json *array)
{
    struct json *copy = json_array();
    for (size_t i = 0; i < json_count(array); i++)
        if (json_text_at(array, i))
            json_append_text(copy, json_text_at(array, i));
    return copy;
}

static void force_sites(struct daemon *d, const struct flush_wait *w)
{
    for (size_t i = 0; i < w->site_count; i++) {
        struct roster_site *s = roster_find(d, w->sites[i].name);
        if (s)
            roster_force(d, s, w->ask.hosts);
    }
}

static void adopt_sites(struct daemon *d, const struct flush_wait *w)
{
    for (size_t i = 0; i < w->site_count; i++) {
        struct roster_site *s = roster_find(d, w->sites[i].name);
        if (s)
            roster_adopt(s, w->ask.hosts);
    }
}

void resync_request(struct daemon *d, struct control_client *client, const struct json *request)
{
    struct err err;
    struct flush_wait *w = NULL;
    if (check_there(d, json_get_text(request, "site", ""), &err) == 0 &&
        check_hosts(d, json_get(request, "hosts"), &err) == 0)
        w = flush_wait_new(d, request, true, &err);
    if (!w) {
        control_fail(client, &err);
        return;
    }
    w->ask.hosts = copy_texts(json_get(request, "hosts"));
    if (json_get_bool(request, "force", false))
        force_sites(d, w);
    else if (json_get_bool(request, "adopt", false))
        adopt_sites(d, w);
    struct json *reply = json_object();
    json_set_bool(reply, "started", true);
    control_reply(client, reply);
    json_free(reply);
}
