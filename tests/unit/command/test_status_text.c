/* status_text: what counts as level, and that each state is said with what to type about it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "command/status/status_text.h"

static const char sample[] =
    "{\"host\":\"web1\",\"version\":\"0.1.0\",\"ready\":true,"
    "\"secondaries\":["
    "{\"name\":\"web2\",\"state\":\"up\",\"link\":\"openssh\",\"unconfined\":true,"
    "\"sandbox_lacks\":[\"landlock\",\"mounts\"],\"sites_level\":1,\"sites\":2},"
    "{\"name\":\"a-longer-name\",\"state\":\"down\",\"error\":\"connect: refused\","
    "\"error_time\":1700000000,\"retry_ms\":12000,\"sites_level\":0,\"sites\":1}],"
    "\"sites\":["
    "{\"name\":\"fine\",\"state\":\"ok\",\"entries\":7,\"secondaries\":["
    "{\"name\":\"web2\",\"state\":\"level\"}]},"
    "{\"name\":\"shop\",\"state\":\"ok\",\"entries\":9,\"watches\":100,\"unwatched\":3,"
    "\"busy\":[\"a\",\"b\",\"c\",\"d\",\"e\",\"f\"],\"secondaries\":["
    "{\"name\":\"web2\",\"state\":\"held\",\"error\":\"40 % would be deleted\"},"
    "{\"name\":\"web3\",\"state\":\"pushing\",\"owed_paths\":17,\"owed_bytes\":1234567,"
    "\"behind_ms\":35000,\"failing\":1,\"error\":\"No space left on device\","
    "\"error_path\":\"x.jpg\"}]},"
    "{\"name\":\"gone\",\"state\":\"failed\",\"error\":\"no root\",\"secondaries\":[]}]}";

static bool colour;

static char *print(const char *text, bool all)
{
    struct json *j = json_parse(text, strlen(text));
    char *out = NULL;
    size_t size;
    FILE *f = open_memstream(&out, &size);
    assert_non_null(j);
    status_text_print(f, j, all, colour);
    fclose(f);
    json_free(j);
    return out;
}

static void test_all_states(void **state)
{
    (void)state;
    static const char *const parts[] = {
        "web1: mirrord 0.1.0, ready, 3 sites to push, not level\n",
        "  web2           up          1 of 2 sites level  openssh\n",
        "      its receiver is fenced in less than it could be: it lacks Landlock (the kernel "
        "there is "
        "older than 5.19, or has it switched off), and a mount namespace (no root or no "
        "CAP_SYS_ADMIN there, mounts that are private, as in containers, or a site's root right in "
        "/)\n      the mirror works all the same; type there: "
        "mirrord check\n",
        "  a-longer-name  down        0 of 1 sites level  next try in 12 s\n",
        "connect: refused\n      type: mirrord check\n",
        "  shop on web2: held\n",
        "mirrord resync -n --itemize shop web2",
        "mirrord resync --force shop web2",
        "  shop on web3: pushing: 17 paths, 1.2 MB owed, 35 s behind, 1 that cannot be stored\n",
        "x.jpg: No space left on device\n",
        "3 directories are not watched",
        "sysctl fs.inotify.max_user_watches=",
        "  shop: still being written: e\n  shop: and 1 more\n",
        "  gone here: failed, 0 entries\n",
        "      tried again by itself, every minute at the latest\n      type: mirrord check",
        "work is under way and goes on by itself; type: mirrord status --wait 600\n",
    };
    char *out = print(sample, false);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (!strstr(out, parts[i]))
            fail_msg("\"%s\" is not in\n%s", parts[i], out);
    assert_null(strstr(out, "fine"));
    free(out);
    out = print(sample, true);
    assert_non_null(strstr(out, "  fine on web2: level\n"));
    free(out);
}

static void test_trash(void **state)
{
    (void)state;
    static const char text[] = "{\"host\":\"web1\",\"secondaries\":[],\"sites\":["
                               "{\"name\":\"shop\",\"state\":\"ok\",\"secondaries\":["
                               "{\"name\":\"web2\",\"state\":\"level\",\"trash\":"
                               "{\"foreign\":2,\"foreign_bytes\":1234567,\"kept\":4}},"
                               "{\"name\":\"web3\",\"state\":\"level\",\"trash\":"
                               "{\"foreign\":0,\"foreign_bytes\":0,\"kept\":9}}]}]}";
    static const char found[] =
        "  shop on web2: in the trash: 2 things that mirrord did not put there, 1.2 MB; 4 deleted "
        "or overwritten\n      type: mirrord trash list shop   (on web2)\n";
    char *out = print(text, false);
    assert_non_null(strstr(out, found));
    assert_null(strstr(out, "web3"));
    free(out);
    out = print(text, true);
    assert_non_null(strstr(out, found));
    assert_non_null(strstr(out, "  shop on web3: in the trash: 9 deleted or overwritten\n"));
    free(out);
}

static void test_health_of_a_secondary(void **state)
{
    (void)state;
    static const char text[] =
        "{\"host\":\"web2\",\"secondaries\":[],\"sites\":["
        "{\"name\":\"bad\",\"state\":\"secondary\",\"primary\":\"web1\",\"secondaries\":[],"
        "\"health\":{\"healthy\":false,\"state\":\"behind\",\"why\":\"it lacks 3 paths\"}},"
        "{\"name\":\"alone\",\"state\":\"secondary\",\"primary\":\"web1\",\"secondaries\":[],"
        "\"health\":{\"healthy\":true,\"state\":\"orphaned\",\"why\":\"no primary\"}},"
        "{\"name\":\"good\",\"state\":\"secondary\",\"primary\":\"web1\",\"secondaries\":[],"
        "\"health\":{\"healthy\":true,\"state\":\"level\",\"why\":\"\"}}]}";
    char *out = print(text, false);
    assert_non_null(
        strstr(out, "  bad: web1 is the primary\n  bad here: DOWN, behind: it lacks 3 paths\n"));
    assert_null(strstr(out, "alone"));
    assert_non_null(strstr(out, "web2: mirrord ?, not ready yet, secondary of 3 sites\n"));
    assert_non_null(
        strstr(out, "  no primary is connected for 1 site; what is here is served\n"
                    "      type: mirrord status          (on web1)\n"
                    "            mirrord promote --all   (here, if web1 is gone for good)\n"));
    free(out);
    out = print(text, true);
    assert_non_null(strstr(out, "  alone here: up, orphaned: no primary\n"));
    assert_null(strstr(out, "good here"));
    free(out);
}

static void test_level(void **state)
{
    (void)state;
    static const struct {
        const char *site;
        bool level;
    } cases[] = {
        {"\"state\":\"ok\",\"secondaries\":[{\"state\":\"level\"}]", true},
        {"\"state\":\"ok\",\"secondaries\":[]", true},
        {"\"state\":\"secondary\",\"secondaries\":[]", true},
        {"\"state\":\"secondary\",\"health\":{\"healthy\":true},\"secondaries\":[]", true},
        {"\"state\":\"secondary\",\"health\":{\"healthy\":false},\"secondaries\":[]", true},
        {"\"state\":\"ok\",\"busy\":[\"log\"],\"secondaries\":[{\"state\":\"level\"}]", true},
        {"\"state\":\"scanning\",\"secondaries\":[{\"state\":\"level\"}]", false},
        {"\"state\":\"ok\",\"unreadable\":1,\"secondaries\":[{\"state\":\"level\"}]", false},
        {"\"state\":\"ok\",\"secondaries\":[{\"state\":\"level\"},{\"state\":\"waiting\"}]", false},
        {"\"state\":\"ok\",\"secondaries\":[{\"state\":\"level\",\"failing\":2}]", false},
        {"\"state\":\"ok\",\"secondaries\":[{}]", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = mem_format("{\"sites\":[{%s}]}", cases[i].site);
        struct json *j = json_parse(text, strlen(text));
        assert_non_null(j);
        assert_int_equal(status_text_level(j), cases[i].level);
        json_free(j);
        free(text);
    }
}

static void test_room_and_first_copy(void **state)
{
    (void)state;
    char *out =
        print("{\"sites\":[{\"name\":\"s\",\"state\":\"ok\",\"bytes\":4e9,\"secondaries\":["
              "{\"name\":\"web2\",\"state\":\"pushing\",\"owed_paths\":3,\"first_copy\":true,"
              "\"copied_bytes\":1e9,\"space\":{\"free_bytes\":1e6,\"bytes\":1e9,\"keep_bytes\":5e7,"
              "\"free_inodes\":7,\"inodes\":9,\"low\":true,\"waiting\":1}},"
              "{\"name\":\"web3\",\"state\":\"fenced\"}]}]}",
            false);
    assert_non_null(strstr(out,
        "  s on web2: pushing (first copy: 1.0 GB of 4.0 GB so far): 3 paths, 0 bytes owed\n"
        "      its disk is nearly full: 1.0 MB of 1.0 GB and 7 of 9 inodes are free, 50.0 MB are "
        "to "
        "stay so (min-free)\n"
        "      what is large waits (1 path), small changes and deletions go on\n"
        "      type: df -h; df -i   (on web2; it goes on by itself when there is room)\n"));
    assert_non_null(strstr(out, "mirrord promote s   (to take it back)\n"));
    free(out);
}

static void test_colour(void **state)
{
    (void)state;
    char *out = print(sample, true);
    assert_null(strchr(out, '\033'));
    free(out);
    colour = true;
    out = print(sample, true);
    colour = false;
    assert_non_null(strstr(out, "\033[33mnot level\033[0m\n"));
    assert_non_null(strstr(out, "\033[32mup        \033[0m  1 of 2"));
    assert_non_null(strstr(out, "\033[31mdown      \033[0m"));
    assert_non_null(strstr(out, "on web2: \033[32mlevel\033[0m\n"));
    free(out);
}

/* A daemon of another version may leave out anything. */
static void test_nothing_there(void **state)
{
    (void)state;
    char *out = print("{}", true);
    assert_string_equal(out, "?: mirrord ?, not ready yet, 0 sites to push, all level\n");
    free(out);
    out = print("{\"sites\":[{}],\"secondaries\":[{}, 1]}", true);
    assert_non_null(strstr(out, "? here: ?"));
    free(out);
}

static void test_bytes(void **state)
{
    (void)state;
    char out[32];
    assert_string_equal(status_text_bytes(out, 0), "0 bytes");
    assert_string_equal(status_text_bytes(out, 1), "1 byte");
    assert_string_equal(status_text_bytes(out, 999), "999 bytes");
    assert_string_equal(status_text_bytes(out, 1000), "1.0 KB");
    assert_string_equal(status_text_bytes(out, 999960), "1.0 MB");
    assert_string_equal(status_text_bytes(out, 1234567), "1.2 MB");
    assert_string_equal(status_text_bytes(out, 20e9), "20.0 GB");
}

/* Names and errors come from elsewhere; a terminal must not obey them. */
static void test_control_bytes(void **state)
{
    (void)state;
    char out[8];
    assert_string_equal(PLAIN("a\033[2J\nb\177"), "a?[2J?b?");
    assert_string_equal(status_text_plain(out, sizeof out, "123456789"), "1234567");
    char *text = print("{\"sites\":[{\"name\":\"s\",\"busy\":[\"x\\u001b]0;\\u0007\"]}]}", false);
    assert_non_null(strstr(text, "still being written: x?]0;?\n"));
    free(text);
}

static void test_drift(void **state)
{
    (void)state;
    static const char drift[] =
        "{\"sites\":[{\"name\":\"shop\",\"state\":\"ok\",\"secondaries\":[{\"name\":\"web2\","
        "\"state\":\"level\",\"drift\":7,\"drift_paths\":[{\"path\":\"a\\u0007\",\"what\":"
        "\"added\"},"
        "{\"path\":\"b\",\"what\":\"changed\"}]}]}]}";
    struct json *j = json_parse(drift, strlen(drift));
    assert_non_null(j);
    assert_false(status_text_level(j));
    json_free(j);
    char *out = print(drift, false);
    assert_non_null(strstr(out, "  shop on web2: level\n"
                                "      added there, not by mirrord: a?\n"
                                "      changed there, not by mirrord: b\n"
                                "      and 5 more\n"));
    assert_non_null(strstr(out, "type: mirrord verify shop web2"));
    assert_non_null(strstr(out, "mirrord resync --force shop web2"));
    free(out);
}

static void test_units(void **state)
{
    (void)state;
    char *out = print("{\"sites\":[{\"name\":\"s\",\"units\":[{\"unit\":\"a/b\","
                      "\"waits\":\"the bracket x stands\"}],"
                      "\"secondaries\":[{\"name\":\"web2\",\"piecemeal_units\":[{\"unit\":"
                      "\"a/b\",\"why\":\"files cannot be linked there\"}]}]}]}",
        false);
    assert_non_null(strstr(out, "s: the unit a/b waits: the bracket x stands\n"));
    assert_non_null(strstr(out, "s: the unit a/b is renamed file by file on web2: files cannot be "
                                "linked there\n"));
    free(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_states),
        cmocka_unit_test(test_trash),
        cmocka_unit_test(test_level),
        cmocka_unit_test(test_health_of_a_secondary),
        cmocka_unit_test(test_room_and_first_copy),
        cmocka_unit_test(test_colour),
        cmocka_unit_test(test_nothing_there),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_control_bytes),
        cmocka_unit_test(test_drift),
        cmocka_unit_test(test_units),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
