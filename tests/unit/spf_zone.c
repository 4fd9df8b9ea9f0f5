/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The suite's strings are characters of Latin-1, one octet each, written as UTF-8.
 */
#include "spf_zone.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define ALIASES_MAX 8

static const char *const names[] = {
    [SPF_TYPE_A] = "A",     [SPF_TYPE_AAAA] = "AAAA", [SPF_TYPE_MX] = "MX",
    [SPF_TYPE_TXT] = "TXT", [SPF_TYPE_PTR] = "PTR",
};

static void
add_text(struct spf_zone_item *item, const json_t *text)
{
    const unsigned char *p = (const unsigned char *)json_string_value(text);
    const unsigned char *end = p + json_string_length(text);

    for (; p < end && item->n < sizeof item->octets; p++)
        if (*p >= 0xc0 && p + 1 < end) {
            item->octets[item->n++] = (char)((*p & 3) << 6 | (p[1] & 0x3f));
            p++;
        } else
            item->octets[item->n++] = (char)*p;
}

static void
take(struct spf_zone_found *found, enum spf_type type, const json_t *value)
{
    struct spf_zone_item *item = &found->items[found->count++];
    size_t i;
    json_t *part;

    item->n = 0;
    item->preference = 0;
    if (type == SPF_TYPE_A || type == SPF_TYPE_AAAA) {
        item->n = type == SPF_TYPE_A ? 4 : 16;
        inet_pton(type == SPF_TYPE_A ? AF_INET : AF_INET6, json_string_value(value), item->octets);
    } else if (type == SPF_TYPE_MX) {
        item->preference = (unsigned)json_integer_value(json_array_get(value, 0));
        add_text(item, json_array_get(value, 1));
    } else if (json_is_array(value)) {
        json_array_foreach(value, i, part) add_text(item, part);
    } else
        add_text(item, value);
    if (type == SPF_TYPE_PTR && item->n > 0 && item->octets[item->n - 1] == '.')
        item->n--;
}

static const json_t *
find_name(const json_t *zone, const char *name)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)zone, key, value) if (strcasecmp(key, name) == 0) return value;
    return NULL;
}

static bool
has_type(const json_t *records, const char *type)
{
    size_t i;
    json_t *record;

    json_array_foreach(records, i, record) if (json_object_get(record, type)) return true;
    return false;
}

static bool
is_none(const json_t *value)
{
    return json_is_string(value) && strcmp(json_string_value(value), "NONE") == 0;
}

void
spf_zone_find(const json_t *zone, const char *name, enum spf_type type,
              struct spf_zone_found *found)
{
    char alias[256];
    bool is_slow = false;
    const json_t *records = NULL;
    size_t i;
    json_t *record;

    found->count = 0;
    for (unsigned steps = 0;; steps++) {
        const char *target;

        records = find_name(zone, name);
        target = records ? json_string_value(json_object_get(json_array_get(records, 0), "CNAME"))
                         : NULL;
        if (target == NULL)
            break;
        found->result = SPF_ZONE_TIMEOUT;
        if (steps == ALIASES_MAX)
            return;
        snprintf(alias, sizeof alias, "%.*s",
                 (int)strlen(target) - (target[strlen(target) - 1] == '.'), target);
        name = alias;
    }
    found->result = SPF_ZONE_NO_NAME;
    if (records == NULL)
        return;
    json_array_foreach(records, i, record)
    {
        const char *key = names[type];
        const json_t *value;

        if (json_is_string(record))
            is_slow = true;
        if (type == SPF_TYPE_TXT && !has_type(records, "TXT"))
            key = "SPF";
        value = json_object_get(record, key);
        if (value != NULL && !is_none(value) && found->count < SPF_ZONE_ITEMS)
            take(found, type, value);
    }
    found->result = found->count > 0 ? SPF_ZONE_OK : is_slow ? SPF_ZONE_TIMEOUT : SPF_ZONE_NO_DATA;
}

struct spf_answer
spf_zone_answer(const struct spf_zone_found *found, struct slice items[SPF_ZONE_ITEMS])
{
    static const enum spf_answer_result results[] = {
        [SPF_ZONE_OK] = SPF_ANSWER_OK,
        [SPF_ZONE_NO_NAME] = SPF_ANSWER_NO_NAME,
        [SPF_ZONE_NO_DATA] = SPF_ANSWER_NO_DATA,
        [SPF_ZONE_TIMEOUT] = SPF_ANSWER_TEMPORARY,
    };

    for (unsigned i = 0; i < found->count; i++)
        items[i] = (struct slice){found->items[i].octets, found->items[i].n};
    return (struct spf_answer){results[found->result], found->count, items};
}
