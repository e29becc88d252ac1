/* init: what is said of hosts and roots is understood or refused, and what is written is a valid
 * configuration that says the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "command/config/config.h"
#include "command/init/init_text.h"

static void expect_host(
    const struct init_wish *w, const char *name, const char *address, unsigned port)
{
    const struct init_host *h = init_find_host(w, name);
    assert_non_null(h);
    if (address)
        assert_string_equal(h->address, address);
    else
        assert_null(h->address);
    assert_int_equal(h->port, port);
}

static void test_hosts(void **state)
{
    (void)state;
    struct init_wish w = {0};
    struct err err = {0};
    if (init_add_hosts(&w, "web1,web2=web2.internal,web3=10.0.0.3:2222", &err) ||
        init_add_hosts(&w, "web4=[2001:db8::4]:22,web5=2001:db8::5,web6=[2001:db8::6]", &err))
        fail_msg("%s", err.text);
    assert_int_equal(w.host_count, 6);
    expect_host(&w, "web1", NULL, 0);
    expect_host(&w, "web2", "web2.internal", 0);
    expect_host(&w, "web3", "10.0.0.3", 2222);
    expect_host(&w, "web4", "2001:db8::4", 22);
    expect_host(&w, "web5", "2001:db8::5", 0);
    expect_host(&w, "web6", "2001:db8::6", 0);
    assert_null(init_find_host(&w, "web7"));
    init_wish_clear(&w);
}

static void test_bad_hosts(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "web1,", "web1,web1", "a b", "-web1", "web1=", "web1=-oX",
        "web1=a:b", "web1=a:0", "web1=a:70000", "web1=[a", "web1=[::1]x", "web1=a;b", "we\"b",
        "web1=$(x)", "web1=a\n", "web/1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct init_wish w = {0};
        struct err err = {0};
        if (init_add_hosts(&w, bad[i], &err) == 0)
            fail_msg("'%s' was taken", bad[i]);
        assert_int_equal(err.code, ERR_USAGE);
        init_wish_clear(&w);
    }
}

static void test_bad_roots(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "/", "srv/www", "/srv/../etc", "/srv/*/*", "/srv/ab?",
        "/srv/[ab]", "/srv/a\"b", "/srv/${HOME}", "/srv/a\\b", "/srv/a\nb"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct init_wish w = {0};
        struct err err = {0};
        if (init_add_root(&w, bad[i], &err) == 0)
            fail_msg("'%s' was taken", bad[i]);
        assert_int_equal(err.code, ERR_USAGE);
        init_wish_clear(&w);
    }
}

/* What the parser makes of the text. */
static struct config *parsed(const char *text)
{
    char path[] = "/tmp/mirrord-init-XXXXXX";
    struct config *c;
    struct err err = {0};
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
    int rc = config_load(path, "web1.example.com", &c, &err);
    unlink(path);
    if (rc)
        fail_msg("%s\n%s", err.text, text);
    return c;
}

static void test_the_parser_takes_it(void **state)
{
    (void)state;
    struct init_wish w = {.primary = "web1.example.com",
        .preset = "wordpress",
        .user = "mirror",
        .identity = "/etc/mirrord/id",
        .known_hosts = "/etc/mirrord/known",
        .state_dir = "/var/lib/x",
        .control = "/run/x"};
    struct err err = {0};
    if (init_add_hosts(&w, "web1.example.com,web-2=10.0.0.2:2222,web3=[fe80::1%eth0]", &err) ||
        init_add_root(&w, "/nowhere/*/htdocs/", &err) || init_add_root(&w, "/nowhere2/*", &err) ||
        init_add_root(&w, "/srv/www/example.com/htdocs", &err) ||
        init_add_root(&w, "/srv/my-blog", &err))
        fail_msg("%s", err.text);
    char *text CLEANUP_FREE = init_text(&w);
    struct config *c = parsed(text);
    assert_string_equal(c->self, "web1.example.com");
    assert_string_equal(c->identity, "/etc/mirrord/id");
    assert_string_equal(c->known_hosts, "/etc/mirrord/known");
    assert_string_equal(c->state_dir, "/var/lib/x");
    assert_string_equal(c->control, "/run/x");
    const struct config_host *h = config_host(c, "web-2");
    assert_string_equal(h->address, "10.0.0.2");
    assert_int_equal(h->port, 2222);
    assert_string_equal(h->user, "mirror");
    assert_string_equal(h->remote_command, "sudo -n mirrord");
    assert_string_equal(config_host(c, "web3")->address, "fe80::1%eth0");
    assert_string_equal(config_host(c, "web1.example.com")->address, "web1.example.com");
    assert_int_equal(c->glob_count, 2);
    assert_string_equal(c->globs[0].root, "/nowhere/*/htdocs");
    const struct config_site *s = config_site(c, "example.com");
    assert_non_null(s);
    assert_string_equal(s->root, "/srv/www/example.com/htdocs");
    assert_string_equal(s->primary, "web1.example.com");
    assert_string_equal(preset_name(s->preset), "wordpress");
    assert_true(config_site_has_host(s, "web3"));
    config_free(c);
    init_wish_clear(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hosts),
        cmocka_unit_test(test_bad_hosts),
        cmocka_unit_test(test_bad_roots),
        cmocka_unit_test(test_the_parser_takes_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
