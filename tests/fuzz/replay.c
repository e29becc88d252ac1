/*
 * The plain main of every fuzzer: runs it once on each file given, and on each file of each
 * directory given. Fails where something cannot be read, and where nothing was.
 */
#include "tests/fuzz/replay.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"

/* Exactly as large as the input, so that a sanitizer sees a read past its end. */
static int replay_bytes(FILE *f, size_t size, const char *path)
{
    uint8_t *data CLEANUP_FREE = malloc(size > 0 ? size : 1);
    if (data == NULL || fread(data, 1, size, f) != size) {
        fprintf(stderr, "%s: cannot be read\n", path);
        return -1;
    }
    LLVMFuzzerTestOneInput(data, size);
    return 1;
}

static int replay_file(const char *path, size_t size)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return -1;
    }
    int n = replay_bytes(f, size, path);
    fclose(f);
    return n;
}

static int replay_path(const char *path);

static int replay_dir(const char *path)
{
    DIR *dir = opendir(path);
    if (dir == NULL) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return -1;
    }
    int total = 0;
    for (struct dirent *e; total >= 0 && (e = readdir(dir)) != NULL;) {
        if (e->d_name[0] == '.')
            continue;
        char *child CLEANUP_FREE = mem_format("%s/%s", path, e->d_name);
        int n = replay_path(child);
        total = n < 0 ? -1 : total + n;
    }
    closedir(dir);
    return total;
}

/* The number of inputs run, or -1. */
static int replay_path(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return -1;
    }
    return S_ISDIR(st.st_mode) ? replay_dir(path) : replay_file(path, (size_t)st.st_size);
}

int main(int argc, char **argv)
{
    int total = 0;
    for (int i = 1; i < argc; i++) {
        int n = replay_path(argv[i]);
        if (n < 0)
            return 1;
        total += n;
    }
    printf("%d inputs\n", total);
    return total > 0 ? 0 : 1;
}
