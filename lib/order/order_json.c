/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What comes from a control socket is an operator's, and is judged all the same: each field has its
 * bounds, and an act that needs a reason is refused without one.
 */
#include "order/order_json.h"

#include <stdlib.h>
#include <string.h>

#define UNTIL_LAST_MS INT64_C(7258118400000) /* 2200-01-01 */

json_t *
order_json_of(const struct order *o, const struct ref *refs, size_t count)
{
    json_t *ids = json_array();
    char text[REF_SIZE];

    for (size_t i = 0; i < count; i++)
        json_array_append_new(ids, json_string(ref_text(refs[i], text)));
    return json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:s, s:o}", "verb", "order", "act",
                     order_kind(o->act)->word, "reason", o->reason, "until_ms",
                     (json_int_t)o->until_ms, "customer_id", (json_int_t)o->customer_id, "backend",
                     (json_int_t)o->backend, "detail", o->detail, "ids", ids);
}

/* "" if there is none; NULL: too long, or no text. */
static const char *
text_of(const json_t *json, const char *name)
{
    const json_t *value = json_object_get(json, name);
    const char *text = value ? json_string_value(value) : "";

    return text && strlen(text) <= ORDER_REASON_MAX ? text : NULL;
}

static bool
number_of(const json_t *json, const char *name, int64_t most, int64_t *number)
{
    *number = json_integer_value(json_object_get(json, name)); /* 0: there is none */
    return *number >= 0 && *number <= most;
}

static const char *
parse_fields(const json_t *json, struct order *o)
{
    const char *word = json_string_value(json_object_get(json, "act"));
    const struct order_kind *kind = word ? order_kind_of_word(word) : NULL;
    int64_t customer_id, backend;

    if (kind == NULL)
        return "the act is unknown";
    *o = (struct order){
        .act = kind->act, .reason = text_of(json, "reason"), .detail = text_of(json, "detail")};
    if (o->reason == NULL || o->detail == NULL)
        return "the reason is too long";
    if (kind->needs_reason && o->reason[0] == '\0')
        return "a reason is needed";
    if (!number_of(json, "until_ms", UNTIL_LAST_MS, &o->until_ms) ||
        !number_of(json, "customer_id", UINT32_MAX, &customer_id) ||
        !number_of(json, "backend", INT32_MAX, &backend) || (backend != 0 && customer_id == 0))
        return "a number is out of range";
    o->customer_id = (uint32_t)customer_id;
    o->backend = (uint32_t)backend;
    return NULL;
}

static const char *
parse_ids(const json_t *ids, struct ref **refs, size_t *count)
{
    size_t n = json_array_size(ids);

    if (n == 0 || n > ORDER_IDS_MAX)
        return "there are no ids, or too many";
    *refs = mem_alloc(n * sizeof **refs);
    for (size_t i = 0; i < n; i++) {
        const char *text = json_string_value(json_array_get(ids, i));

        if (text == NULL || ref_parse(slice_of(text), &(*refs)[i]) != 0)
            return "an id is wrong";
    }
    *count = n;
    return NULL;
}

int
order_json_parse(const json_t *json, struct order *o, struct ref **refs, size_t *count,
                 const char **problem)
{
    *refs = NULL;
    *count = 0;
    *problem = parse_fields(json, o);
    if (*problem == NULL)
        *problem = parse_ids(json_object_get(json, "ids"), refs, count);
    if (*problem == NULL)
        return ERR_OK;
    free(*refs);
    *refs = NULL;
    return ERR_SYNTAX;
}

json_t *
order_json_answer(const char *who)
{
    return json_pack("{s:b, s:s, s:[], s:i, s:[]}", "ok", 1, "who", who, "ids", "already", 0,
                     "others");
}

void
order_json_count(json_t *answer, struct ref ref, enum order_result result, const char *why)
{
    json_int_t already = json_integer_value(json_object_get(answer, "already"));
    char text[REF_SIZE];

    ref_text(ref, text);
    if (result == ORDER_DONE)
        json_array_append_new(json_object_get(answer, "ids"), json_string(text));
    else if (result == ORDER_ALREADY)
        json_object_set_new(answer, "already", json_integer(already + 1));
    else
        json_array_append_new(json_object_get(answer, "others"),
                              json_pack("{s:s, s:s, s:s}", "id", text, "result",
                                        order_result_word(result), "why", why));
}

json_t *
order_json_error(const char *why)
{
    return json_pack("{s:b, s:s}", "ok", 0, "error", why);
}
