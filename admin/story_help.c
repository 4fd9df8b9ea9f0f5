/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The words are those of smtp_verdict.def.  What a backend has decided is in no table of ours; and
 * what is put off by a policy's word has the remedies of the check that failed.
 */
#include "admin/story_help.h"

#include <stdlib.h>
#include <string.h>

#include "admin/paragraph.h"
#include "admin/printer.h"
#include "base/inet.h"

/* --- Whose help it is. */

/* Of the reply's code, since some words are of several replies. */
static bool
find_verdict(const json_t *event, enum smtp_verdict *verdict)
{
    uint16_t code = (uint16_t)strtoul(event_words_text(event, "reply"), NULL, 10);

    *verdict = 0;
    if (smtp_verdict_find(event_words_text(event, "verdict"), code, verdict) == ERR_OK)
        return true;
    *verdict = 0;
    return smtp_verdict_find(event_words_text(event, "verdict"), 0, verdict) == ERR_OK;
}

/* What the check that failed would have refused with: its text is that of the reply that puts off.
 */
static bool
find_refusal(const json_t *event, enum smtp_verdict *verdict)
{
    struct smtp_reply said, own;

    if (smtp_reply_from_text(slice_of(event_words_text(event, "reply")), &said) < 0)
        return false;
    for (unsigned v = 0; v < SMTP_VERDICT_COUNT; v++) {
        own = smtp_verdict_reply((enum smtp_verdict)v);
        if (own.code < 500 || strncmp(said.text, own.text, strlen(own.text)) != 0)
            continue;
        *verdict = (enum smtp_verdict)v;
        return true;
    }
    return false;
}

/* --- What the backend decided. */

static const struct {
    char class;
    const char *why, *remedies[SMTP_REMEDY_COUNT];
} by_backend[] = {
    {'5',
     "The customer's own server has refused it, in the words above; we passed its answer on.",
     {"Do what that answer asks for.",
      "Your server's log says why, at that time; change the rule there if the refusal was "
      "wrong.",
      "Nothing: the customer's server decides. To ask it again: "
      "`relayctl backend test BACKEND --rcpt RECIPIENT`"}},
    {'4',
     "The customer's own server has put it off, in the words above; we passed its answer on.",
     {"Nothing: your mail server keeps the message and tries again by itself.",
      "See your server's log at that time; if it greylists or limits this relay, exempt it.",
      "Normally nothing: the sender's server tries again."}},
};

static bool
set_backend_help(struct story_help *help, const json_t *event)
{
    for (size_t i = 0; i < ARRAY_SIZE(by_backend); i++) {
        if (by_backend[i].class != story_event_class(event))
            continue;
        buf_add_text(&help->why, by_backend[i].why);
        memcpy(help->remedies, by_backend[i].remedies, sizeof help->remedies);
        if (strstr(event_words_text(event, "backend_reply"), " 5.1."))
            help->remedies[SMTP_REMEDY_SENDER] =
                "Check the recipient's address: it does not exist on the recipient's server.";
        return true;
    }
    return false;
}

/* --- What we decided. */

static void
set_remedies(struct story_help *help, enum smtp_verdict verdict)
{
    for (int r = 0; r < SMTP_REMEDY_COUNT; r++)
        help->remedies[r] = smtp_verdict_remedy(verdict, (enum smtp_remedy)r);
}

static const char refuse_at_once[] =
    "If the customer agrees, to refuse such mail at once, so that the sender hears of it days "
    "earlier: `relayctl customer set CUSTOMER --policy CHECK=reject`";

/* Each can do what he can about the refusal, and we could refuse at once. */
static void
set_put_off(struct story_help *help, const json_t *event)
{
    enum smtp_verdict refusal;

    buf_printf(&help->why,
               "The check %s failed. This customer has chosen to put such mail off instead of "
               "refusing it, so it fails at every attempt.",
               event_words_text(event, "decided_by"));
    set_remedies(help, SMTP_VERDICT_POLICY_LATER);
    if (!find_refusal(event, &refusal))
        return;
    buf_add_text(&help->why, " ");
    story_why_add(&help->why, event, refusal);
    set_remedies(help, refusal);
    buf_printf(&help->own, "%s %s", help->remedies[SMTP_REMEDY_OPERATOR], refuse_at_once);
    help->remedies[SMTP_REMEDY_OPERATOR] = buf_text(&help->own);
}

/* --- What we can do where the case says more than the verdict. */

static bool
blocks_one(const struct story_help *help, const json_t *event)
{
    struct inet_network network;

    (void)event;
    if (inet_network_parse(slice_of(help->rule), &network) == ERR_OK)
        return network.bits == (network.family == 4 ? 32 : 128);
    return strchr(help->rule, '@') != NULL;
}

static bool
was_by_policy(const struct story_help *help, const json_t *event)
{
    (void)help;
    return event_words_text(event, "decided_by")[0] != '\0';
}

static bool
was_by_mode(const struct story_help *help, const json_t *event)
{
    return !was_by_policy(help, event);
}

static bool
has_entry(const struct story_help *help, const json_t *event)
{
    (void)help;
    return json_object_get(event, "entry") != NULL;
}

static bool
cannot_repair(const struct story_help *help, const json_t *event)
{
    const char *fault = event_words_text(event, "fault");

    (void)help;
    return fault[0] && strcmp(fault, "bare LF") != 0;
}

static const struct {
    const char *verdict;
    bool (*holds)(const struct story_help *help, const json_t *event);
    enum smtp_remedy who;
    const char *remedy;
} cases[] = {
    /* there is nobody to except */
    {"sender-blocked", blocks_one, SMTP_REMEDY_OPERATOR,
     "To end it, if the customer agrees: "
     "`relayctl block remove RULE --customer CUSTOMER --reason TEXT`"},
    {"greylisted", was_by_policy, SMTP_REMEDY_OPERATOR,
     "Normally nothing. Only if the customer asks for it and knows this server, to let it through "
     "for "
     "seven days, past all checks (SPF too): "
     "`relayctl allow add ADDRESS --customer CUSTOMER --until +7d` "
     "To end greylisting for the customer: `relayctl customer set CUSTOMER --policy greylist=off`"},
    {"greylisted", was_by_mode, SMTP_REMEDY_OPERATOR,
     "Normally nothing. Only if the customer asks for it and knows this server, to let it through "
     "for "
     "seven days, past all checks (SPF too): "
     "`relayctl allow add ADDRESS --customer CUSTOMER --until +7d` "
     "To take such mail without greylisting: `relayctl domain set DOMAIN --primary-up accept`"},
    {"bare-line-end", cannot_repair, SMTP_REMEDY_CUSTOMER, "Nothing."},
    {"bare-line-end", cannot_repair, SMTP_REMEDY_OPERATOR, "Nothing: no setting admits it."},
    {"suspended", has_entry, SMTP_REMEDY_OPERATOR,
     "Only after whoever suspended it agrees: `relayctl customer resume CUSTOMER`"},
};

/* A rule is of who connects, and that is the filter. */
static const char behind_filter[] =
    "Normally nothing. The filter connects, and not the address that was judged: an allow of that "
    "does not help. To let this sender through, past all checks but SPF fail: "
    "`relayctl allow add SENDER --customer CUSTOMER --until +7d` "
    "Last resort, this check refuses nobody's mail any more, and only marks it with a header line "
    "X-Postern: "
    "`relayctl customer set CUSTOMER --policy CHECK=mark`";

static void
set_case(struct story_help *help, const json_t *event)
{
    if (event_words_text(event, "origin_client")[0] && was_by_policy(help, event))
        help->remedies[SMTP_REMEDY_OPERATOR] = behind_filter;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        if (story_event_has_verdict(event, cases[i].verdict) && cases[i].holds(help, event))
            help->remedies[cases[i].who] = cases[i].remedy;
}

static bool
set_our_help(struct story_help *help, const json_t *event)
{
    enum smtp_verdict verdict;

    if (!find_verdict(event, &verdict))
        return false;
    if (verdict == SMTP_VERDICT_POLICY_LATER) {
        set_put_off(help, event);
    } else {
        story_why_add(&help->why, event, verdict);
        set_remedies(help, verdict);
    }
    set_case(help, event);
    return true;
}

/* The first recipient's; of a client behind a filter, whom the filter had it from. */
static struct replies_case
case_of(const json_t *event)
{
    const char *recipient = story_event_recipient(event);
    const char *at = recipient ? strrchr(recipient, '@') : NULL;
    const char *domain = event_words_text(event, "domain");

    return (struct replies_case){
        .customer = event_words_text(event, "customer"),
        .address = story_why_address(event),
        .sender = event_words_text(event, "from"),
        .recipient = recipient,
        .domain = domain[0] ? domain : (at ? at + 1 : NULL),
        .check = event_words_text(event, "decided_by"),
        .backend = event_words_text(event, "backend_name"),
    };
}

bool
story_help_init(struct story_help *help, const json_t *event)
{
    *help = (struct story_help){.word = event_words_text(event, "verdict")};
    buf_init(&help->why, 0);
    buf_init(&help->own, 0);
    if (story_event_class(event) == '2')
        return false;
    help->about = case_of(event);
    help->about.rule = story_why_rule(event, help->rule);
    return story_event_has_verdict(event, "refused") ? set_backend_help(help, event)
                                                     : set_our_help(help, event);
}

void
story_help_fini(struct story_help *help)
{
    buf_fini(&help->why);
    buf_fini(&help->own);
}

bool
story_help_is_same(const json_t *event, const json_t *before)
{
    static const char *const keys[] = {"verdict", "customer", "decided_by", "backend_reply"};

    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        if (strcmp(event_words_text(event, keys[i]), event_words_text(before, keys[i])) != 0)
            return false;
    return story_event_class(event) == story_event_class(before);
}

void
story_help_print(FILE *out, struct story_help *help)
{
    paragraph_print(out, "Why", buf_text(&help->why));
    for (int r = 0; r < SMTP_REMEDY_COUNT; r++)
        replies_print_remedy(out, (enum smtp_remedy)r, help->remedies[r], &help->about);
}

json_t *
story_help_json(struct story_help *help)
{
    static const char *const keys[SMTP_REMEDY_COUNT] = {"sender", "customer", "operator"};
    json_t *object = json_pack("{s:s, s:o}", "verdict", help->word, "why",
                               printer_json_text(buf_text(&help->why)));
    struct buf text;

    buf_init(&text, 0);
    for (int r = 0; r < SMTP_REMEDY_COUNT; r++) {
        buf_clear(&text);
        replies_add(&text, help->remedies[r], &help->about);
        json_object_set_new(object, keys[r], printer_json_text(buf_text(&text)));
    }
    buf_fini(&text);
    return object;
}
