/* Running ssh-keygen; see pair_keys.h. It is given no terminal: nothing here waits for a person. */
#include "command/pair/pair_keys.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/mem.h"
#include "link/process/proc.h"

enum { TOOL_MS = 30000, OUTPUT_MAX = 64 * 1024, DIRECTORY_MODE = 0755 };

#define WORDS(...) ((char *const *)(const char *const[]){__VA_ARGS__, NULL})

/* Its output in *out (may be NULL), which the caller frees. */
static int run_keygen(char *const *argv, char **out, struct err *err)
{
    struct patience p = patience_for(TOOL_MS, NULL);
    struct proc_result result = {0};
    p.doing = "running ssh-keygen";
    int rc = proc_capture(argv, OUTPUT_MAX, &p, &result, err);
    if (rc > 0)
        return err_set(err, ERR_FAILED,
            "there is no ssh-keygen here: install OpenSSH's client (apt install openssh-client)");
    if (rc < 0)
        return -1;
    if (result.status != 0) {
        char *said CLEANUP_FREE = tail_last_line(result.said.text);
        rc = err_set(err, ERR_FAILED, "ssh-keygen: %s", *said ? said : "it failed");
    }
    if (rc == 0 && out)
        *out = TAKE_PTR(result.output);
    free(result.output);
    return rc;
}

/* The first two words of a line. */
static char *two_words(const char *line)
{
    size_t n = strcspn(line, " \n");
    n += line[n] == ' ' ? 1 + strcspn(line + n + 1, " \n") : 0;
    return mem_copy_bytes(line, n);
}

int pair_keys_public(const char *path, char **out, struct err *err)
{
    char *text CLEANUP_FREE = NULL;
    if (access(path, F_OK) != 0 && errno == ENOENT)
        return 1;
    if (run_keygen(WORDS("ssh-keygen", "-y", "-P", "", "-f", path), &text, err))
        return err_prefix(err, "the key %s", path);
    *out = two_words(text);
    return 0;
}

static int make_directory(const char *path, struct err *err)
{
    const char *slash = strrchr(path, '/');
    char *dir CLEANUP_FREE = mem_copy_bytes(path, (size_t)(slash - path));
    return *dir ? io_make_path(dir, DIRECTORY_MODE, err) : 0;
}

int pair_keys_make(const char *path, const char *comment, struct err *err)
{
    if (access(path, F_OK) == 0)
        return err_set(err, ERR_FAILED, "%s is there already", path);
    if (make_directory(path, err))
        return -1;
    return run_keygen(
        WORDS("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", path), NULL, err);
}

static int write_scratch(const char *path, const char *text, struct err *err)
{
    int fd CLEANUP_FD = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || io_write_full(fd, text, strlen(text)))
        return err_sys(err, errno, "write %s", path);
    return 0;
}

int pair_keys_fingerprint(const char *key, char **out, struct err *err)
{
    char path[] = "/tmp/mirrord-key-XXXXXX";
    char *text CLEANUP_FREE = NULL, *line CLEANUP_FREE = mem_format("%s\n", key);
    int fd CLEANUP_FD = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "create %s", path);
    int rc = io_write_full(fd, line, strlen(line))
                 ? err_sys(err, errno, "write %s", path)
                 : run_keygen(WORDS("ssh-keygen", "-l", "-E", "sha256", "-f", path), &text, err);
    unlink(path);
    char *print = rc ? NULL : strstr(text, "SHA256:"), *type = rc ? NULL : strrchr(text, '(');
    if (rc == 0 && (!print || !type))
        return err_set(err, ERR_FAILED, "ssh-keygen: no fingerprint in '%s'", text);
    if (rc == 0)
        *out = mem_format(
            "%.*s %.*s", (int)strcspn(print, " "), print, (int)strcspn(type, "\n"), type);
    return rc;
}

int pair_keys_hash(const char *scratch, const char *line, char **out, struct err *err)
{
    char *path CLEANUP_FREE = mem_format("%s/hash", scratch);
    char *old CLEANUP_FREE = mem_format("%s.old", path);
    char *text CLEANUP_FREE = mem_format("%s\n", line), *hashed CLEANUP_FREE = NULL;
    size_t len = 0;
    int rc = write_scratch(path, text, err);
    if (rc == 0)
        rc = run_keygen(WORDS("ssh-keygen", "-H", "-f", path), NULL, err);
    if (rc == 0)
        rc = io_slurp(AT_FDCWD, path, OUTPUT_MAX, &hashed, &len, err);
    unlink(path);
    unlink(old);
    if (rc)
        return -1;
    hashed[strcspn(hashed, "\n")] = '\0';
    *out = TAKE_PTR(hashed);
    return 0;
}
