/*
 * Writes the first inputs of the corpora: every sample message, all of them in one stream, items,
 * entries, paths. `make_seeds CORPUS` writes them, `make_seeds --check CORPUS` fails where the
 * committed ones are not what the codec makes now.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "tests/unit/protocol/sample.h"

struct seeds {
    const char *corpus;
    bool check;
    bool failed;
};

static bool seed_write(const char *path, struct bytes b)
{
    FILE *f = fopen(path, "wb");
    if (f == NULL)
        return false;
    bool written = fwrite(b.data, 1, b.len, f) == b.len;
    return fclose(f) == 0 && written;
}

static bool seed_matches(const char *path, struct bytes b)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        return false;
    char *have CLEANUP_FREE = mem_alloc(b.len + 1);
    bool same = fread(have, 1, b.len + 1, f) == b.len && memcmp(have, b.data, b.len) == 0;
    fclose(f);
    return same;
}

static void seed_put(struct seeds *s, const char *fuzzer, const char *name, struct bytes b)
{
    char *path CLEANUP_FREE = mem_format("%s/%s/seed-%s", s->corpus, fuzzer, name);
    if (s->check ? seed_matches(path, b) : seed_write(path, b))
        return;
    fprintf(stderr, "%s: %s\n", path,
        s->check ? "is missing or stale: run make_seeds" : strerror(errno));
    s->failed = true;
}

static void seed_frames(struct seeds *s)
{
    struct wire_writer all = {0};
    for (size_t i = 0; i < sample_count; i++) {
        size_t start = all.len;
        samples[i].put(&all);
        seed_put(s, "frames", samples[i].name, (struct bytes){all.data + start, all.len - start});
    }
    seed_put(s, "frames", "stream", (struct bytes){all.data, all.len});
    wire_free(&all);
}

static void seed_items(struct seeds *s)
{
    struct wire_writer w = {0};
    sample_items(&w);
    seed_put(s, "items", "three", (struct bytes){w.data, w.len});
    wire_free(&w);
}

static void seed_entry(struct seeds *s, const char *name, struct entry e)
{
    struct wire_writer w = {0};
    entry_encode(&w, &e);
    seed_put(s, "entry", name, (struct bytes){w.data, w.len});
    wire_free(&w);
}

static void seed_path(struct seeds *s, const char *name, const char *path)
{
    seed_put(s, "path", name, bytes_of(path));
}

int main(int argc, char **argv)
{
    struct seeds s = {.check = argc == 3 && strcmp(argv[1], "--check") == 0};
    if (argc != 2 && !s.check) {
        fprintf(stderr, "usage: make_seeds [--check] CORPUS\n");
        return 2;
    }
    s.corpus = argv[argc - 1];
    seed_frames(&s);
    seed_items(&s);
    seed_entry(&s, "none", (struct entry){0});
    seed_entry(&s, "file", sample_file());
    seed_entry(&s, "dir", sample_dir());
    seed_entry(&s, "link", sample_link());
    seed_path(&s, "plain", "wp-content/uploads/2024/01/x.jpg");
    seed_path(&s, "up", "wp-content/../../etc");
    seed_path(&s, "reserved", "wp-content/" PATH_RESERVED "stage/x");
    seed_path(&s, "slashes", "/a//b/");
    return s.failed ? 1 : 0;
}
