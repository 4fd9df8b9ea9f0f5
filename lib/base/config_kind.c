/* SPDX-License-Identifier: BSD-2-Clause
 *
 * From the text of a setting into its field, by its kind.
 */
#include "base/config_private.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/parse.h"

static const char *
read_text(const char *text, void *field, uint16_t default_port)
{
    char **value = field;

    (void)default_port;
    free(*value);
    *value = mem_strdup(text);
    return NULL;
}

static const char *
read_words(const char *text, void *field, uint16_t default_port)
{
    struct config_words *words = field;

    (void)default_port;
    words->items = mem_realloc(words->items, (words->count + 1) * sizeof *words->items);
    words->items[words->count++] = mem_strdup(text);
    return NULL;
}

static const char *
read_endpoint(const char *text, void *field, uint16_t default_port)
{
    switch (inet_endpoint_parse(slice_of(text), default_port, field)) {
    case ERR_OK:
        return NULL;
    case ERR_RANGE:
        return "has a port outside 1 to 65535; write ADDRESS:PORT";
    default:
        return "is not an address; write 192.0.2.10:25 or [2001:db8::10]:25 (names are not looked "
               "up)";
    }
}

/* "": none. */
static const char *
read_one_endpoint(const char *text, void *field, uint16_t default_port)
{
    return text[0] == '\0' ? NULL : read_endpoint(text, field, default_port);
}

static const char *
read_endpoints(const char *text, void *field, uint16_t default_port)
{
    struct config_endpoints *list = field;
    struct inet_endpoint e;
    const char *wrong = read_endpoint(text, &e, default_port);

    for (size_t i = 0; i < list->count && !wrong; i++)
        if (inet_endpoint_equal(&list->items[i], &e))
            wrong = "is in the list twice; take one away";
    if (wrong)
        return wrong;
    list->items = mem_realloc(list->items, (list->count + 1) * sizeof *list->items);
    list->items[list->count++] = e;
    return NULL;
}

static const char *
read_networks(const char *text, void *field, uint16_t default_port)
{
    struct config_networks *list = field;
    struct inet_network n;

    (void)default_port;
    switch (inet_network_parse(slice_of(text), &n)) {
    case ERR_OK:
        break;
    case ERR_RANGE:
        return "has bits set behind its prefix, or a prefix that is too long; write 192.0.2.0/24";
    default:
        return "is not a network; write 192.0.2.0/24, 2001:db8::/32 or an address (names are not "
               "looked up)";
    }
    list->items = mem_realloc(list->items, (list->count + 1) * sizeof *list->items);
    list->items[list->count++] = n;
    return NULL;
}

static const char *
read_duration(const char *text, void *field, uint16_t default_port)
{
    (void)default_port;
    switch (parse_duration_ms(slice_of(text), field)) {
    case ERR_OK:
        return NULL;
    case ERR_RANGE:
        return "is too long; at most 3650d";
    default:
        return "is not a duration; write a number with a unit: 500ms, 30s, 5m, 4h, 30d";
    }
}

static const char *
read_size(const char *text, void *field, uint16_t default_port)
{
    (void)default_port;
    switch (parse_size_bytes(slice_of(text), field)) {
    case ERR_OK:
        return NULL;
    case ERR_RANGE:
        return "is too large";
    default:
        return "is not a size; write a number with a unit: 100B, 64KiB, 20MiB, 4GiB";
    }
}

static const char *
read_number(const char *text, void *field, uint16_t default_port)
{
    uint64_t v;

    (void)default_port;
    if (parse_u64(slice_of(text), &v) == ERR_SYNTAX)
        return "is not a number; write decimal digits alone";
    if (v > UINT32_MAX) /* and where it overflows */
        v = UINT32_MAX;
    *(uint32_t *)field = (uint32_t)v;
    return NULL;
}

const struct config_kind_row config_kinds[] = {
    [KIND_TEXT] = {read_text, false, true, "text"},
    [KIND_WORDS] = {read_words, true, true, "text, ..."},
    [KIND_ENDPOINT] = {read_one_endpoint, false, true, "address:port"},
    [KIND_ENDPOINTS] = {read_endpoints, true, true, "address:port, ..."},
    [KIND_NETWORKS] = {read_networks, true, true, "network, ..."},
    [KIND_DURATION] = {read_duration, false, false, "duration"},
    [KIND_SIZE] = {read_size, false, false, "size"},
    [KIND_NUMBER] = {read_number, false, false, "number"},
};
