/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Settings from texts: config.def says which there are and of what kind, `kinds` how a kind is
 * read, `rules` what else a value must keep.  The grammar is config_file.c's.  Problems are
 * collected with their lines and printed in the order of the file.
 */
#include "base/config.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/config_file.h"
#include "base/dnsbl_zone.h"
#include "base/mdoc.h"
#include "base/milter_entry.h"
#include "base/outbound.h"
#include "base/parse.h"
#include "base/resolv_conf.h"

#define FILE_MAX_BYTES (1024 * 1024)
#define PROBLEM_SIZE 400
#define SPILL_OVERHEAD                                                        \
    (2 * 1024 * 1024) /* envelope and headers of one, and more than they take \
                       */

enum kind {
    KIND_TEXT,
    KIND_WORDS,
    KIND_ENDPOINT,
    KIND_ENDPOINTS,
    KIND_NETWORKS,
    KIND_DURATION,
    KIND_SIZE,
    KIND_NUMBER,
};

static const struct option {
    enum kind kind;
    const char *name;
    size_t offset;
    const char *fallback;
    const char *text;
} options[] = {
#define OPTION(kind, name, field, fallback, text) \
    {KIND_##kind, name, offsetof(struct config, field), fallback, text},
#include "base/config.def"
#undef OPTION
};

#define OPTION_COUNT ARRAY_SIZE(options)

struct problem {
    unsigned line; /* 0: none is to blame */
    size_t order;
    char *text;
};

struct loading {
    struct config *config;
    unsigned lines[OPTION_COUNT]; /* where it is set; 0: nowhere */
    struct problem *problems;
    size_t problem_count;
};

/* --- problems --- */

static void
add_problem(struct loading *l, unsigned line, const char *setting, const char *text)
{
    size_t size = strlen(text) + (setting ? strlen(setting) : 0) + 3;
    struct problem *p;

    l->problems = mem_realloc(l->problems, (l->problem_count + 1) * sizeof *l->problems);
    p = &l->problems[l->problem_count];
    *p = (struct problem){line, l->problem_count, mem_alloc(size)};
    l->problem_count++;
    snprintf(p->text, size, "%s%s%s", setting ? setting : "", setting ? ": " : "", text);
}

static int
compare_problems(const void *a, const void *b)
{
    const struct problem *x = a, *y = b;

    if (x->line != y->line)
        return x->line < y->line ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

static void
print_problems(struct loading *l, const char *path, struct buf *out)
{
    if (l->problem_count > 0)
        qsort(l->problems, l->problem_count, sizeof *l->problems, compare_problems);
    for (size_t i = 0; i < l->problem_count; i++) {
        if (l->problems[i].line)
            buf_printf(out, "%s:%u: %s\n", path, l->problems[i].line, l->problems[i].text);
        else
            buf_printf(out, "%s: %s\n", path, l->problems[i].text);
        free(l->problems[i].text);
    }
    free(l->problems);
}

/* --- kinds: from a text into a field; NULL, or what is wrong --- */

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

static const struct kind_row {
    const char *(*read)(const char *text, void *field, uint16_t default_port);
    bool is_list;
    bool is_quoted; /* in the sample */
    const char *word;
} kinds[] = {
    [KIND_TEXT] = {read_text, false, true, "text"},
    [KIND_WORDS] = {read_words, true, true, "text, ..."},
    [KIND_ENDPOINT] = {read_one_endpoint, false, true, "address:port"},
    [KIND_ENDPOINTS] = {read_endpoints, true, true, "address:port, ..."},
    [KIND_NETWORKS] = {read_networks, true, true, "network, ..."},
    [KIND_DURATION] = {read_duration, false, false, "duration"},
    [KIND_SIZE] = {read_size, false, false, "size"},
    [KIND_NUMBER] = {read_number, false, false, "number"},
};

/* --- rules: what one value must keep --- */

#define SECOND 1000LL
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)
#define KIB 1024LL
#define GIB (1024 * 1024 * KIB)
#define FIELD(name) offsetof(struct config, name)

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
    static char wrong[PROBLEM_SIZE];
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
find_rule(size_t offset)
{
    static const struct rule none = {0};

    for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
        if (rules[i].offset == offset)
            return &rules[i];
    return &none;
}

static void *
field_of(struct config *config, const struct option *o)
{
    return (char *)config + o->offset;
}

static bool
is_in_range(const struct option *o, const struct rule *rule, const void *field)
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
limit_text(const struct option *o, int64_t v, char dst[PARSE_TEXT_SIZE])
{
    if (o->kind == KIND_DURATION)
        return format_duration(v, dst);
    if (o->kind == KIND_SIZE)
        return format_size((uint64_t)v, dst);
    snprintf(dst, PARSE_TEXT_SIZE, "%lld", (long long)v);
    return dst;
}

/* --- one value --- */

static void
add_value_problem(struct loading *l, const struct option *o, unsigned line, const char *value,
                  const char *wrong)
{
    char text[PROBLEM_SIZE];

    snprintf(text, sizeof text, "\"%.100s\" %.290s", value, wrong);
    add_problem(l, line, o->name, text);
}

static void
set_value(struct loading *l, const struct option *o, unsigned line, const char *value)
{
    const struct rule *rule = find_rule(o->offset);
    void *field = field_of(l->config, o);
    char min[PARSE_TEXT_SIZE], max[PARSE_TEXT_SIZE], text[PROBLEM_SIZE];
    const char *wrong = kinds[o->kind].read(value, field, rule->default_port);

    if (!wrong && rule->check && (value[0] != '\0' || kinds[o->kind].is_list))
        wrong = rule->check(value);
    if (!wrong && !is_in_range(o, rule, field)) {
        snprintf(text, sizeof text, "is out of range; write a value from %s to %s",
                 limit_text(o, rule->min, min), limit_text(o, rule->max, max));
        wrong = text;
    }
    if (wrong)
        add_value_problem(l, o, line, value, wrong);
}

static void
on_value(void *ctx, size_t option, unsigned line, const char *text)
{
    struct loading *l = ctx;
    const struct option *o = &options[option];
    char twice[PROBLEM_SIZE];

    if (l->lines[option] && !kinds[o->kind].is_list) {
        snprintf(twice, sizeof twice, "is set in line %u already; take one away", l->lines[option]);
        add_problem(l, line, o->name, twice);
        return;
    }
    l->lines[option] = line;
    set_value(l, o, line, text);
}

static void
on_problem(void *ctx, unsigned line, const char *setting, const char *text)
{
    add_problem(ctx, line, setting, text);
}

/* --- the whole --- */

static unsigned
line_of(const struct loading *l, size_t offset)
{
    for (size_t i = 0; i < OPTION_COUNT; i++)
        if (options[i].offset == offset)
            return l->lines[i];
    return 0;
}

static void
check_order(struct loading *l, const char *name, size_t low, size_t high, const char *text)
{
    const char *config = (const char *)l->config;
    unsigned line = line_of(l, high) ? line_of(l, high) : line_of(l, low);

    if (*(const int64_t *)(config + low) > *(const int64_t *)(config + high))
        add_problem(l, line, name, text);
}

/* Its value, if it is set, is not what was meant. */
static bool
is_wrong(const struct loading *l, size_t offset)
{
    unsigned line = line_of(l, offset);

    for (size_t i = 0; i < l->problem_count; i++)
        if (line != 0 && l->problems[i].line == line)
            return true;
    return false;
}

/* One message of the largest size must find room, with the headers of its file. */
static void
check_spill(struct loading *l)
{
    unsigned line = line_of(l, FIELD(spill_max)) ? line_of(l, FIELD(spill_max))
                                                 : line_of(l, FIELD(max_message_size));

    if (!is_wrong(l, FIELD(spill_max)) && !is_wrong(l, FIELD(max_message_size)) &&
        l->config->spill_max < l->config->max_message_size + SPILL_OVERHEAD)
        add_problem(l, line, "spill-max",
                    "has no room for one message of max-message-size; write at least 2 MiB more "
                    "than that, and so much for each large message that should pass at once");
}

/* The list that is too short is to blame, or the one that is there. */
static void
check_pairs(struct loading *l)
{
    size_t certificates = l->config->tls_certificate.count, keys = l->config->tls_key.count;
    bool short_of_keys = keys < certificates;
    unsigned certificate_line = line_of(l, FIELD(tls_certificate)),
             key_line = line_of(l, FIELD(tls_key)), line;
    char text[PROBLEM_SIZE];

    if (certificates == keys)
        return;
    line = short_of_keys ? key_line : certificate_line;
    if (line == 0)
        line = short_of_keys ? certificate_line : key_line;
    snprintf(text, sizeof text,
             "there are %zu certificates and %zu keys; name one key for each certificate, in the "
             "same order",
             certificates, keys);
    add_problem(l, line, short_of_keys ? "tls-key" : "tls-certificate", text);
}

/* A password is for the smarthost, and for no ears on the way. */
static void
check_credentials(struct loading *l)
{
    struct outbound outbound;
    enum outbound_tls tls;
    unsigned line = line_of(l, FIELD(outbound_credentials));

    if (l->config->outbound_credentials[0] == '\0' ||
        outbound_parse(l->config->outbound_route, &outbound) != NULL ||
        outbound_tls_parse(l->config->outbound_tls, &tls) != NULL)
        return;
    if (outbound.kind != OUTBOUND_SMARTHOST)
        add_problem(l, line, "outbound-credentials",
                    "are for a smarthost, and there is none; set outbound-route to NAME:PORT");
    else if (tls < OUTBOUND_TLS_ENCRYPT)
        add_problem(l, line, "outbound-credentials",
                    "are sent inside TLS only; set outbound-tls to encrypt or verify");
}

static bool
is_name_taken(const struct config_words *milters, size_t before, const char *name)
{
    struct milter_entry other;

    for (size_t i = 0; i < before; i++)
        if (milter_entry_parse(milters->items[i], &other) == NULL && strcmp(other.name, name) == 0)
            return true;
    return false;
}

/* A backend needs its part of the time at the dot. */
static const char *
wrong_of_milter(const struct config *config, size_t i)
{
    static char wrong[PROBLEM_SIZE];
    struct milter_entry entry;
    const char *what = NULL;

    if (milter_entry_parse(config->milters.items[i], &entry) != NULL)
        return NULL; /* it has been said */
    if (entry.timeout_ms > config->final_reply_timeout_ms / 2)
        what =
            "has a timeout that is longer than half of final-reply-timeout; write a shorter one, "
            "or a longer final-reply-timeout";
    else if (is_name_taken(&config->milters, i, entry.name))
        what = "has the name of one before it; give each its own: name=rspamd";
    else if (i == MILTER_ENTRIES_MAX)
        what = "is one too many; at most 8 can be asked";
    snprintf(wrong, sizeof wrong, "\"%.100s\" %.250s", config->milters.items[i], what ? what : "");
    return what ? wrong : NULL;
}

static void
check_milters(struct loading *l)
{
    for (size_t i = 0; i < l->config->milters.count; i++) {
        const char *wrong = wrong_of_milter(l->config, i);

        if (wrong)
            add_problem(l, line_of(l, FIELD(milters)), "milters", wrong);
    }
}

static void
check_whole(struct loading *l)
{
    check_milters(l);
    check_credentials(l);
    check_pairs(l);
    check_order(l, "probe-interval-max", FIELD(probe_interval_min_ms), FIELD(probe_interval_max_ms),
                "is shorter than probe-interval-min; write a longer one");
    check_order(l, "message-retry-max", FIELD(message_retry_min_ms), FIELD(message_retry_max_ms),
                "is shorter than message-retry-min; write a longer one");
    check_spill(l);
}

static void
use_system_hostname(struct config *config)
{
    char name[256] = "";

    if (config->hostname[0] != '\0')
        return;
    if (gethostname(name, sizeof name - 1) < 0 || name[0] == '\0')
        snprintf(name, sizeof name, "localhost");
    read_text(name, &config->hostname, 0);
}

static void
use_own_mx_name(struct config *config)
{
    if (config->mx_names.count == 0)
        read_words(config->hostname, &config->mx_names, 0);
}

static int
read_resolv_conf(struct inet_endpoint *resolver)
{
    char text[8192];
    FILE *f = fopen("/etc/resolv.conf", "re");
    size_t n;

    if (f == NULL)
        return ERR_IO;
    n = fread(text, 1, sizeof text, f);
    fclose(f);
    return resolv_conf_first((struct slice){text, n}, resolver);
}

static void
use_system_resolver(struct config *config)
{
    if (config->resolver.family == 0 && read_resolv_conf(&config->resolver) < 0)
        config->resolver = (struct inet_endpoint){.family = 4, .addr = {127, 0, 0, 1}, .port = 53};
    config->source_address.port = 0;
}

/* A list's default is one value. */
static void
use_defaults(struct loading *l)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const struct option *o = &options[i];

        if (l->lines[i] == 0 && (o->fallback || o->kind == KIND_TEXT))
            set_value(l, o, 0, o->fallback ? o->fallback : "");
        else if (o->kind == KIND_TEXT && *(char **)field_of(l->config, o) == NULL)
            read_text("", field_of(l->config, o), 0);
    }
}

static void
read_settings(struct loading *l, struct slice text)
{
    static const struct config_file_ops ops = {on_value, on_problem};
    struct config_file_option table[OPTION_COUNT];

    for (size_t i = 0; i < OPTION_COUNT; i++)
        table[i] = (struct config_file_option){options[i].name, kinds[options[i].kind].is_list,
                                               options[i].fallback == NULL};
    config_file_read(text, table, OPTION_COUNT, &ops, l);
    use_defaults(l);
    check_whole(l);
    use_system_hostname(l->config);
    use_own_mx_name(l->config);
    use_system_resolver(l->config);
}

#define CACHED_SIZES 64  /* of libc, 16 octets apart */
#define CACHED_BLOCKS 16 /* of each size; it keeps 7 */

/* What was read may hold a password, and what libconfuse frees keeps its content in libc's caches:
 * processes that are not to know it are forked from this one. M_PERTURB wipes the larger blocks. */
static void
wipe_freed_blocks(void)
{
#ifndef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION /* where it would be all the work */
    void *blocks[CACHED_SIZES * CACHED_BLOCKS];
    size_t count = 0;

    for (size_t size = 1; size <= CACHED_SIZES; size++)
        for (int i = 0; i < CACHED_BLOCKS; i++) {
            blocks[count] = mem_alloc(size * 16 + 8);
            explicit_bzero(blocks[count++], size * 16 + 8);
        }
    while (count > 0)
        free(blocks[--count]);
#endif
}

static int
read_config(const char *path, struct buf *problems, struct config **config)
{
    struct loading l = {.config = mem_alloc(sizeof *l.config)};
    struct buf text;
    int rc;

    *config = NULL;
    buf_init(&text, FILE_MAX_BYTES);
    l.config->path = mem_strdup(path);
    rc = buf_append_file(&text, path);
    if (rc == ERR_LIMIT) {
        buf_printf(problems, "%s: is larger than 1 MiB; this is no configuration\n", path);
        rc = ERR_SYNTAX;
    } else if (rc < 0)
        buf_printf(problems, "%s: cannot be read: %s; name another file with -c\n", path,
                   strerror(errno));
    else {
        read_settings(&l, buf_slice(&text));
        rc = l.problem_count > 0 ? ERR_SYNTAX : ERR_OK;
        print_problems(&l, path, problems);
    }
    buf_fini(&text);
    if (rc < 0)
        config_free(&l.config);
    *config = l.config;
    return rc;
}

int
config_load(const char *path, struct buf *problems, struct config **config)
{
    int rc;

    (void)mallopt(M_PERTURB, 0x55);
    rc = read_config(path, problems, config);
    (void)mallopt(M_PERTURB, 0);
    wipe_freed_blocks();
    return rc;
}

static void
free_words(struct config_words *words)
{
    for (size_t i = 0; i < words->count; i++)
        free(words->items[i]);
    free(words->items);
}

static void
free_text(char *text)
{
    if (text != NULL)
        explicit_bzero(text, strlen(text));
    free(text);
}

void
config_free(struct config **config_p)
{
    struct config *config = *config_p;

    *config_p = NULL;
    if (config == NULL)
        return;
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        void *field = field_of(config, &options[i]);

        if (options[i].kind == KIND_TEXT)
            free_text(*(char **)field);
        else if (options[i].kind == KIND_WORDS)
            free_words(field);
        else if (options[i].kind == KIND_ENDPOINTS)
            free(((struct config_endpoints *)field)->items);
        else if (options[i].kind == KIND_NETWORKS)
            free(((struct config_networks *)field)->items);
    }
    free(config->path);
    free(config);
}

/* --- the documents --- */

#define SAMPLE_COLUMNS 78

static void
write_wrapped(struct buf *out, const char *prefix, const char *text)
{
    struct slice rest = slice_of(text);
    size_t column = 0;

    while (rest.p != NULL) {
        struct slice word = slice_split(&rest, ' ');

        if (column > 0 && column + 1 + word.n > SAMPLE_COLUMNS) {
            buf_add_text(out, "\n");
            column = 0;
        }
        buf_add_text(out, column ? " " : prefix);
        buf_add_slice(out, word);
        column += (column ? 1 : strlen(prefix)) + word.n;
    }
    buf_add_text(out, "\n");
}

static void
write_sample_value(struct buf *out, const struct option *o)
{
    const struct kind_row *kind = &kinds[o->kind];
    const char *quote = kind->is_quoted ? "\"" : "";
    const char *value = o->fallback ? o->fallback : "";

    if (kind->is_list && !o->fallback)
        buf_add_text(out, "{}");
    else
        buf_printf(out, "%s%s%s%s%s", kind->is_list ? "{ " : "", quote, value, quote,
                   kind->is_list ? " }" : "");
}

void
config_write_sample(struct buf *out)
{
    buf_add_text(out, "# postern.conf: the defaults; postern.conf(5) explains the syntax.\n");
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        buf_add_text(out, "\n");
        write_wrapped(out, "# ", options[i].text);
        buf_printf(out, "#%s = ", options[i].name);
        write_sample_value(out, &options[i]);
        buf_add_text(out, "\n");
    }
}

void
config_write_manual(struct buf *out)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const struct option *o = &options[i];

        buf_printf(out, ".It Ic %s No = Ar %s\n", o->name, kinds[o->kind].word);
        mdoc_add_lines(out, o->text);
        if (o->fallback)
            buf_printf(out, "Default:\n.Li %s .\n", o->fallback);
    }
}
