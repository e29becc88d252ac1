/* Four writers do what they like to one tree, among each other's files, while a secondary that is
 * sometimes slow is told about it. In the end disk, manifest and secondary have to be the same. The
 * seed is printed; MIRRORD_TEST_SEED and MIRRORD_TEST_OPERATIONS repeat or lengthen a run. */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/mem.h"
#include "scan_model.h"

enum { WRITERS = 4, OPERATIONS = 1500, DEPTH = 3, NAMES = 5 };

struct writer {
    pthread_t thread;
    struct model *m;
    unsigned seed;
    unsigned operations;
    atomic_uint *left;
};

static unsigned pick(struct writer *w, unsigned n)
{
    return (unsigned)rand_r(&w->seed) / 7 % n;
}

/* A path that may or may not be there: few names, so that writers meet. Sometimes outside the tree
 * or in a directory that is excluded. */
static void path_in(struct writer *w, char out[256])
{
    unsigned where = pick(w, 20), depth = 1 + pick(w, DEPTH);
    int len = snprintf(out, 256, "%s", where == 0 ? model_top(w->m) : model_root(w->m));
    if (where == 0)
        len += snprintf(out + len, 256 - (size_t)len, "/out");
    if (where == 1)
        len += snprintf(out + len, 256 - (size_t)len, "/cache");
    for (unsigned i = 0; i < depth; i++)
        len += snprintf(out + len, 256 - (size_t)len, "/%c%u", "dfx"[pick(w, 3)], pick(w, NAMES));
}

static void make_above(const char *path)
{
    char part[256];
    snprintf(part, sizeof part, "%s", path);
    for (char *p = strchr(part + 1, '/'); p; p = strchr(p + 1, '/')) {
        *p = '\0';
        mkdir(part, 0755);
        *p = '/';
    }
}

static void write_some(struct writer *w, const char *path, int flags)
{
    char piece[5000];
    unsigned pieces = pick(w, 4), pause = pick(w, 8) ? 0 : pick(w, 3000);
    int fd = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | flags, 0644);
    if (fd < 0)
        return;
    memset(piece, 'a' + (int)pick(w, 26), sizeof piece);
    for (unsigned i = 0; i < pieces; i++) {
        if (write(fd, piece, 1 + pick(w, sizeof piece)) < 0)
            break;
        if (pause)
            usleep(pause);
    }
    close(fd);
}

static void write_large(struct writer *w, const char *path)
{
    write_some(w, path, O_TRUNC);
    if (truncate(path, 1200000 + pick(w, 1000)) < 0)
        return;
    write_some(w, path, 0);
}

static void remove_all(const char *path)
{
    char *command CLEANUP_FREE = mem_format("rm -rf '%s' 2>/dev/null", path);
    if (system(command) != 0)
        return; /* somebody else was faster */
}

static void operate(struct writer *w)
{
    char one[256], two[256], temporary[300];
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {1000000000 + pick(w, 1000), pick(w, 2)}};
    path_in(w, one);
    path_in(w, two);
    switch (pick(w, 24)) {
    case 0 ... 3: make_above(one); /* fall through */
    case 4 ... 6: write_some(w, one, O_TRUNC); break;
    case 7: write_some(w, one, O_APPEND); break;
    case 8: (void)!truncate(one, pick(w, 4000)); break;
    case 9: chmod(one, pick(w, 2) ? 0755 : 0700); break;
    case 10: utimensat(AT_FDCWD, one, times, AT_SYMLINK_NOFOLLOW); break;
    case 11 ... 14: rename(one, two); break;
    case 15: link(one, two); break;
    case 16: symlink(two, one); break;
    case 17: unlink(one); break;
    case 18: pick(w, 3) ? (void)rmdir(one) : remove_all(one); break;
    case 19:
        make_above(one);
        mkdir(one, 0755);
        break;
    case 20 ... 21:
        snprintf(temporary, sizeof temporary, "%s.tmp", one);
        write_some(w, temporary, O_TRUNC);
        rename(temporary, one);
        break;
    case 22: write_large(w, one); break;
    default: mkfifo(one, 0600); break;
    }
}

static void *write_all(void *arg)
{
    struct writer *w = arg;
    for (unsigned i = 0; i < w->operations; i++) {
        operate(w);
        if (pick(w, 10) == 0)
            usleep(pick(w, 2000));
    }
    atomic_fetch_sub(w->left, 1);
    return NULL;
}

static unsigned number_from(const char *variable, unsigned otherwise)
{
    const char *text = getenv(variable);
    return text ? (unsigned)strtoul(text, NULL, 10) : otherwise;
}

static void test_random(void **state)
{
    (void)state;
    static const char *const excluded[] = {"cache/", "*.tmp", NULL};
    struct model *m = model_new(excluded);
    struct writer writers[WRITERS];
    atomic_uint left = WRITERS;
    unsigned random;
    io_random(&random, sizeof random);
    unsigned seed = number_from("MIRRORD_TEST_SEED", random);
    print_message("seed %u\n", seed);
    model_shell(m, "mkdir -p ../out cache d1/d2 d3; echo 1 > d1/f1; echo 2 > cache/f2");
    model_start(m);
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.m = m,
            .seed = seed + i,
            .operations = number_from("MIRRORD_TEST_OPERATIONS", OPERATIONS),
            .left = &left};
        assert_int_equal(pthread_create(&writers[i].thread, NULL, write_all, &writers[i]), 0);
    }
    while (atomic_load(&left) > 0) {
        usleep((unsigned)rand_r(&seed) % 20 == 0 ? 50000 : 500); /* a secondary that is late */
        model_step(m);
    }
    for (unsigned i = 0; i < WRITERS; i++)
        pthread_join(writers[i].thread, NULL);
    model_settle(m);
    model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
