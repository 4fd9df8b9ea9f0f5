/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the values must keep together.
 */
#include "base/config_private.h"

#include <stdio.h>

#include "base/milter_entry.h"
#include "base/outbound.h"

/* Envelope and headers of one, and more than they take. */
#define SPILL_OVERHEAD (2 * 1024 * 1024)

static void
check_order(struct config_loading *l, const char *name, size_t low, size_t high, const char *text)
{
    const char *config = (const char *)l->config;
    unsigned line = config_line_of(l, high) ? config_line_of(l, high) : config_line_of(l, low);

    if (*(const int64_t *)(config + low) > *(const int64_t *)(config + high))
        config_add_problem(l, line, name, text);
}

/* Its value, if it is set, is not what was meant. */
static bool
is_wrong(const struct config_loading *l, size_t offset)
{
    unsigned line = config_line_of(l, offset);

    for (size_t i = 0; i < l->problem_count; i++)
        if (line != 0 && l->problems[i].line == line)
            return true;
    return false;
}

/* One message of the largest size must find room, with the headers of its file. */
static void
check_spill(struct config_loading *l)
{
    unsigned line = config_line_of(l, FIELD(spill_max))
                        ? config_line_of(l, FIELD(spill_max))
                        : config_line_of(l, FIELD(max_message_size));

    if (!is_wrong(l, FIELD(spill_max)) && !is_wrong(l, FIELD(max_message_size)) &&
        l->config->spill_max < l->config->max_message_size + SPILL_OVERHEAD)
        config_add_problem(
            l, line, "spill-max",
            "has no room for one message of max-message-size; write at least 2 MiB more "
            "than that, and so much for each large message that should pass at once");
}

/* The list that is too short is to blame, or the one that is there. */
static void
check_pairs(struct config_loading *l)
{
    size_t certificates = l->config->tls_certificate.count, keys = l->config->tls_key.count;
    bool short_of_keys = keys < certificates;
    unsigned certificate_line = config_line_of(l, FIELD(tls_certificate)),
             key_line = config_line_of(l, FIELD(tls_key)), line;
    char text[CONFIG_PROBLEM_SIZE];

    if (certificates == keys)
        return;
    line = short_of_keys ? key_line : certificate_line;
    if (line == 0)
        line = short_of_keys ? certificate_line : key_line;
    snprintf(text, sizeof text,
             "there are %zu certificates and %zu keys; name one key for each certificate, in the "
             "same order",
             certificates, keys);
    config_add_problem(l, line, short_of_keys ? "tls-key" : "tls-certificate", text);
}

/* A password is for the smarthost, and for no ears on the way. */
static void
check_credentials(struct config_loading *l)
{
    struct outbound outbound;
    enum outbound_tls tls;
    unsigned line = config_line_of(l, FIELD(outbound_credentials));

    if (l->config->outbound_credentials[0] == '\0' ||
        outbound_parse(l->config->outbound_route, &outbound) != NULL ||
        outbound_tls_parse(l->config->outbound_tls, &tls) != NULL)
        return;
    if (outbound.kind != OUTBOUND_SMARTHOST)
        config_add_problem(
            l, line, "outbound-credentials",
            "are for a smarthost, and there is none; set outbound-route to NAME:PORT");
    else if (tls < OUTBOUND_TLS_ENCRYPT)
        config_add_problem(l, line, "outbound-credentials",
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
    static char wrong[CONFIG_PROBLEM_SIZE];
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
check_milters(struct config_loading *l)
{
    for (size_t i = 0; i < l->config->milters.count; i++) {
        const char *wrong = wrong_of_milter(l->config, i);

        if (wrong)
            config_add_problem(l, config_line_of(l, FIELD(milters)), "milters", wrong);
    }
}

void
config_check_whole(struct config_loading *l)
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
