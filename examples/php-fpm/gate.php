<?php
/*
 * What every request of a PHP-FPM pool does first, so that mirrord-gate, beside this file, can keep it
 * waiting for the moment in which units are switched. The pool's
 *
 *     php_admin_value[auto_prepend_file] = /usr/local/lib/mirrord/gate.php
 *     env[MIRRORD_GATE] = /var/lib/mirrord-gate/example.com
 *
 * Where there is an auto_prepend_file already, that one includes this file in its first line. A pool with
 * open_basedir needs both directories in it. Without the directory, or where it cannot be used, nothing
 * is done. It costs two opened files and two locks.
 *
 * A request goes through the door into the house: it holds the lock of the house, shared, until its end,
 * that of the door only for a moment. The gate takes both for itself, the door first.
 */

if (!class_exists('Mirrord_Gate', false)) {
    final class Mirrord_Gate
    {
        const WAIT_S = 60; // at most; mirrord ends a gate that takes long, and with it the wait
        const LOOK_US = 1000;

        private static $house = null; // closed, and unlocked, with the request
        public static $waited = false;

        public static function enter(): void
        {
            $dir = getenv('MIRRORD_GATE');
            // The gate's own request is outside. No client can set such a parameter.
            if (self::$house || !$dir || isset($_SERVER['MIRRORD_ROOT'])) {
                return;
            }
            $door = @fopen("$dir/door", 'c');
            $house = $door ? @fopen("$dir/house", 'c') : false;
            if (!$house || !self::lock($door) || !self::lock($house)) {
                return;
            }
            fclose($door);
            self::$house = $house;
        }

        private static function lock($file): bool
        {
            $end = null;
            while (!flock($file, LOCK_SH | LOCK_NB)) {
                self::$waited = true;
                $end = $end ?? microtime(true) + self::WAIT_S;
                if (microtime(true) >= $end) {
                    return false;
                }
                usleep(self::LOOK_US);
            }
            return true;
        }
    }
}

Mirrord_Gate::enter();
// PHP opened the requested script before it came here, perhaps its old version: it is opened anew.
if (Mirrord_Gate::$waited && !debug_backtrace(DEBUG_BACKTRACE_IGNORE_ARGS, 1) && is_file($_SERVER['SCRIPT_FILENAME'])) {
    require $_SERVER['SCRIPT_FILENAME'];
    exit;
}
