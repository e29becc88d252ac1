/* options: every kind of option is stored, every mistake is one sentence, and words are split. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "command/nearest.h"
#include "command/options.h"
#include "command/words.h"

struct values {
    bool flag;
    int verbosity;
    const char *text;
    unsigned number;
    char calls[64];
};

static int note_call(void *to, const char *argument, struct err *err)
{
    struct values *v = to;
    if (argument && strcmp(argument, "bad") == 0)
        return err_set(err, ERR_USAGE, "'bad' is no pattern");
    strcat(v->calls, argument ? argument : "-");
    return 0;
}

/* The index of the first operand, or what options_parse said. argv is a line split at blanks. */
static int parse(const char *line, struct values *v, struct err *err, char **operand)
{
    const struct option_spec specs[] = {
        {'f', "flag", OPTION_FLAG, &v->flag, NULL, "a flag"},
        {'t', "text", OPTION_TEXT, &v->text, "TEXT", "a text"},
        {'n', "number", OPTION_NUMBER, &v->number, "N", "a number"},
        {'e', "exclude", OPTION_CALL, v, "PATTERN", "a call", note_call},
        {'z', "zero", OPTION_CALL, v, NULL, "a call without an argument", note_call},
        {'a', "archive", OPTION_IGNORE, NULL, NULL, "already so"},
        OPTION_VERBOSE(&v->verbosity),
        OPTION_QUIET(&v->verbosity),
        {0},
    };
    const struct options o = {"[OPTIONS] [A [B]]", "A test.", specs, 2};
    char **argv = words_split(line);
    int argc = 0;
    *v = (struct values){0};
    *err = (struct err){0};
    while (argv[argc])
        argc++;
    int first = options_parse(&o, argc, argv, err);
    *operand = first > 0 ? mem_copy_string(argv[first]) : NULL;
    v->text = mem_copy_string(v->text); /* outlives argv */
    words_free(argv);
    return first;
}

static void test_all_kinds(void **state)
{
    (void)state;
    struct values v;
    struct err err;
    char *operand;
    int first =
        parse("cmd -f -tx --number=7 -vvq one --exclude p -e q -az two", &v, &err, &operand);
    assert_true(first > 0);
    assert_true(v.flag);
    assert_string_equal(v.text, "x");
    assert_int_equal(v.number, 7);
    assert_int_equal(v.verbosity, 1);
    assert_string_equal(v.calls, "pq-");
    assert_string_equal(operand, "one");
    free(operand);
    free((char *)v.text);
    assert_int_equal(parse("cmd -- -f", &v, &err, &operand), 2);
    assert_string_equal(operand, "-f");
    assert_false(v.flag);
    free(operand);
}

static void test_mistakes(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"cmd --flga", "unknown option '--flga': did you mean '--flag'? See mirrord cmd --help"},
        {"cmd --nubmer=3",
            "unknown option '--nubmer': did you mean '--number'? See mirrord cmd --help"},
        {"cmd --whatever", "unknown option '--whatever'; type: mirrord cmd --help"},
        {"cmd -x", "unknown option '-x'; type: mirrord cmd --help"},
        {"cmd -fx", "unknown option '-x'; type: mirrord cmd --help"},
        {"cmd --text", "option --text needs TEXT; type: mirrord cmd --help"},
        {"cmd -n", "option --number needs N; type: mirrord cmd --help"},
        {"cmd --flag=1", "option --flag takes no argument; type: mirrord cmd --help"},
        {"cmd --help=1", "option --help takes no argument; type: mirrord cmd --help"},
        {"cmd -n 3x", "--number: '3x' is not a whole number; type: mirrord cmd --help"},
        {"cmd -n -3", "--number: '-3' is not a whole number; type: mirrord cmd --help"},
        {"cmd -n 4294967296",
            "--number: '4294967296' is not a whole number; type: mirrord cmd --help"},
        {"cmd -e bad", "--exclude: 'bad' is no pattern; type: mirrord cmd --help"},
        {"cmd a b c", "'c' is one operand too many; type: mirrord cmd --help"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct values v;
        struct err err;
        char *operand;
        assert_int_equal(parse(cases[i][0], &v, &err, &operand), -1);
        assert_int_equal(err.code, ERR_USAGE);
        assert_string_equal(err.text, cases[i][1]);
        free((char *)v.text);
    }
}

static void test_help_is_success(void **state)
{
    (void)state;
    struct values v;
    struct err err;
    char *operand;
    assert_int_equal(parse("cmd --help", &v, &err, &operand), 0);
    assert_int_equal(options_report("cmd", &err), 0);
}

static void test_level(void **state)
{
    (void)state;
    options_set_level(LOG_LEVEL_INFO, 0);
    assert_int_equal(log_get_level(), LOG_LEVEL_INFO);
    options_set_level(LOG_LEVEL_WARNING, 9);
    assert_int_equal(log_get_level(), LOG_LEVEL_DEBUG);
    options_set_level(LOG_LEVEL_WARNING, -9);
    assert_int_equal(log_get_level(), LOG_LEVEL_ERROR);
}

static void test_report_gives_the_code(void **state)
{
    (void)state;
    struct err err;
    err_set(&err, ERR_REFUSED, "held");
    assert_int_equal(options_report("cmd", &err), 5);
}

static void test_nearest(void **state)
{
    (void)state;
    static const char *const known[] = {"port", "address", "known-hosts", "no", NULL};
    assert_string_equal(nearest_word("prot", known), "port");
    assert_string_equal(nearest_word("adress", known), "address");
    assert_string_equal(nearest_word("know-host", known), "known-hosts");
    assert_null(nearest_word("xyzzy", known));
    assert_null(nearest_word("ab", known));
    assert_string_equal(nearest_word("port", known), "port");
    char longer[200];
    memset(longer, 'p', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    assert_null(nearest_word(longer, known));
    assert_null(nearest_word("", (const char *const[]){NULL}));
}

static void assert_words(const char *text, const char *const *expected)
{
    char **words = words_split(text);
    assert_non_null(words);
    size_t i = 0;
    for (; words[i] && expected[i]; i++)
        assert_string_equal(words[i], expected[i]);
    assert_true(words[i] == NULL && expected[i] == NULL);
    words_free(words);
}

static void test_words(void **state)
{
    (void)state;
    assert_words("", (const char *const[]){NULL});
    assert_words("  \t ", (const char *const[]){NULL});
    assert_words("a", (const char *const[]){"a", NULL});
    assert_words(
        " sudo  -u www mirrord ", (const char *const[]){"sudo", "-u", "www", "mirrord", NULL});
    assert_words("'a b'\"c d\" e", (const char *const[]){"a bc d", "e", NULL});
    assert_words("a\\ b \"x\\\"y\" 'p\\q' \"it's\" ''",
        (const char *const[]){"a b", "x\"y", "p\\q", "it's", "", NULL});
    assert_null(words_split("a 'b"));
    assert_null(words_split("\"a"));
    char **words = words_append(words_split("a"), (const char *const[]){"b", "c", NULL});
    assert_string_equal(words[2], "c");
    assert_null(words[3]);
    words_free(words);
    words_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_kinds),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_help_is_success),
        cmocka_unit_test(test_level),
        cmocka_unit_test(test_report_gives_the_code),
        cmocka_unit_test(test_nearest),
        cmocka_unit_test(test_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
