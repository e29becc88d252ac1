/*
 * Memory and cleanup.
 *
 * Policy: small internal allocations go through these helpers, which end the process with a line
 * when memory is gone. A size that a peer chooses is first checked against a named limit of the
 * protocol, and where it is large it is asked for with malloc and fails softly as an error.
 */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

void *mem_alloc(size_t size);           /* zeroed; never NULL */
void *mem_array(size_t n, size_t size); /* zeroed, checked for overflow; never NULL */
void *mem_resize(void *p, size_t n, size_t size);
char *mem_copy_string(const char *s);            /* NULL stays NULL */
char *mem_copy_bytes(const void *p, size_t len); /* with a NUL behind; never NULL */
char *mem_format(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static inline void mem_free_at(void *p)
{
    free(*(void **)p);
}

static inline void fd_close_at(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

/* char *x CLEANUP_FREE = …;  int fd CLEANUP_FD = open(…);  give away with TAKE_PTR / TAKE_FD. */
#define CLEANUP_FREE __attribute__((cleanup(mem_free_at)))
#define CLEANUP_FD   __attribute__((cleanup(fd_close_at)))

#define TAKE_PTR(p)                                                                                \
    ({                                                                                             \
        __typeof__(p) taken_ = (p);                                                                \
        (p) = NULL;                                                                                \
        taken_;                                                                                    \
    })
#define TAKE_FD(fd)                                                                                \
    ({                                                                                             \
        int taken_ = (fd);                                                                         \
        (fd) = -1;                                                                                 \
        taken_;                                                                                    \
    })

#endif
