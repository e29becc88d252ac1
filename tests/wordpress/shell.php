<?php
/*
 * What an administrator does to a WordPress, by WordPress's own code, from the command line:
 *
 *     php shell.php ROOT OPERATION [ARGUMENT…]
 *
 * prints one line of JSON at its end, and exits with 1 after an error.
 */

error_reporting(E_ALL & ~E_DEPRECATED);
[, $root, $operation] = $argv;
$arguments = array_slice($argv, 3);
$_SERVER += ['HTTP_HOST' => 'shop.example', 'REQUEST_METHOD' => 'GET', 'REQUEST_URI' => '/',
    'SERVER_PROTOCOL' => 'HTTP/1.1', 'SERVER_NAME' => 'shop.example'];
if ($operation === 'install')
    define('WP_INSTALLING', true);
define('WP_ADMIN', true);
require "$root/wp-load.php";
foreach (['admin', 'upgrade', 'image', 'image-edit', 'file', 'media', 'class-wp-upgrader'] as $file)
    require_once ABSPATH . "wp-admin/includes/$file.php";

function stop($what)
{
    if (is_wp_error($what))
        $what = implode('; ', $what->get_error_messages());
    fwrite(STDERR, is_string($what) ? "$what\n" : var_export($what, true) . "\n");
    exit(1);
}

function must($result, $what)
{
    if ($result === false || $result === null || is_wp_error($result)) {
        fwrite(STDERR, "$what: ");
        stop($result);
    }
    return $result;
}

/* An update as the dashboard's button starts it: offered by the transient, with brackets. */
function update($upgrader, $kind, $key, $zip)
{
    $offers = (object) ['last_checked' => time(), 'checked' => [$key => '0'], 'response' => [
        $key => $kind === 'plugins'
            ? (object) ['slug' => dirname($key), 'plugin' => $key, 'new_version' => '999', 'package' => $zip]
            : ['theme' => $key, 'new_version' => '999', 'package' => $zip]]];
    set_site_transient("update_$kind", $offers);
    $results = $upgrader->bulk_upgrade([$key]);
    return must($results[$key] ?? false, "update of $key");
}

function files_of($id)
{
    $upload = wp_get_upload_dir();
    $meta = wp_get_attachment_metadata($id);
    $file = get_attached_file($id);
    $paths = [$file];
    if (!empty($meta['original_image']))
        $paths[] = path_join(dirname($file), $meta['original_image']);
    foreach ($meta['sizes'] ?? [] as $size)
        $paths[] = path_join(dirname($file), $size['file']);
    return array_values(array_unique(array_map(fn($p) => substr($p, strlen(ABSPATH)), $paths)));
}

$skin = new WP_Ajax_Upgrader_Skin();
$operations = [
    'install' => function () {
        wp_install('Shop', 'admin', 'admin@shop.example', true, '', 'a throwaway one');
        return get_option('siteurl');
    },
    'version' => fn() => get_bloginfo('version'),
    'files' => fn($id) => files_of((int) $id),
    'health' => fn() => call_user_func(apply_filters('site_status_tests',
        ['direct' => [], 'async' => []])['direct']['mirrord']['test']),
    'rotate' => function ($id) {
        wp_set_current_user(1);
        $_REQUEST += ['history' => json_encode([['r' => 90]]), 'target' => 'all', 'do' => 'save',
            'context' => 'edit-attachment'];
        $result = wp_save_image((int) $id);
        if (!empty($result->error))
            stop($result->error);
        return files_of((int) $id);
    },
    'delete-media' => fn($id) => (bool) must(wp_delete_attachment((int) $id, true), 'delete'),
    'install-plugin' => fn($zip) => must((new Plugin_Upgrader($skin))->install($zip), 'install'),
    'activate' => function ($plugin) {
        wp_set_current_user(1);
        $result = activate_plugin($plugin);
        return is_wp_error($result) ? stop($result) : true;
    },
    'active' => fn() => get_option('active_plugins'),
    'update-plugin' => fn($plugin, $zip) => (bool) update(new Plugin_Upgrader($skin), 'plugins', $plugin, $zip),
    'delete-plugin' => function ($plugin) {
        wp_set_current_user(1);
        deactivate_plugins($plugin);
        return must(delete_plugins([$plugin]), 'delete');
    },
    'install-theme' => fn($zip) => must((new Theme_Upgrader($skin))->install($zip), 'install'),
    'update-theme' => fn($theme, $zip) => (bool) update(new Theme_Upgrader($skin), 'themes', $theme, $zip),
    'install-language' => function ($zip, $language) {
        $offer = (object) ['type' => 'core', 'slug' => 'default', 'language' => $language,
            'version' => '1', 'updated' => '2026-01-01 00:00:00', 'package' => $zip, 'autoupdate' => true];
        $result = (new Language_Pack_Upgrader(new Automatic_Upgrader_Skin()))->bulk_upgrade([$offer]);
        return (bool) must($result[0] ?? false, 'language pack');
    },
];

if (!isset($operations[$operation]))
    stop("no operation $operation");
ob_start();
$result = $operations[$operation](...$arguments);
ob_end_clean();
echo json_encode($result), "\n";
