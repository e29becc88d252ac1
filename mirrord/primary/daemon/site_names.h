/*
 * Where a site's own socket is: below a directory, by the site's name, and (a symbolic link to it)
 * by a hash of its root's path, so that what runs in the root finds it without being told.
 */
#ifndef PRIMARY_DAEMON_SITE_NAMES_H
#define PRIMARY_DAEMON_SITE_NAMES_H

/* The longest directory with which clients can connect: sun_path has 108 bytes. */
enum { SITE_SOCKETS_DIR_MAX = 80 };

/* The name of the site's socket below `dir`: the site's, or "site:" and its hash where that begins
 * with a dot, is too long for a socket's path, or has a slash. The caller frees it. */
char *site_socket_name(const char *dir, const char *site);

/* "root:" and the FNV-1a hash of the path, 16 lower-case hexadecimal digits. The caller frees it.
 */
char *site_socket_alias(const char *root);

#endif
