/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Facts are gathered as for a session, judged as at RCPT, until nothing is waited for.  The memory
 * is asked as well, but only for a look: nobody has come by being simulated.  A message is judged
 * even if its first contact would wait: it would come again.  That a first contact waits in
 * fallback mode is not simulated.
 */
#include "relayd/simulate.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "relayd/decision.h"
#include "relayd/recipient_policy.h"
#include "relayd/screen.h"
#include "relayd/sender_verdict.h"

struct simulation {
    struct simulation *next;
    struct worker *worker;
    struct sender_facts *facts;
    struct smtp_mail mail;
    struct smtp_rcpt rcpt;
    bool is_spf_only;
    struct recipient_route route;
    struct screen screen;
    struct state_query *query; /* to the memory */
    enum policy_fact ban, greylist;
    int64_t wait_ms;             /* 0: no first contact, or none that waits */
    json_t *message;             /* what relayctl has found in it; NULL: RCPT alone */
    struct sender_facts *origin; /* of whom a filter had it from; NULL: not asked for */
    bool is_at_end;              /* RCPT is accepted: `screen` is the origin's, if there is one */
    simulate_on_done on_done;
    uint32_t id;
};

static void
drop(struct simulation *s)
{
    struct simulation **at = &s->worker->simulations;

    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    state_query_cancel(&s->query);
    sender_facts_free(&s->facts);
    sender_facts_free(&s->origin);
    json_decref(s->message);
    loop_defer(s->worker->loop, free, s);
}

static void
end(struct simulation *s, json_t *answer)
{
    s->on_done(s->worker, s->id, answer);
    drop(s);
}

static json_t *
json_of_error(const char *why)
{
    return json_pack("{s:b, s:s}", "ok", 0, "error", why);
}

/* --- The answer. */

static json_t *
json_of_spf(const struct spf_result *spf)
{
    if (spf == NULL)
        return json_null();
    return json_pack("{s:s, s:s, s:s, s:s, s:b, s:i}", "result", spf_verdict_text(spf->verdict),
                     "domain", spf->domain, "mechanism", spf->mechanism, "reason", spf->reason,
                     "says_something", spf->is_sound, "lookups", (int)spf->lookups);
}

/* By which a check was judged: the origin's, or the connecting client's. */
static const struct sender_facts *
facts_of(const struct simulation *s, enum policy_check check)
{
    bool is_of_origin =
        s->origin && sender_facts_known(s->origin)->of[check] != POLICY_FACT_UNKNOWN;

    return is_of_origin ? s->origin : s->facts;
}

static const char *
result_of(const struct simulation *s, enum policy_check check)
{
    enum policy_fact fact;

    if (facts_of(s, check) == s->origin)
        return policy_fact_word(sender_facts_known(s->origin)->of[check]);
    if (s->screen.exempt & policy_check_bit(check))
        return "exempt";
    if (check == POLICY_GREYLIST && s->greylist == POLICY_FACT_UNKNOWN &&
        s->screen.by == SCREEN_BY_POLICY && !screen_is_refused(&s->screen))
        return "none"; /* it does not come to that */
    fact = check == POLICY_BAN        ? s->ban
           : check == POLICY_GREYLIST ? s->greylist
                                      : sender_facts_known(s->facts)->of[check];
    return fact == POLICY_FACT_UNKNOWN ? "not asked" : policy_fact_word(fact);
}

static json_t *
json_of_check(const struct simulation *s, enum policy_check check)
{
    const struct sender_facts *facts = facts_of(s, check);
    const struct sender_dnsbl_found *found = sender_facts_dnsbl(facts);
    json_t *json =
        json_pack("{s:s, s:s, s:s, s:s, s:I}", "check", policy_check_name(check), "action",
                  policy_action_name(policy_action_of(s->screen.policy, check)), "result",
                  result_of(s, check), "input", sender_facts_input(facts, check), "ms",
                  (json_int_t)sender_facts_ms(facts, check));

    if (check == POLICY_DNSBL && found && found->white_list)
        json_object_set_new(json, "white_list", json_string(found->white_list));
    return json;
}

static json_t *
json_of_checks(const struct simulation *s)
{
    json_t *checks = json_array();

    for (unsigned i = 0; i < POLICY_CHECK_COUNT; i++) {
        enum policy_check check = (enum policy_check)i;

        if (policy_action_of(s->screen.policy, check) != POLICY_OFF)
            json_array_append_new(checks, json_of_check(s, check));
    }
    return checks;
}

static json_t *
json_of_marks(unsigned marks)
{
    json_t *names = json_array();

    for (unsigned i = 0; i < POLICY_CHECK_COUNT; i++)
        if (marks >> i & 1)
            json_array_append_new(names, json_string(policy_check_name((enum policy_check)i)));
    return names;
}

static json_t *
json_of_verdict(const struct simulation *s, const char *verdict, const struct smtp_reply *reply)
{
    static const char *const by_words[] = {[SCREEN_BY_POLICY] = "policy",
                                           [SCREEN_BY_ALLOW] = "allow",
                                           [SCREEN_BY_BLOCK] = "block",
                                           [SCREEN_BY_FILTERS_ONLY] = "filters-only",
                                           [SCREEN_BY_NO_REGISTRY] = "no-registry"};
    char text[SMTP_REPLY_LINE_SIZE], policy[POLICY_TEXT_SIZE];

    return json_pack("{s:b, s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:o, s:o, s:o, s:o}", "ok", 1,
                     "verdict", verdict, "reply", smtp_reply_text(reply, text, sizeof text),
                     "customer", s->route.customer.name, "policy",
                     policy_text(s->screen.policy, policy), "by", by_words[s->screen.by], "rule",
                     s->screen.why, "greylist_applies", s->wait_ms > 0, "checks", json_of_checks(s),
                     "marks", json_of_marks(s->screen.judgement.marks), "spf",
                     json_of_spf(sender_facts_spf(s->origin ?: s->facts, SPF_MAIL_FROM)),
                     "spf_helo", json_of_spf(sender_facts_spf(s->origin ?: s->facts, SPF_HELO)));
}

static json_t *
json_of_refusal(const struct simulation *s, enum smtp_verdict verdict)
{
    struct smtp_reply reply = smtp_verdict_reply(verdict);

    return json_of_verdict(s, reply.code / 100 == 5 ? "refuse" : "later", &reply);
}

/* What would be answered if it were kept, for who asks scanners that may want that. */
static void
add_queued(const struct simulation *s, json_t *json)
{
    int64_t until_ms = clock_retention_end_ms(clock_wall_ms(), s->route.customer.retention_days);
    struct smtp_reply reply = smtp_reply_queued("simulated", until_ms);
    char text[SMTP_REPLY_LINE_SIZE];

    json_object_set_new(json, "queued", json_string(smtp_reply_text(&reply, text, sizeof text)));
}

static bool
is_first_contact(const struct simulation *s)
{
    return s->screen.by == SCREEN_BY_POLICY && s->screen.judgement.verdict == POLICY_TRY_LATER &&
           s->screen.judgement.check == POLICY_GREYLIST;
}

static json_t *
json_of_end(const struct simulation *s)
{
    struct smtp_reply reply = smtp_verdict_reply(SMTP_VERDICT_RECIPIENT_OK);
    json_t *json;

    if (s->wait_ms > 0)
        reply = sender_verdict_first_contact(SMTP_VERDICT_GREYLISTED, s->wait_ms);
    if (!screen_is_refused(&s->screen) || is_first_contact(s)) {
        json = json_of_verdict(s, s->wait_ms > 0 ? "later" : "accept", &reply);
        if (s->message)
            add_queued(s, json);
        return json;
    }
    reply = screen_reply(&s->screen, s->origin ?: s->facts);
    return json_of_verdict(s, reply.code / 100 == 5 ? "refuse" : "later", &reply);
}

static json_t *
json_of_spf_alone(const struct simulation *s)
{
    bool has_sender = !s->mail.path.is_null;

    return json_pack("{s:b, s:o, s:o}", "ok", 1, "spf",
                     json_of_spf(sender_facts_spf(s->facts, has_sender ? SPF_MAIL_FROM : SPF_HELO)),
                     "spf_helo", json_of_spf(sender_facts_spf(s->facts, SPF_HELO)));
}

/* --- Judging. */

static void
judge_spf(struct simulation *s)
{
    if (sender_facts_look(s->facts, POLICY_CHECKS_OF_SPF)->of[POLICY_SPF] != POLICY_FACT_UNKNOWN)
        end(s, json_of_spf_alone(s));
}

/* People want to see every check, and not the first alone that decides. */
static bool
is_all_known(const struct simulation *s)
{
    const struct policy_facts *facts = sender_facts_known(s->facts);
    unsigned checks = screen_checks(&s->screen);

    for (unsigned i = 0; i < POLICY_CHECK_COUNT; i++)
        if (i != POLICY_BAN && (checks & ~POLICY_CHECKS_APART) >> i & 1 &&
            facts->of[i] == POLICY_FACT_UNKNOWN)
            return false;
    return true;
}

static uint64_t
number_of(const json_t *message, const char *key)
{
    json_int_t n = json_integer_value(json_object_get(message, key));

    return n > 0 ? (uint64_t)n : 0;
}

/* As transaction_end does, in its order. */
static enum smtp_verdict
verdict_of_content(const struct simulation *s)
{
    const struct config *config = s->worker->config;
    uint64_t most = s->route.customer.max_message_size_bytes;
    struct decision_content content = {
        .is_too_big = number_of(s->message, "size") >
                      (most < config->max_message_size ? most : config->max_message_size),
        .received_count = (unsigned)number_of(s->message, "received"),
        .received_max = config->max_received,
        .own_received = (unsigned)number_of(s->message, "own_received"),
    };

    return json_is_true(json_object_get(s->message, "damaged")) ? SMTP_VERDICT_BARE_LINE_END
                                                                : decision_of_content(&content);
}

static void
judge_origin(struct simulation *s)
{
    s->screen.judgement = screen_judge_origin(&s->screen, s->origin);
    if (s->screen.judgement.verdict != POLICY_WAIT)
        end(s, json_of_end(s));
}

static void judge(void *ctx);

/* RCPT is accepted, and the message has come. */
static void
judge_message(struct simulation *s)
{
    const char *origin = json_string_value(json_object_get(s->message, "origin"));
    enum smtp_verdict verdict = verdict_of_content(s);
    struct inet_endpoint client;

    s->is_at_end = true;
    if (verdict != SMTP_VERDICT_OK) {
        end(s, json_of_refusal(s, verdict));
        return;
    }
    if (!s->screen.origin_received || origin == NULL ||
        inet_endpoint_parse(slice_of(origin), 25, &client) < 0) {
        end(s, json_of_end(s));
        return;
    }
    s->origin = sender_facts_new(s->worker, &client, NULL);
    sender_facts_set_sender(s->origin, &s->mail.path);
    sender_facts_listen(s->origin, judge, s);
    judge_origin(s);
}

/* --- The memory. */

static void
on_ban(void *ctx, const struct state_answer *answer)
{
    struct simulation *s = ctx;

    s->query = NULL;
    s->ban = answer->banned_until_ms > clock_wall_ms() ? POLICY_FACT_FAIL : POLICY_FACT_PASS;
    judge(s);
}

static void
on_greylist(void *ctx, const struct state_answer *answer)
{
    struct simulation *s = ctx;

    s->query = NULL;
    s->wait_ms = answer->greylist.wait_ms;
    s->greylist = !answer->is_told ? POLICY_FACT_TEMPORARY
                  : s->wait_ms > 0 ? POLICY_FACT_FAIL
                                   : POLICY_FACT_PASS;
    judge(s);
}

static void
ask_greylist(struct simulation *s)
{
    char recipient[SMTP_PATH_SIZE];
    struct state_greylist_key key = {.customer_id = s->route.customer.id,
                                     .client = *sender_facts_client(s->facts),
                                     .sender = s->mail.path.text,
                                     .recipient = recipient,
                                     .authorised_domain = screen_pool(&s->screen, s->facts)};

    smtp_path_key(&s->rcpt.path, recipient);
    s->query = state_greylist_look(s->worker->state, &key,
                                   (int64_t)s->worker->config->greylist_delay_ms, on_greylist, s);
}

static void
ask(struct simulation *s, enum policy_check check)
{
    if (s->query)
        return;
    if (check == POLICY_BAN)
        s->query = state_ban_ask(s->worker->state, s->route.customer.id,
                                 sender_facts_client(s->facts), on_ban, s);
    else if (check == POLICY_GREYLIST)
        ask_greylist(s);
}

static void
judge_rcpt(struct simulation *s)
{
    struct screen_question question = {
        .customer = &s->route.customer,
        .domain = &s->route.domain,
        .sender = s->mail.path.text,
        .ban = s->ban,
        .greylist = s->greylist,
    };
    const struct policy_judgement *judgement = &s->screen.judgement;

    screen_judge(s->worker, &question, s->facts, &s->screen);
    if (s->screen.by == SCREEN_BY_POLICY && judgement->verdict == POLICY_WAIT)
        ask(s, judgement->check);
    if (s->screen.by == SCREEN_BY_POLICY && (judgement->verdict == POLICY_WAIT || !is_all_known(s)))
        return;
    if (s->message && (!screen_is_refused(&s->screen) || is_first_contact(s)))
        judge_message(s);
    else
        end(s, json_of_end(s));
}

static void
judge(void *ctx)
{
    struct simulation *s = ctx;

    if (s->is_spf_only)
        judge_spf(s);
    else if (s->is_at_end)
        judge_origin(s);
    else
        judge_rcpt(s);
}

/* --- The question. */

static const char *
text_of(const json_t *question, const char *key)
{
    const char *text = json_string_value(json_object_get(question, key));

    return text ? text : "";
}

/* NULL: it can be judged. */
static const char *
read_sender(struct simulation *s, const json_t *question, struct inet_endpoint *client)
{
    const char *from = text_of(question, "from");

    if (inet_endpoint_parse(slice_of(text_of(question, "client")), 25, client) < 0)
        return "its client is no address";
    s->mail.path.is_null = from[0] == '\0' || strcmp(from, "<>") == 0;
    if (!s->mail.path.is_null && smtp_path_parse_mailbox(slice_of(from), &s->mail.path) < 0)
        return "its sender is no mail address";
    return NULL;
}

/* False: it has been answered. */
static bool
find_route(struct simulation *s, const json_t *question)
{
    struct registry_backend backends[REGISTRY_BACKENDS_MAX];
    enum smtp_verdict verdict;

    if (smtp_path_parse_mailbox(slice_of(text_of(question, "rcpt")), &s->rcpt.path) < 0) {
        end(s, json_of_error("its recipient is no mail address"));
        return false;
    }
    verdict = recipient_policy_route(s->worker, &s->mail, &s->rcpt, &s->route, backends);
    if (verdict == SMTP_VERDICT_OK)
        return true;
    s->screen.by = SCREEN_BY_POLICY;
    s->route.customer.name[0] = '\0';
    end(s, json_of_refusal(s, verdict));
    return false;
}

void
simulate_start(struct worker *worker, uint32_t id, const json_t *question, simulate_on_done on_done)
{
    struct simulation *s = mem_alloc(sizeof *s);
    struct inet_endpoint client = {.family = 0};
    const char *wrong = read_sender(s, question, &client);

    s->worker = worker;
    s->on_done = on_done;
    s->id = id;
    s->is_spf_only = strcmp(text_of(question, "check"), "spf") == 0;
    s->ban = s->mail.path.is_null ? POLICY_FACT_UNKNOWN : POLICY_FACT_NONE;
    s->message = json_incref(json_object_get(question, "message"));
    s->next = worker->simulations;
    worker->simulations = s;
    s->facts = sender_facts_new(worker, &client, NULL);
    if (wrong) {
        end(s, json_of_error(wrong));
        return;
    }
    sender_facts_set_helo(s->facts, slice_of(text_of(question, "helo")));
    sender_facts_set_sender(s->facts, &s->mail.path);
    sender_facts_listen(s->facts, judge, s);
    if (s->is_spf_only || find_route(s, question))
        judge(s);
}

void
simulate_cancel_all(struct worker *worker)
{
    while (worker->simulations)
        drop(worker->simulations);
}
