/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Words of a setting into a value, each with a sentence for what is wrong.
 */
#include "base/milter_entry.h"

#include <stdio.h>
#include <string.h>

#include "base/parse.h"

static const char name_chars[] = "abcdefghijklmnopqrstuvwxyz0123456789-";

static const char *
parse_address(struct slice word, struct milter_entry *entry)
{
    struct slice rest = word, kind = slice_split(&rest, ':');

    if (rest.p != NULL && slice_equal(kind, SLICE("unix"))) {
        if (rest.n == 0 || rest.p[0] != '/' ||
            !slice_to_text(rest, entry->path, sizeof entry->path))
            return "has a socket that is no full path of at most 107 octets; write "
                   "unix:/run/X.sock";
        return NULL;
    }
    if (rest.p != NULL && slice_equal(kind, SLICE("inet")) &&
        inet_endpoint_parse(rest, 0, &entry->endpoint) == ERR_OK && entry->endpoint.port != 0)
        return NULL;
    return "does not begin with a milter's address; write inet:127.0.0.1:11332 or unix:/run/X.sock "
           "(names are not looked up)";
}

static const char *
parse_name(struct slice s, struct milter_entry *entry)
{
    if (s.n == 0 || !slice_to_text(s, entry->name, sizeof entry->name) ||
        strspn(entry->name, name_chars) != s.n)
        return "has a name= that is not one word of a-z, 0-9 and - (at most 31); write name=rspamd";
    return NULL;
}

static const char *
parse_failure(struct slice s, struct milter_entry *entry)
{
    entry->defers = slice_equal(s, SLICE("defer"));
    return entry->defers || slice_equal(s, SLICE("accept"))
               ? NULL
               : "has an on-failure= that is neither accept nor defer; write on-failure=accept to "
                 "take mail unscanned while it is away, on-failure=defer to have it wait";
}

static const char *
parse_timeout(struct slice s, struct milter_entry *entry)
{
    return parse_duration_ms(s, &entry->timeout_ms) == ERR_OK && entry->timeout_ms >= 100 &&
                   entry->timeout_ms <= 10 * 60 * 1000
               ? NULL
               : "has a timeout= that is no duration from 100ms to 10m; write timeout=30s";
}

static const char *
parse_max_size(struct slice s, struct milter_entry *entry)
{
    return parse_size_bytes(s, &entry->max_bytes) == ERR_OK && entry->max_bytes > 0
               ? NULL
               : "has a max-size= that is no size; write max-size=20MiB, or leave it away";
}

static const char *
parse_attribute(struct slice word, struct milter_entry *entry)
{
    static const struct {
        const char *key;
        const char *(*parse)(struct slice s, struct milter_entry *entry);
    } attributes[] = {{"name", parse_name},
                      {"on-failure", parse_failure},
                      {"timeout", parse_timeout},
                      {"max-size", parse_max_size}};
    struct slice value = word, key = slice_split(&value, '=');

    for (size_t i = 0; i < ARRAY_SIZE(attributes) && value.p != NULL; i++)
        if (slice_equal(key, slice_of(attributes[i].key)))
            return attributes[i].parse(value, entry);
    return "has a word that is unknown; write ADDRESS, and behind it name=, on-failure=, timeout= "
           "or "
           "max-size=";
}

const char *
milter_entry_parse(const char *text, struct milter_entry *entry)
{
    struct slice rest = slice_trim(slice_of(text)), word = slice_split(&rest, ' ');
    const char *wrong;

    *entry = (struct milter_entry){.timeout_ms = MILTER_TIMEOUT_MS};
    snprintf(entry->name, sizeof entry->name, "milter");
    wrong = parse_address(word, entry);
    while (rest.p != NULL && wrong == NULL) {
        word = slice_split(&rest, ' ');
        if (word.n > 0)
            wrong = parse_attribute(word, entry);
    }
    return wrong;
}

const char *
milter_entry_address(const struct milter_entry *entry, char dst[MILTER_ADDRESS_SIZE])
{
    char endpoint[INET_ENDPOINT_SIZE];

    if (entry->endpoint.family == 0)
        snprintf(dst, MILTER_ADDRESS_SIZE, "unix:%s", entry->path);
    else
        snprintf(dst, MILTER_ADDRESS_SIZE, "inet:%s",
                 inet_endpoint_text(&entry->endpoint, endpoint));
    return dst;
}
