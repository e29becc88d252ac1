/* Small things over descriptors and clocks that several folders need. */
#ifndef BASE_IO_H
#define BASE_IO_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

/* pread/write until n bytes are done, through EINTR. read: bytes got, less only at the end of
 * the file; -1 with errno. write: 0, or -1 with errno (what was written before stays). */
ssize_t io_pread_full(int fd, void *p, size_t n, uint64_t offset);
int io_write_full(int fd, const void *p, size_t n);
int io_pwrite_full(int fd, const void *p, size_t n, uint64_t offset);

/* As io_pwrite_full, but where all of it is zeros, and that is much, a hole is left there where the
 * filesystem can: 1. At its end the file may then be shorter. */
int io_pwrite_sparse(int fd, const void *p, size_t n, uint64_t offset);
bool io_is_zeros(const void *p, size_t n);

/* Replaces dirfd/name by these bytes so that a crash leaves the old file or the new one: write to
 * name.new, fsync, rename, fsync of the directory. */
int io_publish(int dirfd, const char *name, const void *p, size_t n, struct err *err);

/* The same for what may be lost with the power: whoever reads it finds the old bytes or the new
 * ones, and nothing waits for the disk. */
int io_replace(int dirfd, const char *name, const void *p, size_t n, struct err *err);

/* The whole of a small file with a NUL behind; *out is the caller's to free. Fails when it is
 * longer than max. A missing file is 1 with *out untouched. A symbolic link is followed where a
 * person named the file (AT_FDCWD), and refused in a directory that is held. */
int io_slurp(int dirfd, const char *name, size_t max, char **out, size_t *len, struct err *err);

/* mkdir -p: fails where something else than a directory stands in the way. */
int io_make_path(const char *path, unsigned mode, struct err *err);

/* The part of an absolute path beneath `top`, "" where it is that, NULL where it lies elsewhere. By
 * the letters of both, which end without a slash. */
const char *io_path_beneath(const char *path, const char *top);

/* The bytes as lower-case hexadecimal digits, two for each, and a NUL. */
void io_hex(const void *p, size_t n, char *out);

int io_nonblock(int fd);  /* 0, or -1 with errno */
uint64_t io_now_ms(void); /* monotonic milliseconds */
uint64_t io_now_us(void); /* monotonic microseconds */
uint64_t io_boot_ms(
    void); /* since the machine started, suspended or not: the same in all processes */

/* Blocks SIGTERM and SIGINT and returns a descriptor that is readable once one came (signalfd(2)),
 * or -1 with errno; *before (may be NULL): the mask as it was. For a process with one thread. */
int io_take_ends(sigset_t *before);

/* n unpredictable bytes; the process ends where the kernel has none. */
void io_random(void *p, size_t n);

#endif
