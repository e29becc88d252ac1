/*
 * JSON over cJSON; see json.h. A struct json is a cJSON item under another name, so that nobody
 * else includes the library. It knows nothing of what the documents mean.
 */
#include "base/json.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"

enum { DEPTH_MAX = 32 };

static cJSON *item_of(struct json *j)
{
    return (cJSON *)j;
}

/* cJSON's readers take the document const or not, and never change it. */
static const cJSON *read_only(const struct json *j)
{
    return (const cJSON *)j;
}

static cJSON *checked(cJSON *item)
{
    if (!item) {
        log_error("out of memory");
        abort();
    }
    return item;
}

struct json *json_object(void)
{
    return (struct json *)checked(cJSON_CreateObject());
}

struct json *json_array(void)
{
    return (struct json *)checked(cJSON_CreateArray());
}

void json_free(struct json *j)
{
    cJSON_Delete(item_of(j));
}

/* Bytes of the UTF-8 sequence at p; 0 where there is none, or a NUL, which cJSON cannot hold. */
static size_t utf8_sequence(const unsigned char *p, size_t left)
{
    static const unsigned smallest[] = {0, 1, 0x80, 0x800, 0x10000};
    size_t n = p[0] < 0x80   ? 1
               : p[0] < 0xc2 ? 0
               : p[0] < 0xe0 ? 2
               : p[0] < 0xf0 ? 3
               : p[0] < 0xf5 ? 4
                             : 0;
    if (n == 0 || n > left)
        return 0;
    unsigned point = n == 1 ? p[0] : p[0] & (0xffu >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        point = point << 6 | (p[i] & 0x3fu);
    }
    bool surrogate = point >= 0xd800 && point <= 0xdfff;
    return point < smallest[n] || point > 0x10ffff || surrogate ? 0 : n;
}

static bool is_utf8(const void *bytes, size_t len)
{
    const unsigned char *p = bytes;
    for (size_t i = 0, n; i < len; i += n) {
        n = utf8_sequence(p + i, len - i);
        if (n == 0)
            return false;
    }
    return true;
}

static cJSON *text_item(const void *bytes, size_t len)
{
    if (is_utf8(bytes, len)) {
        char *text CLEANUP_FREE = mem_copy_bytes(bytes, len);
        return checked(cJSON_CreateString(text));
    }
    size_t size = 4 * len + 16;
    char *text CLEANUP_FREE = mem_alloc(size);
    return checked(cJSON_CreateString(log_name(text, size, bytes, len)));
}

/* Whole numbers of more than 15 digits are kept as text: cJSON would print them rounded. */
static cJSON *number_item(double value)
{
    if (fabs(value) < 1e15 || !isfinite(value) || value != floor(value))
        return checked(cJSON_CreateNumber(value));
    char *text CLEANUP_FREE = mem_format("%.0f", value);
    return checked(cJSON_CreateRaw(text));
}

static void set_item(struct json *object, const char *key, cJSON *value)
{
    cJSON_DeleteItemFromObjectCaseSensitive(item_of(object), key);
    if (!cJSON_AddItemToObject(item_of(object), key, value))
        checked(NULL);
}

void json_set_text(struct json *object, const char *key, const char *value)
{
    json_set_name(object, key, value, value ? strlen(value) : 0);
}

void json_set_name(struct json *object, const char *key, const void *bytes, size_t len)
{
    set_item(object, key, text_item(bytes, len));
}

void json_set_number(struct json *object, const char *key, double value)
{
    set_item(object, key, number_item(value));
}

void json_set_bool(struct json *object, const char *key, bool value)
{
    set_item(object, key, checked(cJSON_CreateBool(value)));
}

void json_set_json(struct json *object, const char *key, struct json *value)
{
    set_item(object, key, item_of(value));
}

void json_append_text(struct json *array, const char *value)
{
    json_append_json(array, (struct json *)text_item(value, value ? strlen(value) : 0));
}

void json_append_json(struct json *array, struct json *value)
{
    if (!cJSON_AddItemToArray(item_of(array), item_of(value)))
        checked(NULL);
}

const struct json *json_get(const struct json *object, const char *key)
{
    return (const struct json *)cJSON_GetObjectItemCaseSensitive(read_only(object), key);
}

const char *json_get_text(const struct json *object, const char *key, const char *otherwise)
{
    const cJSON *item = read_only(json_get(object, key));
    return cJSON_IsString(item) ? item->valuestring : otherwise;
}

double json_get_number(const struct json *object, const char *key, double otherwise)
{
    const cJSON *item = read_only(json_get(object, key));
    if (cJSON_IsRaw(item))
        return strtod(item->valuestring, NULL);
    return cJSON_IsNumber(item) ? item->valuedouble : otherwise;
}

bool json_get_bool(const struct json *object, const char *key, bool otherwise)
{
    const cJSON *item = read_only(json_get(object, key));
    return cJSON_IsBool(item) ? cJSON_IsTrue(item) : otherwise;
}

size_t json_count(const struct json *array)
{
    return cJSON_IsArray(read_only(array)) ? (size_t)cJSON_GetArraySize(read_only(array)) : 0;
}

const struct json *json_at(const struct json *array, size_t i)
{
    if (i >= json_count(array))
        return NULL;
    return (const struct json *)cJSON_GetArrayItem(read_only(array), (int)i);
}

const char *json_text_at(const struct json *array, size_t i)
{
    const cJSON *item = read_only(json_at(array, i));
    return cJSON_IsString(item) ? item->valuestring : NULL;
}

char *json_print(const struct json *j, bool pretty)
{
    char *text = pretty ? cJSON_Print(read_only(j)) : cJSON_PrintUnformatted(read_only(j));
    if (!text) {
        log_error("out of memory");
        abort();
    }
    return text; /* cJSON's default hooks are malloc and free */
}

/* More than this many levels of children? */
static bool deeper_than(const cJSON *item, int levels)
{
    for (const cJSON *child = item->child; child; child = child->next)
        if (levels == 0 || deeper_than(child, levels - 1))
            return true;
    return false;
}

struct json *json_parse(const char *text, size_t len)
{
    if (len == 0 || memchr(text, '\0', len))
        return NULL;
    char *copy CLEANUP_FREE = mem_copy_bytes(text, len);
    cJSON *item = cJSON_ParseWithLengthOpts(copy, len + 1, NULL, 1);
    if (item && deeper_than(item, DEPTH_MAX - 1)) {
        cJSON_Delete(item);
        return NULL;
    }
    return (struct json *)item;
}
