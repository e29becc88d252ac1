/* WordPress in its usual places; see layout.h. */
#include "command/config/layout.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"

enum { READ_MAX = 256 * 1024 };

static bool is_dir(int at, const char *name)
{
    struct stat st;
    return fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

/* The start of a regular file as text; NULL: there is none. The caller frees it. */
static char *read_start(int at, const char *name)
{
    struct stat st;
    int fd CLEANUP_FD = openat(at, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return NULL;
    char *text = mem_alloc(READ_MAX + 1);
    ssize_t n = pread(fd, text, READ_MAX, 0);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

/* $wp_version = '6.4.2'; */
static void take_version(const char *text, struct layout *out)
{
    const char *at = strstr(text, "$wp_version");
    const char *quote = at ? strpbrk(at, "'\"\n") : NULL;
    if (!quote || *quote == '\n')
        return;
    size_t len = strspn(quote + 1, "0123456789.");
    if (len > 0 && len < sizeof out->version)
        memcpy(out->version, quote + 1, len);
}

/* Is WordPress's core in this directory? */
static bool has_core(int at, const char *dir, struct layout *out)
{
    char *name CLEANUP_FREE = mem_format("%s/wp-includes/version.php", dir);
    char *text CLEANUP_FREE = read_start(at, name);
    if (!text)
        return false;
    take_version(text, out);
    return true;
}

/* define( 'MULTISITE', true ); on a line that is no comment. */
static bool says_multisite(const char *text)
{
    for (const char *at = text; (at = strstr(at, "MULTISITE")); at++) {
        const char *line = at;
        while (line > text && line[-1] != '\n')
            line--;
        line += strspn(line, " \t");
        size_t left = strcspn(at, "\n");
        bool yes = memmem(at, left, "true", 4) || memmem(at, left, "TRUE", 4);
        if (yes && *line != '/' && *line != '#' && *line != '*')
            return true;
    }
    return false;
}

/* The first directory of the root that answers yes; empty: none does. */
static void find_dir(int root, bool (*fits)(int root, const char *name, struct layout *out),
    struct layout *out, char *to)
{
    const struct dirent *e;
    int fd = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        if (fd >= 0)
            close(fd);
        return;
    }
    while (!*to && (e = readdir(dir)))
        if (e->d_name[0] != '.' && is_dir(root, e->d_name) && fits(root, e->d_name, out))
            snprintf(to, LAYOUT_NAME, "%s", e->d_name);
    closedir(dir);
}

static bool is_content(int root, const char *name, struct layout *out)
{
    char *plugins CLEANUP_FREE = mem_format("%s/plugins", name);
    char *themes CLEANUP_FREE = mem_format("%s/themes", name);
    (void)out;
    return is_dir(root, plugins) && is_dir(root, themes);
}

static bool is_releases(int root)
{
    char to[16];
    ssize_t n = readlinkat(root, "current", to, sizeof to);
    const char *at = memmem(to, n > 0 ? (size_t)n : 0, "releases", 8);
    return is_dir(root, "releases") && (at || n == sizeof to);
}

static void recognise(int root, struct layout *out)
{
    if (has_core(root, ".", out)) {
        out->preset = "wordpress";
    } else if (has_core(root, "web/wp", out) && is_dir(root, "web/app")) {
        out->preset = "bedrock";
        return;
    } else if (has_core(root, "wp", out) && is_content(root, "app", out)) {
        out->preset = "bedrock";
        out->within = true;
        return;
    } else if (is_releases(root)) {
        out->preset = "releases";
        return;
    } else {
        find_dir(root, has_core, out, out->core);
        out->preset = out->core[0] ? "wordpress" : NULL;
    }
    if (out->preset && !is_content(root, "wp-content", out))
        find_dir(root, is_content, out, out->content);
}

void layout_recognise(const char *root, struct layout *out)
{
    static const char *const configs[] = {"wp-config.php", "config/application.php"};
    *out = (struct layout){0};
    int fd CLEANUP_FD = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    recognise(fd, out);
    for (size_t i = 0; out->preset && i < sizeof configs / sizeof *configs; i++) {
        char *text CLEANUP_FREE = read_start(fd, configs[i]);
        out->multisite |= text && says_multisite(text);
    }
}
