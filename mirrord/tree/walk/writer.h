/* The writer probe (RULES 2): has somebody this file open for writing? */
#ifndef TREE_WALK_WRITER_H
#define TREE_WALK_WRITER_H

/* 1 yes, 0 no; -1 leases do not work here (another owner's file without CAP_LEASE, NFS, FUSE,
 * overlayfs). A read lease is set and taken back at once, never held over I/O; should a writer come
 * in between, the process gets SIGIO, which the first probe lets it ignore. */
int writer_probe(int fd);

#endif
