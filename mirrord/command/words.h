/* A command line as it stands in a configuration or option, split into words. */
#ifndef COMMAND_WORDS_H
#define COMMAND_WORDS_H

/* Split at blanks; "…" and '…' keep blanks, a backslash takes the next byte as it is (not within
 * '…'). NULL-terminated; NULL when a quote is not closed. */
char **words_split(const char *text);

/* Appends copies to a list made by words_split; returns the list, which may have moved. */
char **words_append(char **words, const char *const *more);

void words_free(char **words); /* NULL is fine */

#endif
