/*
 * Writes the first inputs of the corpora: every sample message, all of them in one stream, items,
 * entries, paths, records and steps, what a receiver's child asks, events, outlines, texts.
 * `make_seeds CORPUS` writes them, `make_seeds --check CORPUS` fails where the committed ones are
 * not what the codec makes now.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "secondary/commit/step.h"
#include "secondary/confine/asks.h"
#include "tests/unit/protocol/sample.h"
#include "tree/content/digest.h"
#include "tree/content/outline.h"
#include "tree/manifest/manifest_impl.h"

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

static void seed_record(struct seeds *s, const char *name, struct entry e, uint64_t dir)
{
    struct wire_writer w = {0};
    struct record r = {.entry = e, .dir = dir, .flags = RECORD_COMMITTED, .validators.inode = 77};
    manifest_encode(&w, &r);
    seed_put(s, "record", name, (struct bytes){w.data, w.len});
    wire_free(&w);
}

static void seed_step(struct seeds *s, const char *name, uint8_t kind)
{
    struct wire_writer w = {0};
    struct step step;
    struct entry e = sample_file();
    step_init(&step, kind, bytes_of("wp-content/uploads/x.jpg"));
    step_set_bytes(&step.from, "wp-content/y.jpg", 16);
    step_set_bytes(&step.staged, "17", 2);
    if (kind == STEP_ENTRY)
        step_set_entry(&step, &e);
    step_encode(&w, &step);
    seed_put(s, "step", name, (struct bytes){w.data, w.len});
    step_clear(&step);
    wire_free(&w);
}

static void seed_asks(struct seeds *s)
{
    for (uint8_t kind = ASK_NUMBER_OF; kind <= ASK_LAST; kind++) {
        uint8_t raw[ASK_PACKET_MAX];
        struct ask a = {.kind = kind};
        size_t n = ask_encode(&a, raw);
        char *name CLEANUP_FREE = mem_format("kind-%d", kind);
        seed_put(s, "asks", name, (struct bytes){raw, n});
    }
}

static void seed_events(struct seeds *s)
{
    static const struct {
        uint8_t wd;
        uint32_t mask;
        uint8_t cookie;
        const char *name;
    } events[] = {{1, 0x100, 0, "new.jpg"}, {1, 0x8, 0, "new.jpg"}, {1, 0x40000040, 7, "old"},
        {2, 0x40000080, 7, "other"}, {3, 0x800, 0, ""}, {4, 0x100, 0, "cookie"}, {2, 0x8000, 0, ""},
        {0xff, 0x4000, 0, ""}, {1, 0x200, 0, "gone"}, {1, 0x4, 0, "mode"}};
    struct wire_writer w = {0};
    for (size_t i = 0; i < sizeof events / sizeof *events; i++) {
        wire_u8(&w, events[i].wd);
        wire_u32(&w, events[i].mask);
        wire_u8(&w, events[i].cookie);
        wire_short(&w, bytes_of(events[i].name));
    }
    seed_put(s, "events", "each", (struct bytes){w.data, w.len});
    wire_free(&w);
}

/* Of a file of so many x, in front of which stand the two shifts of a gap; see fuzz_outline.c. */
static void seed_outline(struct seeds *s, const char *name, uint64_t size, uint32_t front)
{
    struct wire_writer w = {0};
    struct digest digest;
    struct outline *o = outline_new(size);
    uint8_t *content CLEANUP_FREE = mem_alloc(size);
    memset(content, 'x', size);
    outline_add(o, content, size);
    digest_plain(content, size, &digest);
    outline_settle(o, &digest);
    wire_u32(&w, front);
    wire_u32(&w, front + 5);
    outline_encode(o, &w);
    seed_put(s, "outline", name, (struct bytes){w.data, w.len - sizeof digest});
    outline_unref(o);
    wire_free(&w);
}

static void seed_texts(struct seeds *s)
{
    static const char *const texts[][3] = {
        {"request", "flush",
            "{\"do\":\"flush\",\"site\":\"a\",\"paths\":[\"x\",\"y/\"],\"seconds\":3}"},
        {"request", "escapes", "{\"do\":\"\\u00e4\\n\",\"deep\":[[[[{}]]]],\"n\":-1e300}"},
        {"health", "get", "GET /shop%20a/?x HTTP/1.1\r\nHost: web2\r\n\r\n"},
        {"health", "options", "OPTIONS * HTTP/1.0\n\n"},
        {"health", "note",
            "1 00000000-0000-0000-0000-000000000000 5000 1700000000\n1 4000 4500\n1 4100\n"
            "0 1 0 1\n3 1 4200\nweb1\nstage x: No space left on device\n"},
        {"rules", "anchored", "wp-content/cache/\nwp-content/cache/x\nwp-content/cachex"},
        {"rules", "stars", "**/a*b?[a-c]/**\nx/axxbyb/z\naab"},
        {"rules", "unit", "wp-admin + wp-includes + *.php\nwp-admin/x.php\nindex.php"},
        {"config", "one-site",
            "host web1 { address = \"a\" port = 22 }\nhost web2 { }\ndefaults { preset = wordpress "
            "settle = 2s }\nsite \"s\" { root = \"/srv/s\" hosts = {web1, web2} primary = web1\n"
            "exclude = {\"x/\", \"*.log\"} at web2 { root = \"/data/s\" } }\n"},
        {"config", "globs",
            "host web1 { }\nhost web2 { bwlimit = 1M }\nsites \"all\" { glob = "
            "\"/nowhere/*/htdocs\" hosts = {web1, web2} primary = web1 max-delete = \"5%\" }\n"},
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        seed_put(s, texts[i][0], texts[i][1], bytes_of(texts[i][2]));
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
    seed_record(&s, "file", sample_file(), 0);
    seed_record(&s, "dir", sample_dir(), 5);
    seed_step(&s, "entry", STEP_ENTRY);
    seed_step(&s, "move", STEP_MOVE);
    seed_step(&s, "delete", STEP_DELETE);
    seed_asks(&s);
    seed_events(&s);
    seed_outline(&s, "blocks", 9 * OUTLINE_BLOCK + 100, 0);
    seed_outline(&s, "extents", MSG_EXTENT + 100, (uint32_t)-4101);
    seed_outline(&s, "empty", 0, 7);
    seed_texts(&s);
    seed_path(&s, "plain", "wp-content/uploads/2024/01/x.jpg");
    seed_path(&s, "up", "wp-content/../../etc");
    seed_path(&s, "reserved", "wp-content/" PATH_RESERVED "stage/x");
    seed_path(&s, "slashes", "/a//b/");
    return s.failed ? 1 : 0;
}
