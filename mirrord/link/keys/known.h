/*
 * known_hosts files: which keys a host may show. Markers, hashed names, patterns and the
 * [host]:port form as in sshd(8).
 */
#ifndef LINK_KNOWN_H
#define LINK_KNOWN_H

#include <stdbool.h>
#include <stddef.h>

#include "link/target.h"

/* Says whether the hashed name of a known_hosts line ("|1|salt|hash") is this plain name. */
typedef bool known_hash_matches(void *arg, const char *hashed, const char *name);

/* A line that speaks of the host. */
struct known_line {
    const char *file; /* the target's string */
    unsigned line;
    bool revoked;
    char *type; /* "ssh-ed25519" */
    char *key;  /* base64, padded */
};

struct known {
    struct known_line *lines;
    size_t count;
    bool authority; /* a @cert-authority line names the host, too: certificates are not read here */
};

/* Collects the lines of all files that name this host and port; missing files are no error, and
 * lines that cannot be understood are skipped, as ssh does. */
int known_load(const struct words *files, const char *name, unsigned port,
    known_hash_matches *matches, void *arg, struct known *out, struct err *err);

/* The same of one file's text, for the name exactly as ssh writes it ("web2", "[web2]:2222"). */
void known_load_text(const char *text, const char *file, const char *name,
    known_hash_matches *matches, void *arg, struct known *out);
void known_free(struct known *k);

enum known_verdict {
    KNOWN_MATCH,
    KNOWN_ABSENT,  /* no line names the host */
    KNOWN_CHANGED, /* a line has another key of this type */
    KNOWN_OTHER,   /* lines name the host, with keys of other types only */
    KNOWN_REVOKED,
};

/* Judges the key a host shows; *line is the line the verdict comes from, or NULL. */
enum known_verdict known_check(
    const struct known *k, const char *type, const char *key, const struct known_line **line);

#endif
