/* Shared by the pair*.c files that make up `mirrord pair`. */
#ifndef COMMAND_PAIR_PAIR_IMPL_H
#define COMMAND_PAIR_PAIR_IMPL_H

#include "command/pair/pair_meet.h"
#include "command/pair/pair_plan.h"

struct pair_member {
    const struct config_host *host;
    struct pair_end *end;  /* NULL: it was not reached, and is left out */
    struct pair_key shown; /* key NULL: not known */
    bool rehost;           /* may show another host key than before */
};

struct pairing {
    struct config *config;
    struct pair_login login;
    const char *authorized_keys; /* NULL: the user's */
    char **accepted;             /* fingerprints; NULL-terminated */
    bool yes, replace_config, rotate;
    bool replaced; /* a configuration that a host had */
    char *scratch;
    struct pair_member *members; /* the first is this host */
    size_t count;
    struct err worst; /* the first thing that went wrong and left somebody out */
};

/* Prints it, and remembers the first for the exit code. */
void pair_failed(struct pairing *p, const struct err *err);

/* Asks at the terminal. 1 yes, 0 no; -1: there is none, with ERR_USAGE and what to type instead. */
int pair_ask(const char *question, const char *instead, struct err *err);

/* The files and the words of one direction: who goes from host `from` to host `to`. Paths are on
 * `from`; the caller frees what is returned. */
const char *pair_identity(const struct pairing *p, const struct pair_member *to);
const char *pair_known_hosts(const struct pairing *p, const struct pair_member *to);

/* pair_trust.c: which host keys the members show, and whether they are trusted: known already, the
 * machine's own, accepted on the command line, or by the person. A member without is left out. -1:
 * nothing can go on. */
int pair_trust(struct pairing *p, struct err *err);

/* pair_mesh.c: what is missing so that each member can reach each other one. `suffix` is put behind
 * the names of keys; older lines of the same host stay where keep_older. Keys are made. */
int pair_mesh_keys(struct pairing *p, const char *suffix, bool keep_older, struct pair_plan *plan,
    struct err *err);
int pair_mesh_known(struct pairing *p, struct pair_plan *plan, struct err *err);
int pair_mesh_config(struct pairing *p, struct pair_plan *plan, struct err *err);

/* Takes the lines of these keys ("TYPE BASE64", NULL-terminated) out of all members' files. */
int pair_mesh_forget(struct pairing *p, char *const *keys, struct pair_plan *plan, struct err *err);

/* Tries a session from each member to each other one with the keys of this suffix, and, where
 * `report`, prints a line for each member. How many did not work; each is printed. */
unsigned pair_mesh_try(struct pairing *p, const char *suffix, bool report);

/* pair_places.c: the directories above sites that are missing on members that are to get them. They
 * are said; pair_places_make makes them. */
struct pair_place {
    struct pair_end *end;
    char *path;
};
struct pair_places {
    struct pair_place *places;
    size_t count;
};
void pair_places_find(const struct pairing *p, struct pair_places *out);
int pair_places_make(const struct pair_places *l, struct err *err);
void pair_places_free(struct pair_places *l);

/* pair_rotate.c: new keys for all members, or nothing. */
int pair_rotate(struct pairing *p, struct err *err);

#endif
