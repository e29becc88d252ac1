/* JSON documents, for the control socket and --json. The only file that includes cJSON. Building
 * never fails (memory policy of mem.h); reading gives defaults for what is not there. */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json;

struct json *json_object(void);
struct json *json_array(void);
void json_free(struct json *j); /* a whole document; NULL is fine */

/* Into an object. Bytes that are not UTF-8 are written as in log_name. json_set_json and
 * json_append_json take the value over. */
void json_set_text(struct json *object, const char *key, const char *value);
void json_set_name(struct json *object, const char *key, const void *bytes, size_t len);
void json_set_number(struct json *object, const char *key, double value); /* exact to 2^53 */
void json_set_bool(struct json *object, const char *key, bool value);
void json_set_json(struct json *object, const char *key, struct json *value);
void json_append_text(struct json *array, const char *value);
void json_append_json(struct json *array, struct json *value);

/* Of an object; pointers live as long as the document. */
const char *json_get_text(const struct json *object, const char *key, const char *otherwise);
double json_get_number(const struct json *object, const char *key, double otherwise);
bool json_get_bool(const struct json *object, const char *key, bool otherwise);
const struct json *json_get(const struct json *object, const char *key); /* NULL: not there */

/* Of an array (0 and NULL for what is none). */
size_t json_count(const struct json *array);
const struct json *json_at(const struct json *array, size_t i);
const char *json_text_at(const struct json *array, size_t i); /* NULL: not a string */

char *json_print(const struct json *j, bool pretty);   /* the caller frees */
struct json *json_parse(const char *text, size_t len); /* NULL: malformed, or nested over 32 deep */

#endif
