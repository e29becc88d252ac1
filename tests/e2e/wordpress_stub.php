<?php
/**
 * As much of WordPress as the must-use plugin meets: hooks, transients, attachments. Loads the plugin, runs the PHP code
 * that is on standard input, which may fill $out, ends the request, and prints one line of JSON: what standard output
 * got besides, $out, and the notes that were left.
 *
 * Usage: wordpress_stub.php PLUGIN CONTENT-ROOT, with constants as JSON in CONSTANTS.
 */
error_reporting(E_ALL);
ini_set('display_errors', '1'); // whatever is complained about is output, which there must not be
ini_set('log_errors', '0');
ini_set('error_log', getenv('ERROR_LOG'));

define('ABSPATH', $argv[2] . '/');
define('WP_CONTENT_DIR', ABSPATH . 'wp-content');
define('WP_PLUGIN_DIR', WP_CONTENT_DIR . '/plugins');
define('WP_LANG_DIR', WP_CONTENT_DIR . '/languages');
foreach (json_decode(getenv('CONSTANTS') ?: '{}', true) as $name => $value) {
    define($name, $value);
}

$hooks = array();
$transients = array();
$attached = array();

function add_filter($name, $callback, $priority = 10, $arguments = 1)
{
    $GLOBALS['hooks'][$name][$priority][] = array($callback, $arguments);
    ksort($GLOBALS['hooks'][$name]);
    return true;
}

function apply_filters($name, $value, ...$more)
{
    foreach (isset($GLOBALS['hooks'][$name]) ? $GLOBALS['hooks'][$name] : array() as $callbacks) {
        foreach ($callbacks as $one) {
            $value = call_user_func_array($one[0], array_slice(array_merge(array($value), $more), 0, $one[1]));
        }
    }
    return $value;
}

function add_action($name, $callback, $priority = 10, $arguments = 1)
{
    return add_filter($name, $callback, $priority, $arguments);
}

function do_action($name, ...$arguments)
{
    apply_filters($name, ...($arguments ?: array('')));
}

function get_site_transient($name)
{
    return isset($GLOBALS['transients'][$name]) ? $GLOBALS['transients'][$name] : false;
}

function set_site_transient($name, $value, $seconds)
{
    $GLOBALS['transients'][$name] = $value;
    return true;
}

function get_attached_file($id, $unfiltered = false)
{
    return isset($GLOBALS['attached'][$id]) ? $GLOBALS['attached'][$id] : false;
}

function get_theme_root($theme = '')
{
    return WP_CONTENT_DIR . '/themes';
}

function esc_html($text)
{
    return htmlspecialchars((string) $text, ENT_QUOTES);
}

function wp_unslash($value)
{
    return is_array($value) ? array_map('wp_unslash', $value) : stripslashes((string) $value);
}

$out = array();
ob_start();
require $argv[1];
require $argv[1]; // some installations load it twice
eval(stream_get_contents(STDIN));
do_action('shutdown');
$said = ob_get_clean();
echo json_encode(array('said' => $said, 'out' => $out, 'transients' => $transients)), "\n";
