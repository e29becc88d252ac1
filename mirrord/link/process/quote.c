/*
 * Quoting for the far end's shell: sshd hands the command as one string to the user's login shell.
 * Knows single quotes only, which every POSIX shell (and csh, and fish but for a backslash) reads
 * alike.
 */
#include "link/process/quote.h"

#include <stdbool.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"

static bool is_plain(const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "-_./:@%+,";
    return *word && strspn(word, plain) == strlen(word);
}

static void add_word(struct buf *b, const char *word)
{
    if (is_plain(word)) {
        buf_append(b, word, strlen(word));
        return;
    }
    buf_append(b, "'", 1);
    for (; *word; word++)
        if (*word == '\'')
            buf_append(b, "'\\''", 4);
        else
            buf_append(b, word, 1);
    buf_append(b, "'", 1);
}

char *quote_command(char *const *argv)
{
    struct buf b = {0};
    for (size_t i = 0; argv[i]; i++) {
        if (i)
            buf_append(&b, " ", 1);
        add_word(&b, argv[i]);
    }
    char *line = mem_copy_bytes(buf_bytes(&b), buf_len(&b));
    buf_free(&b);
    return line;
}
