/*
 * Put in front of every file of tree/, secondary/ and primary/ in a build with -Dfaults=true (see
 * meson.build): each call that changes what a crash would leave behind becomes two fault points,
 * wherever it stands, without a word in the code that makes it.
 */
#ifndef BASE_FAULT_CALLS_H
#define BASE_FAULT_CALLS_H

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/io.h"

#define openat(dir, name, ...)                                                                     \
    (fault_creates(__VA_ARGS__) ? FAULT_CALL("openat", openat(dir, name, __VA_ARGS__))             \
                                : openat(dir, name, __VA_ARGS__))

#define renameat(...)      FAULT_CALL("renameat", renameat(__VA_ARGS__))
#define renameat2(...)     FAULT_CALL("renameat2", renameat2(__VA_ARGS__))
#define linkat(...)        FAULT_CALL("linkat", linkat(__VA_ARGS__))
#define symlinkat(...)     FAULT_CALL("symlinkat", symlinkat(__VA_ARGS__))
#define unlinkat(...)      FAULT_CALL("unlinkat", unlinkat(__VA_ARGS__))
#define mkdirat(...)       FAULT_CALL("mkdirat", mkdirat(__VA_ARGS__))
#define mkdir(...)         FAULT_CALL("mkdir", mkdir(__VA_ARGS__))
#define fchmod(...)        FAULT_CALL("fchmod", fchmod(__VA_ARGS__))
#define fchmodat(...)      FAULT_CALL("fchmodat", fchmodat(__VA_ARGS__))
#define fchown(...)        FAULT_CALL("fchown", fchown(__VA_ARGS__))
#define fchownat(...)      FAULT_CALL("fchownat", fchownat(__VA_ARGS__))
#define futimens(...)      FAULT_CALL("futimens", futimens(__VA_ARGS__))
#define utimensat(...)     FAULT_CALL("utimensat", utimensat(__VA_ARGS__))
#define ftruncate(...)     FAULT_CALL("ftruncate", ftruncate(__VA_ARGS__))
#define fsync(...)         FAULT_CALL("fsync", fsync(__VA_ARGS__))
#define syncfs(...)        FAULT_CALL("syncfs", syncfs(__VA_ARGS__))
#define fsetxattr(...)     FAULT_CALL("fsetxattr", fsetxattr(__VA_ARGS__))
#define io_write_full(...) FAULT_CALL("write", io_write_full(__VA_ARGS__))

#endif
