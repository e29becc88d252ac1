/* Which known word somebody probably meant, for errors about a mistyped option, key or command. */
#ifndef COMMAND_NEAREST_H
#define COMMAND_NEAREST_H

/* The candidate (of a NULL-terminated list) that differs from the word by the fewest insertions,
 * deletions, changes and swaps of neighbours: at most 2 of them, 3 for words over 8 bytes, 1 for
 * words under 4. NULL when none is that near. */
const char *nearest_word(const char *word, const char *const *candidates);

#endif
