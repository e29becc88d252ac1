<?php
/*
 * Run by a PHP-FPM pool at the request of mirrord-opcache, which stands beside it: drops from opcache
 * exactly the files that mirrord's records name. It belongs to root and lies outside of every document
 * root; a pool with open_basedir needs this file's directory in it. It answers nobody but FastCGI
 * clients of the pool's own socket: what comes by a web server has REMOTE_ADDR or an HTTP header.
 */

header('Content-Type: text/plain');

function refuse(string $why): void
{
    http_response_code(403);
    echo "refused: $why\n";
    exit;
}

foreach (array_keys($_SERVER) as $name) {
    if (in_array($name, ['REMOTE_ADDR', 'SERVER_NAME', 'DOCUMENT_ROOT'], true)
        || strncmp($name, 'HTTP_', 5) === 0) {
        refuse('not for the web');
    }
}
$root = rtrim($_SERVER['MIRRORD_ROOT'] ?? '', '/');
if (PHP_SAPI !== 'fpm-fcgi' || $root === '' || ($_SERVER['REQUEST_METHOD'] ?? '') !== 'POST') {
    refuse('not mirrord-opcache');
}
if (!function_exists('opcache_invalidate')) {
    echo "done: opcache is off\n";
    exit;
}

$count = 0;
$tops = [];   /* what may hold more than one file */
foreach (explode("\0", file_get_contents('php://input')) as $record) {
    if ($record === '') {
        continue;
    }
    $mark = $record[0];
    $path = substr($record, 1);
    if ($mark === '*') {
        $tops = ["$root/"];
        break;
    }
    if ($mark === '@') {
        $tops[] = "$root/$path/";   /* what is cached by way of the link */
        $count += opcache_invalidate("$root/$path", true) ? 1 : 0;
    } elseif (substr($path, -1) === '/') {
        if ($mark !== '+') {
            $tops[] = "$root/$path";
        }
    } else {
        $count += opcache_invalidate("$root/$path", true) ? 1 : 0;
    }
}
if ($tops) {
    $status = opcache_get_status(true);
    if ($status === false) {
        refuse('opcache.restrict_api does not let this file ask what is cached');
    }
    foreach (array_keys($status['scripts'] ?? []) as $cached) {
        foreach ($tops as $top) {
            if (strncmp($cached, $top, strlen($top)) === 0) {
                $count += opcache_invalidate($cached, true) ? 1 : 0;
                break;
            }
        }
    }
}
clearstatcache(true);   /* of this worker; the others keep theirs for realpath_cache_ttl */
echo "done: $count\n";
