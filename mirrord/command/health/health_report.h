/*
 * What `mirrord health` found, and the words it is told in: for a load balancer over HTTP or as
 * HAProxy's agent, for people as lines. health.c looks, health_answer.c words it, health_request.c
 * reads and writes a connection.
 */
#ifndef COMMAND_HEALTH_HEALTH_REPORT_H
#define COMMAND_HEALTH_HEALTH_REPORT_H

#include <stdio.h>

#include "secondary/health/health.h"

struct health_item {
    char *name;
    struct health health; /* where it could not be looked at: up, and `error` says why not */
    char *error;          /* NULL: none */
};

struct health_report {
    const char *host; /* what this host calls itself; may be NULL */
    struct health_item *items;
    size_t count;
    char *error; /* there are no items, since it is not known which: the configuration's; NULL */
    char *none;  /* there are no items, since there are no sites: why, and what to do; else NULL */
};

/* --- health_answer.c --- */

/* All that are told of are up, and there are some; what cannot be known is no evidence. */
bool health_is_up(const struct health_report *r);

/* The item of this name, or NULL. */
const struct health_item *health_find(const struct health_report *r, const char *name);

/* JSON with a newline: of one item, or (NULL) of all; of many only those that are down. The caller
 * frees it. */
char *health_json(const struct health_report *r, const struct health_item *item);

/* A whole HTTP response; `body` false: its head alone (HEAD). status is 200, 400, 404, 405, 431 or
 * 503; the caller frees it. */
char *health_http(int status, const char *json, bool body);

/* A line for HAProxy's agent-check: "up", or "down #" and why; without the blank HAProxy takes it
 * all for one word, which it does not know. The caller frees it. */
char *health_agent(const struct health_report *r);

/* A line for each item, or for why there is none. */
void health_print(const struct health_report *r, FILE *out);

/* --- health_request.c --- */

enum { HEALTH_REQUEST_MAX = 8192, HEALTH_REQUEST_MS = 5000 };

struct health_request {
    int refused;    /* the HTTP status; 0: it is a good one */
    bool head;      /* only the head is wanted */
    char site[256]; /* "": all */
};

/* The head of a request, as it came. */
void health_request_parse(const char *head, struct health_request *out);

/* Answers one connection, read from `in`, written to `out`. 0, -1 with err. */
int health_serve_http(const struct health_report *r, int in, int out, struct err *err);
int health_serve_agent(const struct health_report *r, int in, int out, struct err *err);

#endif
