/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Sender policy at RCPT (DESIGN section 7): the customer's word on client and sender, for which
 * facts may have to be waited.  Whatever becomes known has the recipient judged again from the
 * beginning; that costs little, and there is one way.
 */
#include "relayd/transaction_private.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/event_log.h"
#include "spf/spf_header.h"

static void
go_on(struct transaction *t)
{
    if (!t->policy.is_waiting || t->policy.query != NULL)
        return;
    t->policy.is_waiting = false;
    transaction_judge_rcpt(t);
}

/* A look-up has ended. */
static void
on_change(void *ctx)
{
    go_on(ctx);
}

/* --- What the state process is asked. */

static void
on_ban(void *ctx, const struct state_answer *answer)
{
    struct transaction *t = ctx;

    t->policy.query = NULL;
    t->policy.at_hand.ban =
        answer->banned_until_ms > clock_wall_ms() ? POLICY_FACT_FAIL : POLICY_FACT_PASS;
    go_on(t);
}

static void
on_greylist(void *ctx, const struct state_answer *answer)
{
    struct transaction *t = ctx;

    t->policy.query = NULL;
    t->policy.at_hand.greylist = !answer->is_told               ? POLICY_FACT_TEMPORARY
                                 : answer->greylist.wait_ms > 0 ? POLICY_FACT_FAIL
                                                                : POLICY_FACT_PASS;
    t->policy.wait_ms = answer->greylist.wait_ms;
    go_on(t);
}

static void
ask_greylist(struct transaction *t, const struct sender_facts *facts)
{
    char recipient[SMTP_PATH_SIZE];
    struct state_greylist_key key = {.customer_id = t->rcpt_customer_id,
                                     .client = *session_peer(t->session),
                                     .sender = t->mail.path.text,
                                     .recipient = recipient,
                                     .authorised_domain =
                                         screen_pool(&t->policy.at_hand.screen, facts)};

    smtp_path_key(&t->rcpt.path, recipient);
    t->policy.query = state_greylist_ask(
        t->worker->state, &key, (int64_t)t->worker->config->greylist_delay_ms, on_greylist, t);
}

static void
ask(struct transaction *t, enum policy_check check, const struct sender_facts *facts)
{
    if (check == POLICY_BAN)
        t->policy.query = state_ban_ask(t->worker->state, t->rcpt_customer_id,
                                        session_peer(t->session), on_ban, t);
    else if (check == POLICY_GREYLIST)
        ask_greylist(t, facts);
}

/* --- The judgement. */

void
transaction_policy_begin(struct transaction *t)
{
    t->policy.is_waiting = false;
    t->policy.at_hand = (struct transaction_screen){
        .ban = t->mail.path.is_null ? POLICY_FACT_UNKNOWN : POLICY_FACT_NONE,
    };
    sender_facts_set_sender(session_facts(t->session), &t->mail.path);
}

void
transaction_policy_cancel(struct transaction *t)
{
    state_query_cancel(&t->policy.query);
    transaction_origin_cancel(t);
    t->policy.is_waiting = false;
    if (t->session)
        session_ignore_facts(t->session);
}

const char *
transaction_policy_word(const struct transaction *t)
{
    return smtp_verdict_word(screen_verdict(&t->policy.at_hand.screen, session_facts(t->session)));
}

enum transaction_policy_step
transaction_policy_judge(struct transaction *t, const struct recipient_route *route,
                         struct smtp_reply *reply)
{
    struct sender_facts *facts = session_facts(t->session);
    struct screen_question question = {
        .customer = &route->customer,
        .domain = &route->domain,
        .sender = t->mail.path.text,
        .ban = t->policy.at_hand.ban,
        .greylist = t->policy.at_hand.greylist,
    };
    struct screen *screen = &t->policy.at_hand.screen;

    screen_judge(t->worker, &question, facts, screen);
    t->policy.at_hand.is_there = true;
    if (screen->by == SCREEN_BY_POLICY && screen->judgement.verdict == POLICY_WAIT) {
        t->policy.is_waiting = true;
        sender_facts_listen(facts, on_change, t);
        ask(t, screen->judgement.check, facts);
        return TRANSACTION_POLICY_WAITS;
    }
    if (!screen_is_refused(screen))
        return TRANSACTION_POLICY_ACCEPTS;
    if (screen->by == SCREEN_BY_POLICY && screen->judgement.check == POLICY_GREYLIST)
        *reply = sender_verdict_first_contact(SMTP_VERDICT_GREYLISTED, t->policy.wait_ms);
    else
        *reply = screen_reply(screen, facts);
    smtp_reply_add_ref(reply, t->ref);
    return TRANSACTION_POLICY_REFUSES;
}

void
transaction_policy_accepted(struct transaction *t)
{
    struct transaction_policy *p = &t->policy;
    const struct policy_judgement *judgement = &p->at_hand.screen.judgement;
    const struct sender_facts *facts = session_facts(t->session);

    p->accepted = p->at_hand;
    p->marks |= judgement->marks;
    p->unsure |= judgement->unsure;
    transaction_origin_begin(t);
    p->is_verified = p->is_verified || (judgement->looked & POLICY_CHECKS_OF_SPF &&
                                        sender_facts_authorised_domain(facts)[0] != '\0');
    if (p->client_name == NULL && sender_facts_name(facts)[0])
        p->client_name = arena_copy(&t->arena, slice_of(sender_facts_name(facts)));
}

/* Once a message, however many recipients it names. */
void
transaction_policy_unknown(struct transaction *t)
{
    const struct screen *screen = &t->policy.at_hand.screen;

    if (t->policy.is_bounce_counted || t->session == NULL || !t->mail.path.is_null ||
        screen->by != SCREEN_BY_POLICY || !(screen_checks(screen) & policy_check_bit(POLICY_BAN)))
        return;
    t->policy.is_bounce_counted = true;
    state_bounce_learn(t->worker->state, t->rcpt_customer_id, session_peer(t->session));
}

void
transaction_policy_taken(struct transaction *t)
{
    if (t->session && !t->mail.path.is_null &&
        policy_action_of(t->policy.accepted.screen.policy, POLICY_BAN) != POLICY_OFF)
        state_good_learn(t->worker->state, t->route.customer.id, session_peer(t->session));
}

const char *
transaction_policy_client_name(const struct transaction *t)
{
    return t->policy.client_name ? t->policy.client_name : "";
}

/* --- The header. */

static void
add_names(struct buf *header, const char *word, unsigned checks)
{
    const char *gap = "";

    if (checks == 0)
        return;
    buf_printf(header, "; %s=", word);
    for (unsigned i = 0; i < POLICY_CHECK_COUNT; i++)
        if (checks >> i & 1) {
            buf_printf(header, "%s%s", gap, policy_check_name((enum policy_check)i));
            gap = ",";
        }
}

static void
add_marks(struct transaction *t, struct buf *header)
{
    buf_printf(header, "X-Postern: %s", t->worker->config->hostname);
    add_names(header, "mark", t->policy.marks);
    add_names(header, "unsure", t->policy.unsure);
    buf_add_text(header, "\r\n");
}

/* RFC 8601 2.2, RFC 7208 9.1: of both identities, as far as they were evaluated. */
static void
add_spf_fields(struct transaction *t, const struct sender_facts *facts, struct buf *header)
{
    static const enum spf_identity identities[] = {SPF_MAIL_FROM, SPF_HELO};
    struct spf_question questions[ARRAY_SIZE(identities)];
    struct spf_header fields[ARRAY_SIZE(identities)];
    unsigned count = 0;

    for (size_t i = 0; i < ARRAY_SIZE(identities); i++) {
        const struct spf_result *result = sender_facts_spf(facts, identities[i]);

        if (result == NULL)
            continue;
        questions[count] = sender_facts_question(facts, identities[i]);
        fields[count] = (struct spf_header){t->worker->config->hostname, &questions[count], result};
        count++;
    }
    if (count == 0)
        return;
    buf_printf(header, "Authentication-Results: %s", t->worker->config->hostname);
    for (unsigned i = 0; i < count; i++)
        spf_header_write_auth_part(&fields[i], header);
    buf_add_text(header, "\r\n");
    spf_header_write_received(&fields[0], header);
}

void
transaction_policy_header(struct transaction *t, struct buf *header)
{
    if (t->origin.facts)
        add_spf_fields(t, t->origin.facts, header);
    else if (t->policy.accepted.screen.judgement.looked & POLICY_CHECKS_OF_SPF)
        add_spf_fields(t, session_facts(t->session), header);
    if (t->policy.marks | t->policy.unsure)
        add_marks(t, header);
}

/* --- History. */

static void
add_check(struct buf *json, const struct sender_facts *facts, enum policy_check check,
          enum policy_fact fact)
{
    const char *input = sender_facts_input(facts, check);
    const struct sender_dnsbl_found *found = sender_facts_dnsbl(facts);
    char answer[INET_ENDPOINT_SIZE];

    buf_printf(json, "{\"check\":\"%s\",\"result\":\"%s\"", policy_check_name(check),
               policy_fact_word(fact));
    if (input[0])
        event_text(json, "input", slice_of(input));
    if (check == POLICY_DNSBL && fact == POLICY_FACT_FAIL && found)
        event_text(json, "answer", slice_of(inet_address_text(&found->code, answer)));
    if (check == POLICY_DNSBL && found && found->white_list)
        event_text(json, "white_list", slice_of(found->white_list));
    event_number(json, "ms", sender_facts_ms(facts, check));
    buf_add_text(json, "}");
}

static enum policy_fact
fact_of(const struct transaction_screen *judged, const struct sender_facts *facts,
        enum policy_check check)
{
    if (check == POLICY_BAN)
        return judged->ban;
    if (check == POLICY_GREYLIST)
        return judged->greylist;
    return sender_facts_known(facts)->of[check];
}

static void
add_checks(const struct transaction *t, bool is_message, struct buf *json,
           const struct transaction_screen *judged, const struct sender_facts *facts)
{
    const char *gap = "";

    buf_add_text(json, ",\"checks\":[");
    for (unsigned i = 0; i < POLICY_CHECK_COUNT; i++) {
        enum policy_check check = (enum policy_check)i;

        if (!(judged->screen.judgement.looked & policy_check_bit(check)))
            continue;
        buf_add_text(json, gap);
        add_check(json, facts, check, fact_of(judged, facts, check));
        gap = ",";
    }
    if (is_message)
        transaction_scan_event(t, json, &gap);
    buf_add_text(json, "]");
}

static void
add_spf(struct buf *json, const struct spf_result *spf, const char *key)
{
    if (spf == NULL)
        return;
    event_text(json, key, slice_of(spf_verdict_text(spf->verdict)));
    if (spf->reason[0]) {
        char name[32];

        snprintf(name, sizeof name, "%s_reason", key);
        event_text(json, name, slice_of(spf->reason));
    }
}

/* NULL: no check has refused. */
static const char *
deciding_check(const struct transaction *t, bool is_message, const struct screen *screen)
{
    if (is_message && transaction_scan_has_refused(t))
        return policy_check_name(POLICY_MILTER);
    return screen->by == SCREEN_BY_POLICY && screen_is_refused(screen)
               ? policy_check_name(screen->judgement.check)
               : NULL;
}

static void
add_judgement(const struct transaction *t, bool is_message, struct buf *json,
              const struct transaction_screen *judged, const struct sender_facts *facts)
{
    const struct screen *screen = &judged->screen;
    const char *decided_by = deciding_check(t, is_message, screen);
    char policy[POLICY_TEXT_SIZE];

    if ((is_message && t->scan) || (screen->by == SCREEN_BY_POLICY && screen->judgement.looked))
        add_checks(t, is_message, json, judged, facts);
    if (decided_by) {
        event_text(json, "decided_by", slice_of(decided_by));
        event_text(json, "policy", slice_of(policy_text(screen->policy, policy)));
    }
}

static void
add_origin(struct transaction *t, struct buf *json)
{
    char address[INET_ENDPOINT_SIZE];

    event_text(json, "origin_client",
               t->origin.facts
                   ? slice_of(inet_address_text(sender_facts_client(t->origin.facts), address))
                   : SLICE("unknown"));
}

void
transaction_policy_event(struct transaction *t, bool is_message, struct buf *json)
{
    const struct transaction_screen *judged = is_message ? &t->policy.accepted : &t->policy.at_hand;
    const struct sender_facts *facts = t->session ? session_facts(t->session) : NULL;

    if (!judged->is_there || facts == NULL)
        return;
    if (sender_facts_ptr(facts)[0])
        event_text(json, "ptr", slice_of(sender_facts_ptr(facts)));
    if (judged->screen.why[0])
        event_text(json, "rule", slice_of(judged->screen.why));
    if (is_message && judged->screen.origin_received)
        add_origin(t, json);
    if (is_message && t->origin.facts) /* what was judged, in place of the filter's own */
        facts = t->origin.facts;
    add_judgement(t, is_message, json, judged, facts);
    add_spf(json, sender_facts_spf(facts, SPF_MAIL_FROM), "spf");
    add_spf(json, sender_facts_spf(facts, SPF_HELO), "spf_helo");
}
