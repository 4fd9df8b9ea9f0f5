/* SPDX-License-Identifier: BSD-2-Clause
 *
 * One row a sentence.  {key} is a field of the event, or one of the values below; a sentence of
 * which a value is not known is not told, and the next one of its verdict is tried.
 */
#include "admin/story_why.h"

#include <string.h>

#include "base/inet.h"
#include "base/parse.h"

#define MINUTE_MS 60000

static const struct {
    enum smtp_verdict verdict;
    const char *text;
} sentences[] = {
    {SMTP_VERDICT_PTR_NONE,
     "The sending server's address {address} has no PTR record, which every mail server should "
     "have."},
    {SMTP_VERDICT_PTR_MISMATCH,
     "The name {ptr} (PTR) of the sending server's address {address} does not resolve to that "
     "address (FCrDNS)."},
    {SMTP_VERDICT_DIALIN,
     "The PTR name {ptr} looks like one of a dial-in or dynamic range, from which no mail server "
     "should send by itself."},
    {SMTP_VERDICT_HELO_FORGED,
     "The sending server said \"{helo}\" in HELO or EHLO, which is {helo-kind}: a forgery, or a "
     "server left at its defaults."},
    {SMTP_VERDICT_HELO_ODD,
     "The sending server said \"{helo}\" in HELO or EHLO, which is no host name with an address in "
     "DNS (RFC 5321 2.3.5)."},
    {SMTP_VERDICT_DNSBL,
     "The sending server's address {address} is on the DNS block list {dnsbl-list}."},
    {SMTP_VERDICT_SENDER_NO_DOMAIN,
     "The sender's domain {sender-domain} has neither MX nor address in DNS, so no answer or "
     "bounce could ever reach it."},
    {SMTP_VERDICT_SENDER_NULL_MX,
     "The sender's domain {sender-domain} says with a null MX (RFC 7505) that it never takes mail, "
     "so no answer or bounce could reach it."},
    {SMTP_VERDICT_SPF_FAIL,
     "The SPF record of the sender's domain says which servers may send its mail, and the sending "
     "server's address {address} is none of them: {spf_reason}."},
    {SMTP_VERDICT_SPF_SOFTFAIL,
     "By the SPF record of the sender's domain the sending server's address {address} is probably "
     "none that may send its mail (softfail): {spf_reason}. This customer's policy refuses that."},
    {SMTP_VERDICT_SPF_PERMERROR,
     "The SPF record of the sender's domain breaks RFC 7208: {spf_reason}."},
    {SMTP_VERDICT_GREYLISTED,
     "Greylisting, by the customer's policy (check {decided_by}): a first contact is put off for "
     "{minutes}. Who tries again after {again} passes, and is known from then on."},
    {SMTP_VERDICT_GREYLISTED,
     "Greylisting, since the domain is in fallback mode (primary-up strict) and its own server is "
     "up: a first contact is put off for {minutes}. Who tries again after {again} passes, and is "
     "known from then on."},
    {SMTP_VERDICT_PRIMARY_IS_UP,
     "The domain is in fallback mode with primary-up defer: while its own server is up, a first "
     "contact here waits for {minutes}. It may come again after {again}."},
    {SMTP_VERDICT_SENDER_BLOCKED, "The customer's own block list has {rule-operand}."},
    {SMTP_VERDICT_RELAY_FORM,
     "The part of the address before the @ holds the character {relay-character}. Such characters "
     "are used to trick mail servers into passing mail on or running programs, so they are refused "
     "for all customers and all senders."},
    {SMTP_VERDICT_TOO_BIG_RCPT,
     "The sending server announced {announced} octets; the customer's limit is {limit}."},
    {SMTP_VERDICT_TOO_BIG_RCPT,
     "The size that was announced is more than the customer's own server takes."},
    {SMTP_VERDICT_TOO_BIG, "The message is larger than the customer's limit of {limit} octets."},
    {SMTP_VERDICT_TOO_MANY_RECIPIENTS,
     "This is recipient {recipients} of the message, and the customer's limit is {limit}. The "
     "first ones are served."},
    {SMTP_VERDICT_LOOP, "The message has {received} Received lines, and max-received is {limit}: "
                        "it goes round between "
                        "servers."},
    {SMTP_VERDICT_BARE_LINE_END,
     "The message holds a {fault}. Lines in a message end in CR LF and nothing else (RFC 5321 "
     "2.3.8); anything else serves to smuggle one message inside another, and is refused."},
    {SMTP_VERDICT_CONNECTIONS_PER_HOUR,
     "The customer's limit of {limit} connections in any sixty minutes is used up; the reply says "
     "in how many minutes there is room again."},
};

/* --- Values. */

const char *
story_why_address(const json_t *event)
{
    const char *origin = event_words_text(event, "origin_client");

    return origin[0] && strcmp(origin, "unknown") != 0 ? origin : event_words_text(event, "client");
}

/* "block example.net: reason": a value has no space and no colon, but for addresses of IPv6. */
const char *
story_why_rule(const json_t *event, char dst[STORY_WHY_RULE_SIZE])
{
    static const char block[] = "block ";
    const char *rule = event_words_text(event, "rule");
    size_t n;

    dst[0] = '\0';
    if (strncmp(rule, block, strlen(block)) != 0)
        return dst;
    rule += strlen(block);
    n = strcspn(rule, " ");
    n -= n > 0 && rule[n - 1] == ':' && rule[n] == ' ';
    if (n < STORY_WHY_RULE_SIZE)
        snprintf(dst, STORY_WHY_RULE_SIZE, "%.*s", (int)n, rule);
    return dst;
}

static void
add_helo_kind(struct buf *b, const json_t *event)
{
    const char *helo = event_words_text(event, "helo");
    struct inet_network network;

    if (strcmp(helo, "localhost") == 0 || strncmp(helo, "localhost.", 10) == 0)
        buf_add_text(b, "every machine's name for itself");
    else if (inet_network_parse(slice_of(helo), &network) == ERR_OK)
        buf_add_text(b, "an address without brackets and no host name");
    else if (helo[0])
        buf_add_text(b, "a name or address of ours");
}

static void
add_sender_domain(struct buf *b, const json_t *event)
{
    const char *at = strrchr(event_words_text(event, "from"), '@');

    if (at)
        event_words_peer(b, at + 1);
}

static void
add_list(struct buf *b, const json_t *event)
{
    event_words_peer(b, event_words_text(story_event_check(event, "dnsbl"), "input"));
}

/* Those beyond ASCII that are read as one of these are told by the sentence of the table. */
static void
add_relay_character(struct buf *b, const json_t *event)
{
    const char *rcpt = story_event_recipient(event);
    const char *at = rcpt ? strrchr(rcpt, '@') : NULL;
    size_t n = rcpt ? strcspn(rcpt, "@%!/|") : 0;

    if (at && rcpt + n < at)
        buf_add(b, rcpt + n, 1);
}

static void
add_minutes(struct buf *b, const json_t *event)
{
    long long ms = (long long)event_words_number(event, "wait_ms");
    long long minutes = (ms + MINUTE_MS - 1) / MINUTE_MS;

    if (ms > 0)
        buf_printf(b, "%lld minute%s", minutes, minutes == 1 ? "" : "s");
}

static void
add_again(struct buf *b, const json_t *event)
{
    int64_t at_ms = event_words_at_ms(event);
    char when[STORY_EVENT_TIME_SIZE];

    if (at_ms > 0)
        buf_add_text(b, story_event_time(at_ms + event_words_number(event, "wait_ms"), when));
}

static void
add_address(struct buf *b, const json_t *event)
{
    buf_add_text(b, story_why_address(event));
}

static void
add_rule(struct buf *b, const json_t *event)
{
    char rule[STORY_WHY_RULE_SIZE];

    event_words_peer(b, story_why_rule(event, rule));
}

static void
add_field(struct buf *b, const json_t *event, const char *key)
{
    const json_t *value = json_object_get(event, key);

    if (json_is_integer(value))
        buf_printf(b, "%lld", (long long)json_integer_value(value));
    else
        event_words_peer(b, event_words_text(event, key));
}

static const struct {
    const char *key;
    void (*add)(struct buf *b, const json_t *event);
} values[] = {
    {"address", add_address},
    {"helo-kind", add_helo_kind},
    {"sender-domain", add_sender_domain},
    {"dnsbl-list", add_list},
    {"relay-character", add_relay_character},
    {"minutes", add_minutes},
    {"again", add_again},
    {"rule-operand", add_rule},
};

/* False: it is not known. */
static bool
add_value(struct buf *b, const json_t *event, const char *key)
{
    size_t before = buf_size(b);

    for (size_t i = 0; i < ARRAY_SIZE(values); i++)
        if (strcmp(key, values[i].key) == 0) {
            values[i].add(b, event);
            return buf_size(b) > before;
        }
    add_field(b, event, key);
    return buf_size(b) > before;
}

/* --- Sentences. */

static bool
add_sentence(struct buf *b, const json_t *event, const char *text)
{
    char key[32];

    while (*text) {
        size_t n = strcspn(text, "{");

        buf_add(b, text, n);
        text += n;
        if (*text == '\0')
            break;
        n = strcspn(text, "}");
        snprintf(key, sizeof key, "%.*s", (int)(n - 1), text + 1);
        if (!add_value(b, event, key))
            return false;
        text += n + 1;
    }
    return true;
}

void
story_why_add(struct buf *why, const json_t *event, enum smtp_verdict verdict)
{
    bool is_told = false;
    struct buf b;

    buf_init(&b, 0);
    for (size_t i = 0; i < ARRAY_SIZE(sentences) && !is_told; i++) {
        if (sentences[i].verdict != verdict)
            continue;
        buf_clear(&b);
        is_told = add_sentence(&b, event, sentences[i].text);
    }
    buf_add_text(why, is_told ? buf_text(&b) : smtp_verdict_help(verdict));
    buf_fini(&b);
}
