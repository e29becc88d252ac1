/*
 * POSIX ACLs between the kernel's binary form, which holds numbers, and the text that travels in an
 * entry: "u::rw-,u:alice:r--,g::r--,m::r--,o::---". Users come before groups, each sorted by name,
 * so that two hosts with other numbers write the same text. A number that has no name here is
 * written "#1234", which no host resolves.
 */
#ifndef TREE_ACL_H
#define TREE_ACL_H

#include "base/err.h"
#include "protocol/entry.h"
#include "tree/names.h"

/* Writes the text of a binary ACL into out[ENTRY_ACL_MAX], *len bytes. An access ACL that says no
 * more than the mode bits gives 0 bytes. */
int acl_to_text(const void *raw, size_t n, bool of_default, struct names *names,
    uint8_t out[ENTRY_ACL_MAX], size_t *len, struct err *err);

/* The binary form of a text, malloc'ed. ERR_PARTIAL for a name that this host does not know. */
int acl_from_text(struct bytes text, struct names *names, void **out, size_t *len, struct err *err);

#endif
