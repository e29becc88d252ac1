/*
 * Private key files as OpenSSH and OpenSSL write them. Looks just deep enough to tell which kind it
 * is; parsing the key is the SSH library's.
 */
#include "link/keys/keyfile.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "link/keys/base64.h"
#include "link/process/quote.h"

enum { KEYFILE_MAX = 64 * 1024, LOOK = 256 };

void keyfile_free(struct keyfile *k)
{
    if (k->text)
        explicit_bzero(k->text, k->len);
    free(k->text);
    *k = (struct keyfile){0};
}

static bool holds(const unsigned char *bytes, size_t n, const char *what, size_t len)
{
    return memmem(bytes, n, what, len) != NULL;
}

/* What the start of the decoded body tells: OpenSSH's format names cipher and algorithm in clear,
 * PKCS#8 has the algorithm's object identifier. */
static enum keyfile_kind look_inside(const char *body, size_t len)
{
    static const char clear[] = "openssh-key-v1\0\0\0\0\4none";
    static const char rsa_oid[] = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01";
    unsigned char bytes[LOOK];
    size_t n = base64_decode(body, len, bytes, sizeof bytes);
    enum keyfile_kind kind = KEYFILE_PRIVATE;
    if (holds(bytes, n, "openssh-key-v1", 14) && !holds(bytes, n, clear, sizeof clear - 1))
        kind = KEYFILE_ENCRYPTED;
    else if (holds(bytes, n, "sk-ssh-", 7) || holds(bytes, n, "sk-ecdsa-", 9))
        kind = KEYFILE_HARDWARE;
    else if (holds(bytes, n, "ssh-rsa", 7) || holds(bytes, n, rsa_oid, sizeof rsa_oid - 1))
        kind = KEYFILE_RSA;
    explicit_bzero(bytes, sizeof bytes);
    return kind;
}

static bool is_public(const char *text)
{
    return strncmp(text, "ssh-", 4) == 0 || strncmp(text, "ecdsa-", 6) == 0 ||
           strncmp(text, "sk-", 3) == 0;
}

/* 0, or -1 when it is no key. */
static int judge(struct keyfile *k)
{
    if (is_public(k->text)) {
        k->kind = KEYFILE_PUBLIC;
        return 0;
    }
    const char *begin = strstr(k->text, "-----BEGIN ");
    const char *line_end = begin ? strchr(begin, '\n') : NULL;
    if (!line_end || !strstr(begin, "PRIVATE KEY-----"))
        return -1;
    if (strstr(begin, "BEGIN ENCRYPTED") || strstr(begin, "Proc-Type: 4,ENCRYPTED"))
        k->kind = KEYFILE_ENCRYPTED;
    else if (strstr(begin, "BEGIN RSA"))
        k->kind = KEYFILE_RSA;
    else
        k->kind = look_inside(line_end + 1, k->len - (size_t)(line_end + 1 - k->text));
    return 0;
}

/* ssh's rule, and nobody else whoever owns it. */
static bool too_open(const struct stat *st)
{
    return (st->st_mode & 007) || (st->st_uid == geteuid() && (st->st_mode & 070));
}

static int read_all(int fd, const char *path, struct stat *st, struct keyfile *k, struct err *err)
{
    if (fstat(fd, st) < 0)
        return err_sys(err, errno, "key file %s", path);
    if (!S_ISREG(st->st_mode))
        return err_set(err, ERR_FAILED, "key file %s is not a regular file", path);
    if (st->st_size > KEYFILE_MAX)
        return err_set(err, ERR_FAILED, "key file %s is too long for a key", path);
    k->text = mem_alloc((size_t)st->st_size + 1);
    k->len = (size_t)st->st_size;
    ssize_t n = io_pread_full(fd, k->text, k->len, 0);
    if (n < 0)
        return err_sys(err, errno, "read key file %s", path);
    k->len = (size_t)n;
    return 0;
}

int keyfile_load(const char *path, struct keyfile *out, struct err *err)
{
    int fd CLEANUP_FD = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return 1;
    if (fd < 0)
        return err_sys(err, errno, "key file %s", path);
    char *quoted CLEANUP_FREE = quote_command((char *const *)(const char *const[]){path, NULL});
    struct keyfile k = {0};
    struct stat st;
    int rc = read_all(fd, path, &st, &k, err);
    if (rc == 0 && judge(&k))
        rc = err_set(err, ERR_FAILED, "%s is not a private key", path);
    if (rc == 0 && k.kind != KEYFILE_PUBLIC && too_open(&st))
        rc = err_set(err, ERR_FAILED,
            "the private key %s is open to others (mode %04o): type chmod 600 %s", path,
            (unsigned)(st.st_mode & 07777), quoted);
    if (rc) {
        keyfile_free(&k);
        return -1;
    }
    *out = k;
    return 0;
}
