/* The state directory: who this host is, one directory and one lock a root. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tree/content/digest.h"
#include "tree/state/epoch.h"
#include "tree/state/epochs.h"
#include "tree/state/state.h"

static char dir[64];
static long filesystem; /* what everything seems to be on; 0: what it is on */

/* The program's own functions go before libc's. */
int statfs(const char *path, struct statfs *out)
{
    int r = (int)syscall(SYS_statfs, path, out);
    if (r == 0 && filesystem)
        out->f_type = filesystem;
    return r;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static int setup(void **state)
{
    (void)state;
    strcpy(dir, "/dev/shm/mirrord-test-XXXXXX");
    if (mkdtemp(dir))
        return 0;
    strcpy(dir, "/tmp/mirrord-test-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    return nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void test_host_id_stays(void **state)
{
    struct digest a, b, zero = {0};
    struct err err;
    (void)state;
    assert_int_equal(state_host_id(dir, &a, &err), 0);
    assert_int_equal(state_host_id(dir, &b, &err), 0);
    assert_true(digest_equal(&a, &b));
    assert_false(digest_equal(&a, &zero));
}

static void test_a_broken_host_id_is_named(void **state)
{
    struct digest id;
    struct err err;
    char path[128];
    (void)state;
    snprintf(path, sizeof path, "%s/host-id", dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs("not an id\n", f);
    fclose(f);
    assert_int_equal(state_host_id(dir, &id, &err), -1);
    assert_non_null(strstr(err.text, path));
}

static struct state *must_open(const char *root, const struct digest *owner)
{
    struct state *s = NULL;
    struct err err;
    assert_int_equal(state_open(dir, root, owner, 0, &s, &err), 0);
    return s;
}

static void test_a_directory_for_each_root(void **state)
{
    struct digest nobody = {0};
    (void)state;
    struct state *a = must_open("/srv/www", &nobody), *b = must_open("/srv/other/www", &nobody);
    assert_string_not_equal(state_path(a), state_path(b));
    struct stat st;
    assert_int_equal(stat(state_manifest_dir(a), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(stat(state_cookie_dir(a), &st), 0);
    char *path = strdup(state_path(a));
    state_close(a);
    a = must_open("/srv/www", &nobody);
    assert_string_equal(state_path(a), path);
    free(path);
    state_close(a);
    state_close(b);
}

/* A child that holds the lock of /srv/www until it is told to end. Returns its pid. */
static pid_t holder(const struct digest *owner)
{
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct state *s;
        struct err err;
        if (state_open(dir, "/srv/www", owner, 0, &s, &err) == 0 && write(ready[1], "x", 1) == 1)
            for (;;)
                pause();
        _exit(1);
    }
    char c;
    assert_int_equal(read(ready[0], &c, 1), 1);
    close(ready[0]);
    close(ready[1]);
    return pid;
}

static void end(pid_t pid)
{
    int status;
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
}

static void test_a_second_process_is_told_who_holds_it(void **state)
{
    struct digest one = {{1}}, other = {{2}};
    struct state *s = NULL;
    struct err err;
    char number[16];
    (void)state;
    pid_t pid = holder(&one);
    assert_int_equal(state_open(dir, "/srv/www", &other, 50, &s, &err), STATE_LOCKED);
    assert_null(s);
    assert_int_equal(err.code, ERR_TEMPORARY);
    snprintf(number, sizeof number, "%d", (int)pid);
    assert_non_null(strstr(err.text, number));
    end(pid);
    state_close(must_open("/srv/www", &other)); /* the lock went with its holder */
}

static void test_the_same_primary_takes_over(void **state)
{
    struct digest one = {{1}}, other = {{2}};
    struct state *s = NULL;
    struct err err;
    int status;
    (void)state;
    pid_t pid = holder(&one);                    /* has no handler: yields by dying */
    state_ask_to_yield(dir, "/srv/www", &other); /* is another's */
    assert_int_equal(state_open(dir, "/srv/www", &one, 50, &s, &err), STATE_LOCKED);
    state_ask_to_yield(dir, "/srv/www", &one);
    assert_int_equal(state_open(dir, "/srv/www", &one, 10000, &s, &err), 0);
    state_close(s);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
}

static void test_a_network_filesystem_is_refused(void **state)
{
    static const struct {
        long magic;
        const char *name;
    } kinds[] = {{0x6969, "NFS"}, {0xff534d42, "CIFS"}, {0x00c36400, "Ceph"}};
    struct digest nobody = {0};
    struct state *s = NULL;
    struct err err;
    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        filesystem = kinds[i].magic;
        assert_int_equal(state_open(dir, "/srv/www", &nobody, 0, &s, &err), -1);
        assert_non_null(strstr(err.text, kinds[i].name));
        assert_non_null(strstr(err.text, "--state-dir"));
    }
    filesystem = 0;
    assert_int_equal(state_open(dir, "/srv/www", &nobody, 0, &s, &err), 0);
    state_close(s);
}

static void make_file(const char *above, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", above, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fclose(f);
}

static void test_forgotten(void **state)
{
    struct digest nobody = {0};
    struct epoch e = {.counter = 3, .role = ROLE_PRIMARY, .primary = "web1"};
    struct err err;
    char *path = state_root_dir(dir, "/srv/www");
    (void)state;
    assert_int_equal(state_forget(dir, "/srv/www", &err), 0); /* nothing is known of it */
    pid_t pid = holder(&nobody);
    assert_int_equal(state_forget(dir, "/srv/www", &err), STATE_LOCKED);
    end(pid);
    struct state *s = must_open("/srv/www", &nobody);
    make_file(state_manifest_dir(s), "data.mdb");
    make_file(path, "root");
    state_close(s);
    assert_int_equal(state_forget(dir, "/srv/www", &err), 0);
    assert_int_equal(access(path, F_OK), -1);
    s = must_open("/srv/www", &nobody);
    make_file(path, "root");
    int epochs = epochs_open(dir, "/srv/www", true, &err);
    assert_int_equal(epoch_write(epochs, &e, &err), 0);
    close(epochs);
    state_close(s);
    assert_int_equal(state_forget(dir, "/srv/www", &err), 0);
    assert_int_equal(epoch_of(dir, "/srv/www", &e, &err), 0); /* a promotion is not forgotten */
    assert_int_equal(e.counter, 3);
    s = must_open("/srv/www", &nobody);
    assert_int_equal(faccessat(state_fd(s), "root", F_OK, 0), -1);
    state_close(s);
    free(path);
}

/* A root that is not there any more, behind a link that is. */
static void test_forgotten_behind_a_link(void **state)
{
    struct digest nobody = {0};
    struct err err;
    char real[128], link[128], root[160], resolved[160];
    (void)state;
    snprintf(real, sizeof real, "%s/real", dir);
    snprintf(link, sizeof link, "%s/link", dir);
    snprintf(root, sizeof root, "%s/gone/htdocs", link);
    snprintf(resolved, sizeof resolved, "%s/gone/htdocs", real);
    assert_int_equal(mkdir(real, 0700) | symlink("real", link), 0);
    char *path = state_root_dir(dir, resolved);
    state_close(must_open(resolved, &nobody));
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(state_forget(dir, root, &err), 0);
    assert_int_equal(access(path, F_OK), -1);
    free(path);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_host_id_stays),
        T(test_a_broken_host_id_is_named),
        T(test_a_directory_for_each_root),
        T(test_a_second_process_is_told_who_holds_it),
        T(test_the_same_primary_takes_over),
        T(test_a_network_filesystem_is_refused),
        T(test_forgotten),
        T(test_forgotten_behind_a_link),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
