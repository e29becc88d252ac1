/* Words for a shell. */
#ifndef LINK_QUOTE_H
#define LINK_QUOTE_H

/* The NULL-terminated words as one command line of a POSIX shell that yields exactly these words.
 * The caller frees it. */
char *quote_command(char *const *argv);

#endif
