/* SPDX-License-Identifier: BSD-2-Clause
 *
 * P2: what an order means for a message in each state, and that it is carried out once, with a
 * note.
 */
#include <criterion/criterion.h>

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "order/order_json.h"

/* --- Judging. */

static struct spool_detail detail;

enum situation { WAITING, HELD, ENDED, DAMAGED, PREPARED, LISTENING, REDIRECTED, SITUATIONS };

static struct spool_message
message_in(enum situation s)
{
    struct spool_message m = {
        .customer_id = 5,
        .recipient_count = 2,
        .domain = "acme.example",
        .open_count = 2,
        .expires_at_ms = 1000,
        .detail = &detail,
    };

    m.held = s == HELD;
    detail.hold_reason = m.held ? "why" : "";
    m.open_count = s == ENDED ? 0 : 2;
    m.damaged = s == DAMAGED;
    m.prepared = s == PREPARED;
    detail.listens_until_ms = s == LISTENING ? 1 : 0;
    detail.redirect = s == REDIRECTED ? 2 : 0;
    return m;
}

#define D ORDER_DONE
#define A ORDER_ALREADY
#define E ORDER_ENDED
#define U ORDER_UNFIT

static const struct {
    const char *name;
    struct order order;
    enum order_result
        want[SITUATIONS]; /* waiting held ended damaged prepared listening redirected */
} judged[] = {
    {"retry", {.act = SPOOL_ACT_RETRY}, {D, U, E, U, U, U, D}},
    {"hold", {.act = SPOOL_ACT_HOLD, .reason = "other"}, {D, D, E, D, D, D, D}},
    {"hold again", {.act = SPOOL_ACT_HOLD, .reason = "why"}, {D, A, E, D, D, D, D}},
    {"release", {.act = SPOOL_ACT_RELEASE}, {A, D, E, U, A, A, A}},
    {"extend", {.act = SPOOL_ACT_EXTEND, .until_ms = 1001}, {D, D, E, D, D, D, D}},
    {"shorten", {.act = SPOOL_ACT_EXTEND, .until_ms = 1000}, {A, A, E, A, A, A, A}},
    {"redirect",
     {.act = SPOOL_ACT_REDIRECT, .customer_id = 5, .backend = 2},
     {D, D, E, D, D, D, A}},
    {"to another's",
     {.act = SPOOL_ACT_REDIRECT, .customer_id = 6, .backend = 2},
     {U, U, E, U, U, U, U}},
    {"redirect no more", {.act = SPOOL_ACT_REDIRECT}, {A, A, E, A, A, A, D}},
    {"remove", {.act = SPOOL_ACT_REMOVE, .reason = "x"}, {D, D, E, D, U, D, D}},
    {"return", {.act = SPOOL_ACT_RETURN, .reason = "x"}, {D, D, E, D, U, D, D}},
    {"view", {.act = SPOOL_ACT_VIEW, .reason = "x"}, {D, D, D, D, D, D, D}},
    {"export", {.act = SPOOL_ACT_EXPORT, .reason = "x"}, {D, D, D, D, D, D, D}},
};

Test(order, each_act_in_each_situation)
{
    for (size_t i = 0; i < ARRAY_SIZE(judged); i++) {
        for (enum situation s = 0; s < SITUATIONS; s++) {
            struct spool_message m = message_in(s);
            const char *why = NULL;
            enum order_result got = order_judge(&m, &judged[i].order, &why);

            cr_expect_eq(got, judged[i].want[s], "%s, situation %d: %s", judged[i].name, s,
                         order_result_word(got));
            cr_expect(why && (got == ORDER_DONE) == (why[0] == '\0'), "%s, situation %d: why",
                      judged[i].name, s);
        }
    }
}

/* P2: what the keeper before us has done of an order is done, and nobody else's ends are. */
Test(order, is_seen_to_be_carried_out_already)
{
    static const struct {
        const char *name;
        struct order order;
        enum situation situation;
        const char *reply; /* of one that has ended */
        enum spool_end end;
        bool want;
    } cases[] = {
        {"held by it", {.act = SPOOL_ACT_HOLD, .reason = "why"}, HELD, NULL, 0, true},
        {"held by another", {.act = SPOOL_ACT_HOLD, .reason = "other"}, HELD, NULL, 0, false},
        {"released", {.act = SPOOL_ACT_RELEASE}, WAITING, NULL, 0, true},
        {"a retry leaves nothing", {.act = SPOOL_ACT_RETRY}, WAITING, NULL, 0, false},
        {"removed by it",
         {.act = SPOOL_ACT_REMOVE, .reason = "a worm"},
         ENDED,
         "removed by olaf: a worm",
         SPOOL_END_REMOVED,
         true},
        {"removed by another",
         {.act = SPOOL_ACT_REMOVE, .reason = "a worm"},
         ENDED,
         "removed by nina: a worm",
         SPOOL_END_REMOVED,
         false},
        {"delivered",
         {.act = SPOOL_ACT_REMOVE, .reason = "a worm"},
         ENDED,
         "removed by olaf: a worm",
         SPOOL_END_DELIVERED,
         false},
        {"returned by it",
         {.act = SPOOL_ACT_RETURN, .reason = "gone"},
         ENDED,
         "returned by olaf: gone [no notice: spam]",
         SPOOL_END_RETURNED,
         true},
        {"returned, removed by it",
         {.act = SPOOL_ACT_REMOVE, .reason = "gone"},
         ENDED,
         "returned by olaf: gone",
         SPOOL_END_RETURNED,
         false},
        {"held and ended",
         {.act = SPOOL_ACT_HOLD, .reason = "why"},
         ENDED,
         "removed by olaf: why",
         SPOOL_END_REMOVED,
         false},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct spool_recipient_detail recipients[2] = {{.domain = "acme.example"}};
        struct spool_message m = message_in(cases[i].situation);

        recipients[0].end = cases[i].end;
        recipients[0].reply = (char *)cases[i].reply;
        detail.recipients = cases[i].reply ? recipients : NULL;
        cr_expect_eq(order_is_so(&m, &cases[i].order, "olaf"), cases[i].want, "%s", cases[i].name);
        detail.recipients = NULL;
    }
}

/* --- Over the socket. */

static struct ref
some_ref(void)
{
    return ref_make(1, INT64_C(1790000000000), 1, 7);
}

Test(order_json, comes_back_as_it_was)
{
    struct order order = {.act = SPOOL_ACT_REDIRECT,
                          .reason = "a \"reason\"",
                          .until_ms = 12345,
                          .customer_id = 7,
                          .backend = 3,
                          .detail = "to acme/3"};
    struct ref ref = some_ref(), *refs;
    json_t *json = order_json_of(&order, &ref, 1);
    struct order got;
    const char *why;
    size_t count;

    cr_assert_eq(order_json_parse(json, &got, &refs, &count, &why), 0);
    cr_expect(got.act == order.act && got.until_ms == 12345 && got.customer_id == 7 &&
              got.backend == 3);
    cr_expect_str_eq(got.reason, order.reason);
    cr_expect_str_eq(got.detail, order.detail);
    cr_expect(count == 1 && ref_equal(refs[0], ref));
    free(refs);
    json_decref(json);
}

Test(order_json, the_largest_fits_into_a_line_of_the_socket)
{
    struct ref *refs = mem_alloc(ORDER_IDS_MAX * sizeof *refs);
    char reason[ORDER_REASON_MAX + 1];
    struct order order = {.act = SPOOL_ACT_HOLD, .reason = reason, .detail = reason};
    json_t *json;
    char *line;

    memset(reason, 1, ORDER_REASON_MAX); /* six octets each in JSON */
    reason[ORDER_REASON_MAX] = '\0';
    for (size_t i = 0; i < ORDER_IDS_MAX; i++)
        refs[i] = some_ref();
    json = order_json_of(&order, refs, ORDER_IDS_MAX);
    line = json_dumps(json, JSON_COMPACT);
    cr_expect_lt(strlen(line), 64 * 1024 - 1);
    free(line);
    json_decref(json);
    free(refs);
}

static const char *const wrong[] = {
    "null",
    "{}",
    "{\"act\":\"dance\",\"ids\":[\"P001-4KX3T-0B7Q2CF\"]}",
    "{\"act\":\"resend\",\"reason\":\"x\",\"ids\":[\"P001-4KX3T-0B7Q2CF\"]}",
    "{\"act\":\"retry\"}",
    "{\"act\":\"retry\",\"ids\":[]}",
    "{\"act\":\"retry\",\"ids\":[1]}",
    "{\"act\":\"retry\",\"ids\":\"P001-4KX3T-0B7Q2CF\"}",
    "{\"act\":\"retry\",\"ids\":[\"P001-4KX3T\"]}",
    "{\"act\":\"remove\",\"ids\":[\"P001-4KX3T-0B7Q2CF\"]}",
    "{\"act\":\"remove\",\"reason\":7,\"ids\":[\"P001-4KX3T-0B7Q2CF\"]}",
    "{\"act\":\"extend\",\"until_ms\":-5,\"ids\":[\"P001-4KX3T-0B7Q2CF\"]}",
    "{\"act\":\"extend\",\"until_ms\":9000000000000,\"ids\":[\"P001-4KX3T-0B7Q2CF\"]}",
    "{\"act\":\"redirect\",\"reason\":\"x\",\"backend\":1,\"ids\":[\"P001-4KX3T-0B7Q2CF\"]}",
};

Test(order_json, what_is_wrong_is_refused)
{
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        json_t *json = json_loads(wrong[i], JSON_DECODE_ANY, NULL);
        struct order order;
        struct ref *refs;
        size_t count;
        const char *why = NULL;

        cr_expect_eq(order_json_parse(json, &order, &refs, &count, &why), ERR_SYNTAX, "%s",
                     wrong[i]);
        cr_expect(why && why[0], "%s", wrong[i]);
        json_decref(json);
    }
}

Test(order, a_user_has_a_name_without_asking_anybody)
{
    char who[ORDER_WHO_SIZE];

    cr_expect_str_eq(order_who(0, who), "root");
    cr_expect_str_eq(order_who(3999999999, who), "uid 3999999999");
}
