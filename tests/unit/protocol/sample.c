/* The samples. Values are arbitrary but all different, so that swapped fields show. */
#include "tests/unit/protocol/sample.h"

struct digest sample_digest(uint8_t first)
{
    struct digest d;
    for (size_t i = 0; i < sizeof(d.b); i++)
        d.b[i] = (uint8_t)(first + i);
    return d;
}

struct msg_sums sample_sums(void)
{
    return (struct msg_sums){.meta = sample_digest(0x10),
        .owner = sample_digest(0x30),
        .content = sample_digest(0x50),
        .entries = 4711,
        .files = 4000,
        .bytes = 1ull << 40,
        .unproven = 12};
}

struct entry sample_file(void)
{
    return (struct entry){.type = ENTRY_FILE,
        .has_digest = true,
        .mode = 0644,
        .mtime = 1700000000,
        .mtime_nsec = 123456789,
        .size = 5,
        .owner = bytes_of("www-data"),
        .group = bytes_of("web"),
        .acl = bytes_of("acl"),
        .digest = sample_digest(0x70)};
}

struct entry sample_dir(void)
{
    return (struct entry){.type = ENTRY_DIR,
        .mode = 02755,
        .mtime = -1,
        .mtime_nsec = 999999999,
        .owner = bytes_of("www-data"),
        .group = bytes_of("web"),
        .acl = bytes_of("acl"),
        .default_acl = bytes_of("default")};
}

struct entry sample_link(void)
{
    return (struct entry){.type = ENTRY_LINK,
        .mtime = 1,
        .mtime_nsec = 2,
        .owner = bytes_of("root"),
        .group = bytes_of("root"),
        .target = bytes_of("../elsewhere")};
}

struct msg_entry sample_atom(struct entry e, uint8_t how)
{
    return (struct msg_entry){
        .batch = 3, .atom = 9, .path = bytes_of("a/b"), .how = how, .entry = e};
}

static void sample_hello(struct wire_writer *w)
{
    struct msg_hello m = {.magic = MSG_MAGIC,
        .oldest = 1,
        .newest = 2,
        .session = 0x0102030405060708,
        .host_id = sample_digest(1),
        .software = bytes_of("mirrord 0.1.0"),
        .host = bytes_of("web1")};
    msg_put_hello(w, &m);
}

static void sample_error(struct wire_writer *w)
{
    struct msg_error m = {REASON_VERSION, bytes_of("no common version")};
    msg_put_error(w, &m);
}

static void sample_ping(struct wire_writer *w)
{
    msg_put_ping(w, &(struct msg_ping){77});
}

static void sample_pong(struct wire_writer *w)
{
    msg_put_pong(w, &(struct msg_ping){77});
}

struct msg_open sample_open(void)
{
    return (struct msg_open){.site = 6,
        .name = bytes_of("example.com"),
        .root = bytes_of("/srv/www/example.com"),
        .epoch = 8,
        .epoch_id = sample_digest(2),
        .session = 12,
        .known = 11,
        .flags = OPEN_OWNER | OPEN_SPECIAL_BITS,
        .max_delete_percent = 20,
        .max_delete_count = 200,
        .keep_days = 14,
        .unit_grace = 60,
        .rule_count = 2,
        .rules = {{0, bytes_of("wp-content/cache/")}, {1, bytes_of("*.keep")}}};
}

static void sample_open_site(struct wire_writer *w)
{
    struct msg_open m = sample_open();
    msg_put_open(w, &m);
}

static void sample_open_one_shot(struct wire_writer *w)
{
    msg_put_open(w, &(struct msg_open){.site = 1, .flags = OPEN_ADOPT | OPEN_FORCE});
}

static void sample_opened(struct wire_writer *w)
{
    struct msg_opened m = {.site = 6,
        .state = ROOT_OURS,
        .caps = CAPS_ALL,
        .root = sample_dir(),
        .sums = sample_sums(),
        .free_bytes = 1ull << 33,
        .deleted = 31,
        .deleted_from = 5000,
        .session = 11};
    msg_put_opened(w, &m);
}

static void sample_opened_dry(struct wire_writer *w)
{
    msg_put_opened(w, &(struct msg_opened){.site = 6, .state = ROOT_CREATED});
}

static void sample_close(struct wire_writer *w)
{
    msg_put_close(w, &(struct msg_close){6});
}

static void sample_site_error(struct wire_writer *w)
{
    struct msg_site_error m = {
        .site = 6, .reason = REASON_NO_ROOT, .errno_value = 2, .text = bytes_of("/srv/www: gone")};
    msg_put_site_error(w, &m);
}

static void sample_fenced(struct wire_writer *w)
{
    struct msg_site_error m = {.site = 6,
        .reason = REASON_FENCED,
        .text = bytes_of("promoted"),
        .epoch = 9,
        .epoch_id = sample_digest(3),
        .primary = bytes_of("web2")};
    msg_put_site_error(w, &m);
}

static void sample_level(struct wire_writer *w)
{
    msg_put_level(w, &(struct msg_level){6});
}

static void sample_owed(struct wire_writer *w)
{
    msg_put_owed(w, &(struct msg_owed){6, OWED_PAUSED, 3, 1, 300000});
}

static void sample_owed_nothing(struct wire_writer *w)
{
    msg_put_owed(w, &(struct msg_owed){.site = 6, .flags = OWED_LEVEL});
}

static void sample_claim(struct wire_writer *w)
{
    struct msg_claim m = {.request = 4,
        .name = bytes_of("example.com"),
        .epoch = 9,
        .epoch_id = sample_digest(3),
        .take = 1,
        .primary = bytes_of("web2")};
    msg_put_claim(w, &m);
}

static void sample_claimed(struct wire_writer *w)
{
    struct msg_claimed m = {.request = 4,
        .reason = REASON_FENCED,
        .epoch = 10,
        .epoch_id = sample_digest(4),
        .primary = bytes_of("web3"),
        .text = bytes_of("web3 is the primary")};
    msg_put_claimed(w, &m);
}

static void sample_space(struct wire_writer *w)
{
    msg_put_space(w, &(struct msg_space){6, 1ull << 33, 1ull << 40, 5000, 70000, 1ull << 30, 100});
}

static void sample_proving(struct wire_writer *w)
{
    msg_put_proving(w, &(struct msg_proving){6, 1ull << 33});
}

static void sample_trash(struct wire_writer *w)
{
    msg_put_trash(w, &(struct msg_trash){6, 3, 1ull << 34, 4000});
}

static void sample_hook(struct wire_writer *w)
{
    struct msg_hook m = {6, 3, 1700000000, bytes_of("it ended with exit code 1")};
    msg_put_hook(w, &m);
}

static void sample_hook_well(struct wire_writer *w)
{
    msg_put_hook(w, &(struct msg_hook){.site = 6});
}

static void sample_tell(struct wire_writer *w)
{
    msg_put_tell(w, &(struct msg_tell){6, 1ull << 36});
}

static void sample_told(struct wire_writer *w)
{
    msg_put_told(w, &(struct msg_tell){6, 1ull << 36});
}

static void sample_progress(struct wire_writer *w)
{
    msg_put_progress(w, &(struct msg_progress){6, 1ull << 35});
}

static void sample_drift(struct wire_writer *w)
{
    struct bytes path = bytes_of("wp-content/mu-plugins/x.php");
    msg_put_drift(w, &(struct msg_drift){6, DRIFT_CHANGED, path, sample_file()});
}

static void sample_drift_added(struct wire_writer *w)
{
    msg_put_drift(w, &(struct msg_drift){6, DRIFT_ADDED, bytes_of("a"), {0}});
}

static void sample_drift_times(struct wire_writer *w)
{
    msg_put_drift(w, &(struct msg_drift){6, DRIFT_TIMES, bytes_of(""), sample_dir()});
}

static void sample_list(struct wire_writer *w)
{
    msg_put_list(w, &(struct msg_list){21, 6, bytes_of("wp-content/uploads"), {0}});
}

static void sample_list_root(struct wire_writer *w)
{
    msg_put_list(w, &(struct msg_list){22, 6, bytes_of(""), {0}});
}

static void sample_list_buckets(struct wire_writer *w)
{
    msg_put_list(w, &(struct msg_list){23, 6, bytes_of("a"), {"0123456789abcdef", 16}});
}

void sample_items(struct wire_writer *w)
{
    struct msg_item items[SAMPLE_ITEMS] = {
        {bytes_of("a dir"), sample_dir(), sample_sums()},
        {bytes_of("b\nfile"), sample_file(), {{{0}}}},
        {bytes_of("c\xfflink"), sample_link(), {{{0}}}},
    };
    for (size_t i = 0; i < SAMPLE_ITEMS; i++)
        msg_item_encode(w, &items[i]);
}

static void sample_listing(struct wire_writer *w)
{
    struct wire_writer items = {0};
    sample_items(&items);
    struct msg_listing m = {
        .request = 21, .last = 1, .count = SAMPLE_ITEMS, .items = {items.data, items.len}};
    msg_put_listing(w, &m);
    wire_free(&items);
}

static void sample_listing_differ(struct wire_writer *w)
{
    msg_put_listing(w, &(struct msg_listing){.request = 23, .last = 1, .differ = {"\2", 1}});
}

static void sample_listing_missing(struct wire_writer *w)
{
    msg_put_listing(w, &(struct msg_listing){.request = 22, .last = 1, .missing = 1});
}

static void sample_begin(struct wire_writer *w)
{
    msg_put_begin(w, &(struct msg_begin){3, 6});
}

static void sample_entry_root(struct wire_writer *w)
{
    struct msg_entry m = sample_atom(sample_dir(), HOW_META);
    m.path = bytes_of("");
    msg_put_entry(w, &m);
}

static void sample_entry_link(struct wire_writer *w)
{
    struct msg_entry m = sample_atom(sample_link(), HOW_META);
    msg_put_entry(w, &m);
}

static void sample_entry_meta(struct wire_writer *w)
{
    struct msg_entry m = sample_atom(sample_file(), HOW_META);
    msg_put_entry(w, &m);
}

static void sample_entry_inline(struct wire_writer *w)
{
    struct msg_entry m = sample_atom(sample_file(), HOW_INLINE);
    m.content = bytes_of("hello");
    msg_put_entry(w, &m);
}

static void sample_entry_packed(struct wire_writer *w)
{
    struct msg_entry m = sample_atom(sample_file(), HOW_INLINE);
    m.encoding = ENCODING_ZSTD;
    m.entry.size = 1000;
    m.content = bytes_of("packed");
    msg_put_entry(w, &m);
}

static void sample_entry_data(struct wire_writer *w)
{
    struct msg_entry m = sample_atom(sample_file(), HOW_DATA);
    m.entry.has_digest = false;
    msg_put_entry(w, &m);
}

static void sample_entry_delta(struct wire_writer *w)
{
    struct msg_entry m = sample_atom(sample_file(), HOW_DELTA);
    msg_put_entry(w, &m);
}

static void sample_entry_copy(struct wire_writer *w)
{
    struct msg_entry m = sample_atom(sample_file(), HOW_COPY);
    m.source = bytes_of("a/elsewhere");
    msg_put_entry(w, &m);
}

static void sample_entry_based(struct wire_writer *w)
{
    struct msg_entry m = sample_atom(sample_file(), HOW_BASED);
    struct digest base = sample_digest(7);
    m.content = (struct bytes){base.b, sizeof base.b};
    msg_put_entry(w, &m);
}

static void sample_pack(struct wire_writer *w)
{
    msg_put_pack(w, &(struct msg_pack){bytes_of("\x28\xb5\x2f\xfd...")});
}

static void sample_bundle(struct wire_writer *w)
{
    msg_put_bundle(w, &(struct msg_bundle){7, 4000000000, bytes_of("\x28\xb5\x2f\xfd...")});
}

static void sample_data(struct wire_writer *w)
{
    struct msg_data m = {9, DATA_CONTENT, ENCODING_RAW, bytes_of("hello")};
    msg_put_data(w, &m);
}

static void sample_data_delta(struct wire_writer *w)
{
    struct msg_data m = {9, DATA_DELTA, ENCODING_ZSTD, bytes_of("packed")};
    msg_put_data(w, &m);
}

static void sample_finish(struct wire_writer *w)
{
    msg_put_finish(w, &(struct msg_finish){9, sample_digest(0x70), 1ull << 32});
}

static void sample_unit(struct wire_writer *w)
{
    msg_put_unit(w, &(struct msg_unit){3, 11, bytes_of("wp-content/plugins/shop")});
}

static void sample_drop(struct wire_writer *w)
{
    msg_put_drop(w, &(struct msg_drop){3});
}

static void sample_delete(struct wire_writer *w)
{
    msg_put_delete(w, &(struct msg_delete){3, 10, bytes_of("a/gone")});
}

static void sample_move(struct wire_writer *w)
{
    msg_put_move(w, &(struct msg_move){3, 11, bytes_of("a/from"), bytes_of("b/to")});
}

static void sample_abort(struct wire_writer *w)
{
    msg_put_abort(w, &(struct msg_abort){9});
}

static void sample_commit(struct wire_writer *w)
{
    msg_put_commit(w, &(struct msg_commit){3});
}

static void sample_signature(struct wire_writer *w)
{
    struct msg_signature m = {.atom = 9, .last = 1, .content = bytes_of("sums")};
    msg_put_signature(w, &m);
}

static void sample_signature_none(struct wire_writer *w)
{
    msg_put_signature(w, &(struct msg_signature){.atom = 9, .last = 1, .none = 1});
}

static void sample_extents(struct wire_writer *w)
{
    struct wire_writer items = {0};
    msg_extent_encode(&items, &(struct msg_extent){sample_digest(0x10), 0x1122334455667788});
    msg_extent_encode(&items, &(struct msg_extent){sample_digest(0x20), 0});
    struct msg_extents m = {9, 1, MSG_EXTENT + 10, {items.data, items.len}};
    msg_put_extents(w, &m);
    wire_free(&items);
}

static void sample_range(struct wire_writer *w)
{
    msg_put_range(w, &(struct msg_range){9, RANGE_COPY, 1ull << 32, 1ull << 40});
}

static void sample_range_sign(struct wire_writer *w)
{
    msg_put_range(w, &(struct msg_range){9, RANGE_SIGN, MSG_EXTENT, MSG_RANGE_MAX});
}

static void sample_ack(struct wire_writer *w)
{
    struct msg_ack m = {.batch = 3,
        .flags = ACK_PIECEMEAL,
        .last = 1,
        .free_bytes = 1ull << 34,
        .count = 2,
        .failures = {{9, REASON_NEED_CONTENT, 0, bytes_of("")},
            {10, REASON_IO, 28, bytes_of("write: No space left on device")}}};
    msg_put_ack(w, &m);
}

static void sample_renewed(struct wire_writer *w)
{
    msg_put_renewed(w, &(struct msg_renewed){bytes_of("mirrord.conf:3: host: no such key")});
}

const struct sample samples[] = {
    {"hello", MSG_HELLO, sample_hello},
    {"error", MSG_ERROR, sample_error},
    {"ping", MSG_PING, sample_ping},
    {"pong", MSG_PONG, sample_pong},
    {"bye", MSG_BYE, msg_put_bye},
    {"open", MSG_OPEN, sample_open_site},
    {"open-one-shot", MSG_OPEN, sample_open_one_shot},
    {"opened", MSG_OPENED, sample_opened},
    {"opened-dry", MSG_OPENED, sample_opened_dry},
    {"close", MSG_CLOSE, sample_close},
    {"site-error", MSG_SITE_ERROR, sample_site_error},
    {"fenced", MSG_SITE_ERROR, sample_fenced},
    {"level", MSG_LEVEL, sample_level},
    {"owed", MSG_OWED, sample_owed},
    {"owed-nothing", MSG_OWED, sample_owed_nothing},
    {"claim", MSG_CLAIM, sample_claim},
    {"claimed", MSG_CLAIMED, sample_claimed},
    {"progress", MSG_PROGRESS, sample_progress},
    {"trash", MSG_TRASH, sample_trash},
    {"hook", MSG_HOOK, sample_hook},
    {"hook-well", MSG_HOOK, sample_hook_well},
    {"space", MSG_SPACE, sample_space},
    {"tell", MSG_TELL, sample_tell},
    {"told", MSG_TOLD, sample_told},
    {"proving", MSG_PROVING, sample_proving},
    {"drift", MSG_DRIFT, sample_drift},
    {"drift-added", MSG_DRIFT, sample_drift_added},
    {"drift-times", MSG_DRIFT, sample_drift_times},
    {"list", MSG_LIST, sample_list},
    {"list-root", MSG_LIST, sample_list_root},
    {"list-buckets", MSG_LIST, sample_list_buckets},
    {"listing", MSG_LISTING, sample_listing},
    {"listing-differ", MSG_LISTING, sample_listing_differ},
    {"listing-missing", MSG_LISTING, sample_listing_missing},
    {"begin", MSG_BEGIN, sample_begin},
    {"entry-root", MSG_ENTRY, sample_entry_root},
    {"entry-link", MSG_ENTRY, sample_entry_link},
    {"entry-meta", MSG_ENTRY, sample_entry_meta},
    {"entry-inline", MSG_ENTRY, sample_entry_inline},
    {"entry-packed", MSG_ENTRY, sample_entry_packed},
    {"entry-data", MSG_ENTRY, sample_entry_data},
    {"entry-delta", MSG_ENTRY, sample_entry_delta},
    {"entry-copy", MSG_ENTRY, sample_entry_copy},
    {"entry-based", MSG_ENTRY, sample_entry_based},
    {"pack", MSG_PACK, sample_pack},
    {"bundle", MSG_BUNDLE, sample_bundle},
    {"data", MSG_DATA, sample_data},
    {"data-delta", MSG_DATA, sample_data_delta},
    {"finish", MSG_FINISH, sample_finish},
    {"delete", MSG_DELETE, sample_delete},
    {"unit", MSG_UNIT, sample_unit},
    {"drop", MSG_DROP, sample_drop},
    {"move", MSG_MOVE, sample_move},
    {"abort", MSG_ABORT, sample_abort},
    {"commit", MSG_COMMIT, sample_commit},
    {"signature", MSG_SIGNATURE, sample_signature},
    {"signature-none", MSG_SIGNATURE, sample_signature_none},
    {"extents", MSG_EXTENTS, sample_extents},
    {"range", MSG_RANGE, sample_range},
    {"range-sign", MSG_RANGE, sample_range_sign},
    {"ack", MSG_ACK, sample_ack},
    {"renew", MSG_RENEW, msg_put_renew},
    {"renewed", MSG_RENEWED, sample_renewed},
};
const size_t sample_count = sizeof(samples) / sizeof(samples[0]);
