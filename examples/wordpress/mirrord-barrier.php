<?php
/**
 * Plugin Name: mirrord barrier
 * Description: What is uploaded, updated or deleted here is on the other web servers before anybody is told of it.
 * Version: 1.0
 * Requires PHP: 7.4
 * License: MIT
 *
 * To install: copy this file to wp-content/mu-plugins/ on the primary (mirrord takes it to the secondaries). Nothing
 * has to be set: the site's socket is found by the path of its root. `wp mirrord status` and Tools > Site Health say
 * whether it is. PHP has to run as the owner of the root, or as mirrord.conf's socket-user.
 *
 * In wp-config.php, where that does not fit:
 *   define('MIRRORD_SOCKET', '/run/mirrord/sites/example.com');  the site's socket; '' turns the barrier off
 *   define('MIRRORD_SITES', '/run/mirrord/sites');               or only where mirrord.conf's site-sockets are
 *   define('MIRRORD_ROOT', '/var/www/html');                     the mirrored directory as PHP sees it (in a container)
 *   define('MIRRORD_SECONDS', 3);                                how long is waited at most; then the request goes on
 *
 * The database is shared and knows an upload at once; its files take some milliseconds to the other servers. So the
 * hooks below wait before WordPress writes down what there is: on the original, on each size, on an edited picture.
 * What is deleted or edited is waited for once, when the request ends. Where there is no mirrord, or it does not
 * answer, or a secondary does not get on, the request goes on without it; the error log and Site Health say so.
 *
 * How the socket is spoken to is in protocol/CONTROL.md of mirrord's source.
 */

// Within a condition, so that nothing happens where the file is loaded twice.
if (defined('ABSPATH') && !class_exists('Mirrord_Client', false)) :

/** One question to the site's socket: a line of JSON each way. Never an exception, never output. */
final class Mirrord_Client
{
    const REPLY_MAX = 4194304;
    const SITES = '/run/mirrord/sites';

    /** @var string why the last question has no answer; '' when there is no mirrord here */
    public $error = '';
    /** @var int mirrord's code of that error; 0: it is none of mirrord's */
    public $code = 0;
    private $socket = null;

    /** The answer, or null with $error. Ends within $seconds. */
    public function ask(array $request, $seconds)
    {
        $this->error = '';
        $this->code = 0;
        // Whatever a stream has to complain about is in the result; nobody's handler is to print it.
        set_error_handler(static function () {
            return true;
        });
        try {
            return $this->exchange($request, microtime(true) + $seconds);
        } catch (\Throwable $e) {
            $this->error = $e->getMessage();
            return null;
        } finally {
            restore_error_handler();
        }
    }

    /** Where it was found by the last question, or '' */
    public function socket()
    {
        return (string) $this->socket;
    }

    private function exchange(array $request, $deadline)
    {
        $line = json_encode($request, JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE);
        $stream = $line === false ? false : $this->open($deadline);
        if (!$stream) {
            return null;
        }
        stream_set_blocking($stream, false);
        $answer = $this->write($stream, $line . "\n", $deadline) ? $this->read($stream, $deadline) : null;
        fclose($stream);
        if ($answer === null) {
            $this->error = $this->error ?: 'mirrord does not answer in time';
            return null;
        }
        $reply = json_decode($answer, true, 32);
        if (!is_array($reply)) {
            $this->error = 'what mirrord answers is no JSON';
            return null;
        }
        if (isset($reply['error']) && isset($reply['code'])) {
            $this->error = (string) $reply['error'];
            $this->code = (int) $reply['code'];
            return null;
        }
        return $reply;
    }

    private function open($deadline)
    {
        if (!function_exists('stream_socket_client')) {
            $this->error = 'PHP lacks stream_socket_client';
            return false;
        }
        $tried = $this->socket !== null ? array($this->socket) : self::candidates();
        foreach ($tried as $path) {
            $stream = stream_socket_client('unix://' . $path, $number, $text, max(0.001, $deadline - microtime(true)));
            if ($stream) {
                $this->socket = $path;
                return $stream;
            }
            // A place that is not there is no error: mirrord may be elsewhere, or not installed.
            if ($number !== 2 && $number !== 20) {
                $this->error = "$path: $text";
            }
        }
        if ($this->error === '' && defined('MIRRORD_SOCKET') && MIRRORD_SOCKET !== '') {
            $this->error = MIRRORD_SOCKET . ': there is no such socket';
        }
        return false;
    }

    private function write($stream, $bytes, $deadline)
    {
        while ($bytes !== '') {
            if (!$this->wait($stream, true, $deadline)) {
                return false;
            }
            $n = fwrite($stream, $bytes);
            if ($n === false) {
                break; // it was cut off; there may be an answer that says why
            }
            $bytes = (string) substr($bytes, $n);
        }
        return true;
    }

    private function read($stream, $deadline)
    {
        $line = '';
        while (strpos($line, "\n") === false) {
            if (!$this->wait($stream, false, $deadline)) {
                return null;
            }
            $piece = fread($stream, 65536);
            if ($piece === false || $piece === '') {
                if (feof($stream)) {
                    $this->error = 'mirrord ended the conversation';
                    return null;
                }
                usleep(1000);
            }
            $line .= (string) $piece;
            if (strlen($line) > self::REPLY_MAX) {
                $this->error = 'the answer of mirrord does not end';
                return null;
            }
        }
        return $line;
    }

    private function wait($stream, $writes, $deadline)
    {
        while (($left = $deadline - microtime(true)) > 0) {
            $read = $writes ? null : array($stream);
            $write = $writes ? array($stream) : null;
            $none = null;
            $n = stream_select($read, $write, $none, (int) $left, (int) (fmod($left, 1) * 1000000));
            if ($n) {
                return true;
            }
            if ($n === false) {
                usleep(1000); // a signal
            }
        }
        return false;
    }

    /** The sockets that this site's may be: mirrord names them by a hash of the root, too. */
    public static function candidates()
    {
        if (defined('MIRRORD_SOCKET')) {
            return MIRRORD_SOCKET === '' ? array() : array(MIRRORD_SOCKET);
        }
        $sites = defined('MIRRORD_SITES') ? MIRRORD_SITES : self::SITES;
        $out = array();
        foreach (array(ABSPATH, defined('WP_CONTENT_DIR') ? WP_CONTENT_DIR : ABSPATH) as $place) {
            foreach (array($place, realpath($place)) as $dir) {
                $dir = rtrim((string) $dir, '/');
                for ($i = 0; $i < 5 && strlen($dir) > 1; $i++, $dir = dirname($dir)) {
                    $out[] = $sites . '/root:' . hash('fnv1a64', $dir);
                }
            }
        }
        return array_values(array_unique($out));
    }
}

/** Which paths are waited for, when, and for how long. */
final class Mirrord_Barrier
{
    const PATHS_MAX = 200;      // in one question
    const AGAIN_SECONDS = 30;   // after waiting in vain, for so long
    const IMPATIENT = 0.25;     // no longer than this is waited
    const RECENT_SECONDS = 120; // what was written before the request by more than this is there already
    const NOTE = 'mirrord_barrier_late';

    private static $instance = null;
    private $client;
    private $site = null;       // the answer to `status`
    private $site_time = 0;
    private $pending = array(); // path => is it code? They are waited for when the request ends
    private $seen = array();    // path => what it was when it was waited for
    private $late_until = 0;

    public function __construct($client = null)
    {
        $this->client = $client ?: new Mirrord_Client();
    }

    public static function instance()
    {
        if (!self::$instance) {
            self::$instance = new self();
        }
        return self::$instance;
    }

    public function client()
    {
        return $this->client;
    }

    public function hook()
    {
        $last = PHP_INT_MAX;
        add_filter('wp_handle_upload', array($this, 'on_upload'), $last);
        add_filter('update_attached_file', array($this, 'on_attached'), $last);
        add_filter('wp_generate_attachment_metadata', array($this, 'on_metadata'), $last, 2);
        add_filter('wp_update_attachment_metadata', array($this, 'on_metadata'), $last, 2);
        add_filter('image_make_intermediate_size', array($this, 'on_later'), $last);
        add_filter('wp_delete_file', array($this, 'on_later'), $last);
        add_action('upgrader_process_complete', array($this, 'on_upgrade'), $last, 2);
        add_action('deleted_plugin', array($this, 'on_deleted_plugin'), $last);
        add_action('deleted_theme', array($this, 'on_deleted_theme'), $last);
        add_action('wp_ajax_edit-theme-plugin-file', array($this, 'on_editor'), 0);
        add_action('load-plugin-editor.php', array($this, 'on_editor'), 0);
        add_action('load-theme-editor.php', array($this, 'on_editor'), 0);
        add_action('shutdown', array($this, 'on_shutdown'), 0); // before the answer is sent
        add_filter('site_status_tests', array('Mirrord_Health', 'add'));
    }

    // Hooks ----------------------------------------------------------------------------------------------------------

    public function on_upload($upload)
    {
        if (is_array($upload) && !empty($upload['file']) && empty($upload['error'])) {
            $this->wait(array($upload['file']));
        }
        return $upload;
    }

    public function on_attached($file)
    {
        try {
            $this->wait($this->unseen(is_string($file) ? array($file) : array()));
        } catch (\Throwable $e) {
            $this->note(array(), $e->getMessage());
        }
        return $file;
    }

    /** Before the database knows a size: those that were made meanwhile. */
    public function on_metadata($data, $id = 0)
    {
        try {
            $this->wait($this->unseen(self::files_of($data, $id)));
        } catch (\Throwable $e) {
            $this->note(array(), $e->getMessage());
        }
        return $data;
    }

    /** A picture that was saved, or a file that is about to be deleted. */
    public function on_later($file)
    {
        return $this->later($file, false);
    }

    private function later($file, $code)
    {
        if (is_string($file) && $file !== '') {
            $this->pending[$file] = $code || !empty($this->pending[$file]);
        }
        return $file;
    }

    public function on_upgrade($upgrader = null, $extra = array())
    {
        try {
            $this->wait(self::upgraded($upgrader, (array) $extra), true);
        } catch (\Throwable $e) {
            $this->note(array(), $e->getMessage());
        }
    }

    public function on_deleted_plugin($plugin)
    {
        $this->later(self::plugin_path((string) $plugin), true);
    }

    public function on_deleted_theme($theme)
    {
        $this->later(self::theme_path((string) $theme), true);
    }

    public function on_editor()
    {
        // Only which path is looked at is taken from the request; whether it may be written is WordPress's to say.
        // phpcs:ignore WordPress.Security.NonceVerification
        $post = isset($_POST) ? wp_unslash($_POST) : array();
        $file = isset($post['file']) && is_string($post['file']) ? $post['file'] : '';
        $theme = isset($post['theme']) && is_string($post['theme']) ? $post['theme'] : '';
        if ($file !== '' && strpos($file . $theme, '..') === false) {
            $path = $theme !== '' ? self::theme_path($theme) . '/' . $file : WP_PLUGIN_DIR . '/' . $file;
            $this->later($path, true);
        }
    }

    public function on_shutdown()
    {
        $pending = array_map('strval', array_keys($this->pending));
        $code = in_array(true, $this->pending, true);
        $this->pending = array();
        $this->wait($pending, $code);
    }

    // Paths ----------------------------------------------------------------------------------------------------------

    private static function files_of($data, $id)
    {
        $file = get_attached_file($id, true);
        if (!is_string($file) || $file === '') {
            return array();
        }
        $out = array($file);
        if (is_array($data) && !empty($data['original_image']) && is_string($data['original_image'])) {
            $out[] = dirname($file) . '/' . $data['original_image'];
        }
        $sizes = is_array($data) && isset($data['sizes']) && is_array($data['sizes']) ? $data['sizes'] : array();
        foreach ($sizes as $size) {
            if (is_array($size) && !empty($size['file']) && is_string($size['file'])) {
                $out[] = dirname($file) . '/' . $size['file'];
            }
        }
        return $out;
    }

    private static function plugin_path($plugin)
    {
        $dir = dirname($plugin);
        return WP_PLUGIN_DIR . '/' . ($dir === '.' ? $plugin : $dir);
    }

    private static function theme_path($theme)
    {
        return get_theme_root($theme) . '/' . $theme;
    }

    /** The directories that an update or an installation has written. */
    private static function upgraded($upgrader, array $extra)
    {
        $type = isset($extra['type']) ? $extra['type'] : '';
        $result = is_object($upgrader) && isset($upgrader->result) ? $upgrader->result : null;
        $out = array();
        if ($type === 'core') {
            $out = array(ABSPATH . 'wp-admin', ABSPATH . 'wp-includes');
        } elseif ($type === 'translation') {
            $out = array(WP_LANG_DIR);
        }
        foreach (array('plugin', 'theme') as $kind) {
            $names = isset($extra[$kind . 's']) ? (array) $extra[$kind . 's'] : array();
            $names = isset($extra[$kind]) ? array($extra[$kind]) : $names;
            foreach (array_filter($names, 'is_string') as $name) {
                $out[] = $kind === 'plugin' ? self::plugin_path($name) : self::theme_path($name);
            }
        }
        if (!$out && is_array($result) && !empty($result['destination']) && is_string($result['destination'])) {
            $out[] = rtrim($result['destination'], '/');
        }
        return $out;
    }

    /** Of those: what was written lately, and not waited for as it is now. */
    private function unseen(array $paths)
    {
        $since = (isset($_SERVER['REQUEST_TIME']) ? (int) $_SERVER['REQUEST_TIME'] : time()) - self::RECENT_SECONDS;
        $out = array();
        foreach (array_unique($paths) as $path) {
            clearstatcache(true, $path);
            $st = @stat($path);
            $is = $st ? $st['ino'] . ' ' . $st['size'] . ' ' . $st['mtime'] . ' ' . $st['ctime'] : '';
            if (!$st || $st['ctime'] < $since || (isset($this->seen[$path]) && $this->seen[$path] === $is)) {
                continue;
            }
            $this->seen[$path] = $is;
            $out[] = $path;
        }
        return $out;
    }

    /** As mirrord knows it: relative to the root, links on the way followed. null: it is not in the mirrored tree. */
    private function relative($path)
    {
        $slash = strrpos($path, '/');
        $dir = (string) substr($path, 0, (int) $slash);
        $rest = (string) substr($path, (int) $slash + 1);
        for ($i = 0; ($real = @realpath($dir)) === false && strlen($dir) > 1 && $i < 64; $i++) {
            $rest = basename($dir) . '/' . $rest; // its directory was deleted, too
            $dir = dirname($dir);
        }
        $whole = ($real === false ? $dir : $real) . '/' . $rest;
        $root = defined('MIRRORD_ROOT') ? MIRRORD_ROOT : (isset($this->site['root']) ? $this->site['root'] : '');
        foreach (array($root, @realpath($root)) as $above) {
            $above = rtrim((string) $above, '/');
            if ($above !== '' && strncmp($whole, $above . '/', strlen($above) + 1) === 0) {
                return self::utf8((string) substr($whole, strlen($above) + 1));
            }
        }
        return null;
    }

    /** JSON carries no other names: then the directory it is in. */
    private static function utf8($path)
    {
        while ($path !== '' && $path !== '.' && preg_match('//u', $path) !== 1) {
            $path = dirname($path);
        }
        return $path === '' || $path === '.' ? null : $path;
    }

    // Waiting --------------------------------------------------------------------------------------------------------

    public function seconds()
    {
        $seconds = defined('MIRRORD_SECONDS') ? MIRRORD_SECONDS : 3;
        return is_numeric($seconds) ? max(0.0, (float) $seconds) : 3.0;
    }

    /** The state of this site here, or null: there is no mirrord. A minute old at most. */
    public function site($seconds)
    {
        if (!$this->site || time() - $this->site_time > 60) {
            $this->site = $this->client->ask(array('do' => 'status'), $seconds);
            $this->site_time = time();
        }
        return $this->site;
    }

    /**
     * Until these paths are on all secondaries that are there, or the time is over. True: they are. Of code PHP
     * there has to be told, too, where it does not look by itself (on-commit, opcache.validate_timestamps=0).
     */
    public function wait(array $paths, $code = false)
    {
        try {
            foreach ($paths as $path) {
                unset($this->pending[$path]);
            }
            return !$paths || $this->wait_for($paths, $this->patience(), $code);
        } catch (\Throwable $e) {
            $this->note($paths, $e->getMessage());
            return false;
        }
    }

    private function wait_for(array $paths, $seconds, $code)
    {
        $why = $this->flush($paths, $seconds, $code);
        // No mirrord here is no news; one that cannot be asked is.
        return $why === null || $why === '' ? $why === '' : $this->note($paths, $why);
    }

    /** Why these are not there; '' when they are (or are not mirrored); null: there is no mirrord here. */
    public function flush(array $paths, $seconds, $code = false)
    {
        $deadline = microtime(true) + $seconds;
        if (!$this->site($seconds)) {
            return $this->client->error === '' ? null : $this->client->error;
        }
        $relative = array_values(array_unique(array_filter(array_map(array($this, 'relative'), $paths), 'is_string')));
        foreach (array_chunk($relative, self::PATHS_MAX) as $some) {
            $why = $this->flush_some($some, $deadline, $code);
            if ($why !== '') {
                return $why;
            }
        }
        return '';
    }

    private function flush_some(array $relative, $deadline, $code)
    {
        $why = 'there was no time';
        while (($left = $deadline - microtime(true)) > 0.001) {
            // mirrord's own limit is a little shorter, so that it can still say what is missing.
            $request = array('do' => 'flush', 'paths' => $relative, 'timeout_ms' => (int) max(1, $left * 1000 - 50),
                'hook' => $code);
            $reply = $this->client->ask($request, $left);
            if ($reply && !empty($reply['level'])) {
                return '';
            }
            $why = $reply ? self::waiting_text($reply) : $this->client->error;
            // Busy, or for longer than mirrord waits at a time: again. What is held or paused is not.
            $busy = !$reply && $this->client->code === 6;
            if (!$busy && (!$reply || microtime(true) + 1 < $deadline - $left + 30)) {
                break;
            }
            usleep((int) max(0, min(0.05, $deadline - microtime(true)) * 1000000));
        }
        return $why;
    }

    private static function waiting_text(array $reply)
    {
        $out = array();
        foreach (isset($reply['waiting']) && is_array($reply['waiting']) ? $reply['waiting'] : array() as $w) {
            if (is_array($w)) {
                $peer = isset($w['peer']) && is_string($w['peer']) ? $w['peer'] : '';
                $why = isset($w['why']) && is_string($w['why']) ? $w['why'] : 'not there';
                $out[] = ($peer !== '' ? "$peer: " : '') . $why;
            }
        }
        return $out ? implode('; ', array_slice($out, 0, 4)) : 'not in time';
    }

    /** Who has just waited in vain does not wait so long again: an upload has a dozen files. */
    private function patience()
    {
        $note = time() < $this->late_until ? null : get_site_transient(self::NOTE);
        if (is_array($note) && isset($note['time']) && time() < $note['time'] + self::AGAIN_SECONDS) {
            $this->late_until = $note['time'] + self::AGAIN_SECONDS;
        }
        return time() < $this->late_until ? min(self::IMPATIENT, $this->seconds()) : $this->seconds();
    }

    /** For the error log and Site Health. Always false. */
    private function note(array $paths, $why)
    {
        if (time() < $this->late_until) {
            return false;
        }
        $this->late_until = time() + self::AGAIN_SECONDS;
        $first = (string) reset($paths);
        error_log('mirrord: ' . ($first !== '' ? "$first is not known to be on the other servers: " : '') .
            preg_replace('/[\x00-\x1f\x7f]/', '?', (string) $why));
        set_site_transient(self::NOTE, array('time' => time(), 'path' => $first, 'why' => (string) $why), 86400);
        return false;
    }
}

/** Tools > Site Health: each secondary's state and lag. */
final class Mirrord_Health
{
    public static function add($tests)
    {
        if (is_array($tests)) {
            $tests['direct']['mirrord'] = array('label' => 'mirrord', 'test' => array(__CLASS__, 'test'));
        }
        return $tests;
    }

    /** "web2: level", and how bad it is: 0 well, 1 to be looked at, 2 broken */
    public static function secondary(array $s)
    {
        $get = static function ($key, $otherwise) use ($s) {
            return isset($s[$key]) && is_scalar($s[$key]) ? $s[$key] : $otherwise;
        };
        $state = (string) $get('state', '');
        $error = (string) $get('error', '');
        $lag = (float) $get('behind_ms', 0) / 1000;
        $owed = (int) $get('owed_paths', 0);
        $behind = sprintf('%d path%s behind', $owed, $owed === 1 ? '' : 's');
        $bad = 0;
        if (in_array($state, array('held', 'failed', 'fenced'), true)) {
            $text = $state . ($error !== '' ? ": $error" : '');
            $bad = 2;
        } elseif ($get('connection', 'up') !== 'up') {
            $text = sprintf('away for %d s', (float) $get('away_ms', 0) / 1000) . ($owed > 0 ? ", $behind" : '');
            $bad = 1;
        } elseif ($state === 'level') {
            $text = 'level';
        } else {
            $text = sprintf('%s, %s, the oldest for %.1f s', $state, $behind, $lag);
            $bad = $state === 'paused' || $lag > 60 ? 1 : 0;
        }
        if ((int) $get('failing', 0) > 0) {
            $text .= sprintf('; %d of them cannot be stored%s', $get('failing', 0), $error !== '' ? ": $error" : '');
            $bad = 2;
        }
        return array('name' => (string) $get('name', '?'), 'text' => $text, 'bad' => $bad, 'lag' => $lag);
    }

    public static function secondaries(array $site)
    {
        $all = isset($site['secondaries']) && is_array($site['secondaries']) ? $site['secondaries'] : array();
        return array_map(array(__CLASS__, 'secondary'), array_values(array_filter($all, 'is_array')));
    }

    public static function test()
    {
        $barrier = Mirrord_Barrier::instance();
        $site = $barrier->client()->ask(array('do' => 'status'), 2);
        if (!$site) {
            $why = $barrier->client()->error;
            return self::result($why === '' ? 'recommended' : 'critical', 'mirrord cannot be asked', array(
                $why !== '' ? $why : 'No socket of this site is found: see the comment in mirrord-barrier.php.'));
        }
        $role = isset($site['role']) ? $site['role'] : '';
        if ($role !== 'primary') {
            return self::result('critical', 'This server is not the primary', array_merge(array(sprintf(
                '%s is a secondary of this site, its primary is %s: what is uploaded or updated here is not mirrored.',
                isset($site['host']) ? $site['host'] : '?', isset($site['primary']) ? $site['primary'] : '?')),
                self::here(isset($site['health']) && is_array($site['health']) ? $site['health'] : array())));
        }
        return self::of_primary($site, get_site_transient(Mirrord_Barrier::NOTE));
    }

    /** What a load balancer is told of this server: one line, or none. */
    private static function here(array $health)
    {
        if (!isset($health['healthy'], $health['state'], $health['why']) || !is_string($health['why'])) {
            return array();
        }
        return array(sprintf('This server is %s: %s%s', $health['healthy'] ? 'up' : 'DOWN', $health['state'],
            $health['why'] === '' ? '' : ', ' . $health['why']));
    }

    private static function of_primary(array $site, $note)
    {
        $lines = array();
        $bad = in_array(isset($site['state']) ? $site['state'] : '', array('held', 'failed'), true) ? 2 : 0;
        if ($bad) {
            $lines[] = $site['state'] . ': ' . (isset($site['error']) ? $site['error'] : '');
        }
        foreach (self::secondaries($site) as $s) {
            $lines[] = $s['name'] . ': ' . $s['text'];
            $bad = max($bad, $s['bad']);
        }
        if (is_array($note) && isset($note['time'], $note['path'], $note['why'])) {
            $lines[] = sprintf('%s UTC: waited in vain for %s: %s', gmdate('Y-m-d H:i:s', (int) $note['time']),
                $note['path'], $note['why']);
            $bad = max($bad, 1);
        }
        $status = array('good', 'recommended', 'critical');
        return self::result($status[$bad], $bad ? 'Some servers are behind' : 'All servers have the same files', $lines);
    }

    private static function result($status, $label, array $lines)
    {
        $colors = array('good' => 'blue', 'recommended' => 'orange', 'critical' => 'red');
        $items = '';
        foreach ($lines as $line) {
            $items .= '<li>' . esc_html($line) . '</li>';
        }
        return array(
            'label' => $label,
            'status' => $status,
            'badge' => array('label' => 'mirrord', 'color' => $colors[$status]),
            'description' => '<p>mirrord keeps the files of this site equal on several web servers.</p><ul>' . $items .
                '</ul>',
            'actions' => '',
            'test' => 'mirrord',
        );
    }
}

/** Asks mirrord about this site. */
final class Mirrord_Command
{
    /**
     * Shows each secondary's state.
     *
     * ## OPTIONS
     *
     * [--format=<format>]
     * : table, json, csv or yaml.
     */
    public function status($args, $options)
    {
        $client = Mirrord_Barrier::instance()->client();
        $site = $client->ask(array('do' => 'status'), 5);
        if (!$site) {
            WP_CLI::error($client->error ?: 'there is no socket of this site: is mirrord installed, does it run?');
            return;
        }
        WP_CLI::log(sprintf('%s is %s of %s (%s)', $site['host'], $site['role'], $site['site'], $client->socket()));
        $format = isset($options['format']) ? $options['format'] : 'table';
        WP_CLI\Utils\format_items($format, Mirrord_Health::secondaries($site), array('name', 'text', 'lag'));
    }

    /**
     * Waits until paths are on the secondaries: those named, absolute or relative to WordPress, or wp-content.
     *
     * ## OPTIONS
     *
     * [<path>...]
     * : Files or directories.
     *
     * [--timeout=<seconds>]
     * : 60 by default; mirrord's own limit is 30 at a time.
     */
    public function flush($args, $options)
    {
        $seconds = isset($options['timeout']) ? (float) $options['timeout'] : 60.0;
        $paths = array();
        foreach ($args ?: array(WP_CONTENT_DIR) as $path) {
            $paths[] = $path !== '' && $path[0] === '/' ? rtrim($path, '/') : ABSPATH . rtrim($path, '/');
        }
        $why = Mirrord_Barrier::instance()->flush($paths, $seconds);
        if ($why !== '') {
            WP_CLI::error($why === null ? 'there is no socket of this site' : $why);
            return;
        }
        WP_CLI::success('they are there');
    }
}

if (!defined('MIRRORD_SOCKET') || MIRRORD_SOCKET !== '') {
    Mirrord_Barrier::instance()->hook();
    if (defined('WP_CLI') && WP_CLI) {
        WP_CLI::add_command('mirrord', 'Mirrord_Command');
    }
}

endif;
