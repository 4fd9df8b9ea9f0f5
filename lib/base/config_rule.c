/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What one value must keep.
 */
#include "base/config_private.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/dnsbl_zone.h"
#include "base/milter_entry.h"
#include "base/outbound.h"
#include "base/parse.h"

#define SECOND 1000LL
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)
#define KIB 1024LL
#define GIB (1024 * 1024 * KIB)

static const char *
check_path(const char *text)
{
    return text[0] == '/' ? NULL : "is not a full path; write one that begins with /";
}

static const char *
check_zone(const char *text)
{
    return clock_has_timezone(text) ? NULL
                                    : "is not a time zone of this system; write a name such as "
                                      "Europe/Berlin";
}

static const char *
check_hostname(const char *text)
{
    static char wrong[CONFIG_PROBLEM_SIZE];
    char name[INET_DOMAIN_SIZE];
    const char *why;

    if (inet_domain_normalize(slice_of(text), name, &why) == ERR_OK)
        return NULL;
    snprintf(wrong, sizeof wrong, "%s; write the full name of this host, such as mx1.isp.example",
             why);
    return wrong;
}

static const char *
check_no_port(const char *text)
{
    struct inet_endpoint e;

    return inet_endpoint_parse(slice_of(text), 0, &e) == ERR_OK
               ? "has a port; write the address alone"
               : NULL;
}

static const char *
check_outbound(const char *text)
{
    struct outbound outbound;

    return outbound_parse(text, &outbound);
}

static const char *
check_outbound_tls(const char *text)
{
    enum outbound_tls tls;

    return outbound_tls_parse(text, &tls);
}

/* It goes into a header line, and nowhere else. */
static const char *
check_address(const char *text)
{
    char name[INET_DOMAIN_SIZE];
    const char *at = strchr(text, '@'), *why;
    size_t local = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "!#$%&'*+-/=?^_`{|}~.");

    return at != NULL && local > 0 && text + local == at &&
                   inet_domain_normalize(slice_of(at + 1), name, &why) == ERR_OK
               ? NULL
               : "is not a mail address; write one such as postmaster@isp.example";
}

static const char *
check_dnsbl(const char *text)
{
    struct dnsbl_zone zone;

    return dnsbl_zone_parse(text, &zone);
}

static const char *
check_milter(const char *text)
{
    struct milter_entry entry;

    return milter_entry_parse(text, &entry);
}

static const struct rule {
    size_t offset;
    int64_t min, max; /* numbers, milliseconds or bytes; both 0: any */
    uint16_t default_port;
    const char *(*check)(const char *text);
} rules[] = {
    {.offset = FIELD(hostname), .check = check_hostname},
    {.offset = FIELD(mx_names), .check = check_hostname},
    {FIELD(node), 1, 32767, 0, NULL},
    {.offset = FIELD(listen), .default_port = 25},
    {.offset = FIELD(resolver), .default_port = 53},
    {.offset = FIELD(source_address), .default_port = 1, .check = check_no_port},
    {.offset = FIELD(state_dir), .check = check_path},
    {.offset = FIELD(spool_dir), .check = check_path},
    {.offset = FIELD(run_dir), .check = check_path},
    {.offset = FIELD(log_dir), .check = check_path},
    {.offset = FIELD(timezone), .check = check_zone},
    {.offset = FIELD(tls_certificate), .check = check_path},
    {.offset = FIELD(tls_key), .check = check_path},
    {FIELD(workers), 1, 31, 0, NULL},
    {FIELD(deliverers), 1, 64, 0, NULL},
    {FIELD(max_message_size), KIB, 2 * GIB, 0, NULL},
    {FIELD(probe_interval_min_ms), 100, DAY, 0, NULL},
    {FIELD(probe_interval_max_ms), 100, DAY, 0, NULL},
    {FIELD(backend_connect_timeout_ms), 100, HOUR, 0, NULL},
    {FIELD(backend_command_timeout_ms), 100, HOUR, 0, NULL},
    {FIELD(final_reply_timeout_ms), 100, HOUR, 0, NULL},
    {FIELD(backend_connections), 1, 10000, 0, NULL},
    {FIELD(client_command_timeout_ms), 100, HOUR, 0, NULL},
    {FIELD(client_data_timeout_ms), 100, HOUR, 0, NULL},
    {FIELD(client_concurrency), 0, 1000000, 0, NULL},
    {FIELD(max_connections), 10, 1000000, 0, NULL},
    {FIELD(client_min_rate), 0, 1000000, 0, NULL},
    {FIELD(greet_wait_ms), 0, MINUTE, 0, NULL},
    {FIELD(backscatter_window_ms), 100, DAY, 0, NULL},
    {FIELD(backscatter_ban_ms), 100, 365 * DAY, 0, NULL},
    {FIELD(message_retry_min_ms), 100, 5 * DAY, 0, NULL},
    {FIELD(message_retry_max_ms), 100, 5 * DAY, 0, NULL},
    {FIELD(max_received), 10, 10000, 0, NULL},
    {.offset = FIELD(dialin_patterns), .check = check_path},
    {.offset = FIELD(dnsbl), .check = check_dnsbl},
    {.offset = FIELD(dnswl), .check = check_dnsbl},
    {FIELD(dnsbl_sleep_ms), 100, 7 * DAY, 0, NULL},
    {.offset = FIELD(milters), .check = check_milter},
    {.offset = FIELD(outbound_route), .check = check_outbound},
    {.offset = FIELD(outbound_tls), .check = check_outbound_tls},
    {.offset = FIELD(outbound_credentials), .check = check_path},
    {.offset = FIELD(notice_from), .check = check_address},
    {FIELD(notices_per_sender), 0, 1000000, 0, NULL},
    {FIELD(notices_per_domain), 0, 1000000, 0, NULL},
    {FIELD(notices_per_hour), 0, 1000000, 0, NULL},
    {FIELD(notice_retention_ms), MINUTE, 30 * DAY, 0, NULL},
    {FIELD(notify_after_ms), 0, 30 * DAY, 0, NULL},
};

static const struct rule *
rule_of(size_t offset)
{
    static const struct rule none = {0};

    for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
        if (rules[i].offset == offset)
            return &rules[i];
    return &none;
}

static bool
is_in_range(const struct config_option *o, const struct rule *rule, const void *field)
{
    int64_t v = 0;

    if (o->kind == KIND_NUMBER)
        v = *(const uint32_t *)field;
    else if (o->kind == KIND_DURATION)
        v = *(const int64_t *)field;
    else if (o->kind == KIND_SIZE)
        v = *(const uint64_t *)field > INT64_MAX ? INT64_MAX : (int64_t) * (const uint64_t *)field;
    else
        return true;
    return (rule->min == 0 && rule->max == 0) || (v >= rule->min && v <= rule->max);
}

static const char *
limit_text(const struct config_option *o, int64_t v, char dst[PARSE_TEXT_SIZE])
{
    if (o->kind == KIND_DURATION)
        return format_duration(v, dst);
    if (o->kind == KIND_SIZE)
        return format_size((uint64_t)v, dst);
    snprintf(dst, PARSE_TEXT_SIZE, "%lld", (long long)v);
    return dst;
}

uint16_t
config_rule_default_port(const struct config_option *option)
{
    return rule_of(option->offset)->default_port;
}

const char *
config_rule_check(const struct config *config, const struct config_option *o, const char *text)
{
    static char range[CONFIG_PROBLEM_SIZE];
    const struct rule *rule = rule_of(o->offset);
    char min[PARSE_TEXT_SIZE], max[PARSE_TEXT_SIZE];
    const char *wrong = NULL;

    if (rule->check && (text[0] != '\0' || config_kinds[o->kind].is_list))
        wrong = rule->check(text);
    if (wrong || is_in_range(o, rule, (const char *)config + o->offset))
        return wrong;
    snprintf(range, sizeof range, "is out of range; write a value from %s to %s",
             limit_text(o, rule->min, min), limit_text(o, rule->max, max));
    return range;
}
