<?php
/*
 * Run by a PHP-FPM pool at the request of mirrord-opcache or mirrord-gate, which stand beside it: drops
 * from opcache exactly the files that mirrord's records name; for mirrord-gate it keeps the pool's other
 * requests waiting meanwhile (gate.php), until the records have come, or the request is cut off. It belongs to root and lies outside of every document
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
$drain = $_SERVER['MIRRORD_DRAIN'] ?? null;
if (PHP_SAPI !== 'fpm-fcgi' || $root === '' || ($_SERVER['REQUEST_METHOD'] ?? '') !== ($drain === null ? 'POST' : 'PUT')) {
    refuse('not mirrord-opcache');
}

/** Exclusively, if it can be had within that time. */
function lock_for($file, float $seconds): bool
{
    for ($end = microtime(true) + $seconds; !flock($file, LOCK_EX | LOCK_NB);) {
        if (microtime(true) >= $end) {
            return false;
        }
        usleep(300);
    }
    return true;
}

/** From here on no request begins, and none runs, but for those that take too long. Its locks. */
function close_gate(float $seconds): array
{
    $dir = getenv('MIRRORD_GATE');
    if (!$dir) {
        refuse('the pool has no env[MIRRORD_GATE]');
    }
    $door = @fopen("$dir/door", 'c');
    $house = $door ? @fopen("$dir/house", 'c') : false;
    if (!$house) {
        refuse("$dir is no directory that this pool can write to");
    }
    if (!lock_for($door, $seconds)) {
        refuse("$dir/door is locked by something else");
    }
    $empty = lock_for($house, $seconds);
    while (ob_get_level()) {
        ob_end_clean();
    }
    echo "ready\n";
    flush();
    if (!$empty) {
        echo "a request ran for longer than $seconds s, and was not waited for\n";
    }
    return [$house, $door];
}

/** How many files were dropped from opcache. */
function invalidate(string $records, string $root): int
{
    if (!function_exists('opcache_invalidate')) {
        return 0;
    }
    $count = 0;
    $tops = [];   /* what may hold more than one file */
    foreach (explode("\0", $records) as $record) {
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
    return $count;
}

$locks = $drain === null ? [] : close_gate((float)$drain);
$count = invalidate(file_get_contents('php://input'), $root);
clearstatcache(true);   /* of this worker; the others keep theirs for realpath_cache_ttl */
foreach ($locks as $lock) {
    flock($lock, LOCK_UN);
}
echo function_exists('opcache_invalidate') ? "done: $count\n" : "done: opcache is off\n";
