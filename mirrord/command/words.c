/* Splitting a command line into words; see words.h. No expansion of any kind. */
#include "command/words.h"

#include <string.h>

#include "base/mem.h"

static size_t count_words(char *const *words)
{
    size_t n = 0;
    while (words[n])
        n++;
    return n;
}

/* One word from *at into out, which has room; *at is left behind it. 0, or -1: an open quote. */
static int take_word(const char **at, char *out)
{
    const char *p = *at;
    char quote = '\0';
    for (; *p && (quote || !strchr(" \t\n", *p)); p++) {
        if (*p == quote)
            quote = '\0';
        else if (!quote && (*p == '"' || *p == '\''))
            quote = *p;
        else if (*p == '\\' && quote != '\'' && p[1])
            *out++ = *++p;
        else
            *out++ = *p;
    }
    *out = '\0';
    *at = p;
    return quote ? -1 : 0;
}

char **words_split(const char *text)
{
    char **words = mem_array(1, sizeof *words);
    char *word CLEANUP_FREE = mem_alloc(strlen(text) + 1);
    for (text += strspn(text, " \t\n"); *text; text += strspn(text, " \t\n")) {
        if (take_word(&text, word)) {
            words_free(words);
            return NULL;
        }
        words = words_append(words, (const char *const[]){word, NULL});
    }
    return words;
}

char **words_append(char **words, const char *const *more)
{
    size_t n = count_words(words);
    for (; *more; more++) {
        words = mem_resize(words, n + 2, sizeof *words);
        words[n++] = mem_copy_string(*more);
        words[n] = NULL;
    }
    return words;
}

void words_free(char **words)
{
    for (char **w = words; w && *w; w++)
        free(*w);
    free(words);
}
