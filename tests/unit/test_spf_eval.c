/* SPDX-License-Identifier: BSD-2-Clause
 *
 * P4, P8: the evaluation as a value, over zones in memory: the cases of RFC 7208's test suite, what
 * a hostile record costs, which passes are sound, and that no address is trusted for where it is.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "spf/spf_eval.h"
#include "spf/spf_library.h"
#include "spf_zone.h"

static struct spf_zone_found found;

struct judged {
    struct spf_result result;
    unsigned asked, rounds, asked_txt;
};

static struct inet_endpoint
address(const char *text)
{
    struct inet_network n;
    struct inet_endpoint e = {.family = 0};
    int rc = inet_network_parse(slice_of(text), &n);

    cr_assert_eq(rc, ERR_OK, "%s", text);
    e.family = n.family;
    memcpy(e.addr, n.addr, sizeof e.addr);
    return e;
}

static void
answer_all(struct spf_eval *eval, const json_t *zone, struct judged *j)
{
    struct slice items[SPF_ZONE_ITEMS];
    const char *name;
    enum spf_type type;

    cr_assert(spf_eval_needed(eval, 0, &name, &type), "it needs something and does not say what");
    while (spf_eval_needed(eval, 0, &name, &type)) {
        struct spf_answer answer;

        spf_zone_find(zone, name, type, &found);
        answer = spf_zone_answer(&found, items);
        spf_eval_give(eval, name, type, &answer);
        j->asked++;
        j->asked_txt += type == SPF_TYPE_TXT;
        cr_assert_leq(j->asked, SPF_EVAL_QUESTIONS_MAX);
    }
}

static struct judged
judge_in(const json_t *zone, const char *ip, const char *helo, const char *mail_from)
{
    struct spf_question question = {
        .client = address(ip), .identity = SPF_MAIL_FROM, .helo = helo, .mail_from = mail_from};
    struct spf_eval *eval = spf_eval_start(&question);
    struct judged j = {.asked = 0};

    while (spf_eval_run(eval) == SPF_EVAL_NEEDS) {
        answer_all(eval, zone, &j);
        j.rounds++;
    }
    j.result = *spf_eval_result(eval);
    spf_eval_free(&eval);
    return j;
}

static struct judged
judge(const char *zone_text, const char *ip, const char *mail_from)
{
    json_error_t error;
    json_t *zone = json_loads(zone_text, 0, &error);
    struct judged j;

    cr_assert(zone != NULL, "%s: %s", zone_text, error.text);
    j = judge_in(zone, ip, "helo.test", mail_from);
    json_decref(zone);
    return j;
}

static void
settle(void)
{
    spf_library_close();
}

TestSuite(spf_eval, .fini = settle);

/* --- RFC 7208's cases. */

static json_t *
load_suite(void)
{
    const char *data = getenv("POSTERN_SHARED_DATA"), *top = getenv("top_srcdir");
    char path[512];

    if (data != NULL)
        snprintf(path, sizeof path, "%s/rfc7208/rfc7208-tests.json", data);
    else
        snprintf(path, sizeof path, "%s/../shared/data/rfc7208/rfc7208-tests.json",
                 top != NULL ? top : ".");
    return json_load_file(path, JSON_ALLOW_NUL, NULL);
}

static bool
is_expected(const json_t *expected, const char *verdict)
{
    size_t i;
    json_t *one;

    if (json_is_string(expected))
        return strcmp(json_string_value(expected), verdict) == 0;
    json_array_foreach(expected, i,
                       one) if (strcmp(json_string_value(one), verdict) == 0) return true;
    return false;
}

static void
run_case(const json_t *zone, const char *name, const json_t *test, unsigned *failures)
{
    struct judged j = judge_in(zone, json_string_value(json_object_get(test, "host")),
                               json_string_value(json_object_get(test, "helo")),
                               json_string_value(json_object_get(test, "mailfrom")));
    const char *verdict = spf_verdict_text(j.result.verdict);

    if (is_expected(json_object_get(test, "result"), verdict))
        return;
    ++*failures;
    cr_expect_fail("%s: %s (%s)", name, verdict, j.result.reason);
}

Test(spf_eval, the_cases_of_rfc_7208)
{
    json_t *suite = load_suite(), *part, *test;
    const char *name;
    unsigned count = 0, failures = 0;
    size_t i;

    if (suite == NULL)
        cr_skip("SKIPPED: rfc7208-tests.json is not there; set POSTERN_SHARED_DATA");
    json_array_foreach(suite, i, part)
    {
        json_object_foreach(json_object_get(part, "tests"), name, test)
        {
            run_case(json_object_get(part, "zonedata"), name, test, &failures);
            count++;
        }
    }
    json_decref(suite);
    cr_expect_eq(count, 203, "%u cases", count);
    cr_expect_eq(failures, 0, "%u of %u cases fail", failures, count);
}

/* --- Which passes are sound (P4). */

Test(spf_eval, a_pass_is_sound_unless_it_is_owed_to_a_broad_term)
{
    static const char zone[] =
        "{\"a.test\": [{\"A\": \"192.0.2.1\"}, {\"AAAA\": \"2001:db8::1\"}, {\"MX\": [1, "
        "\"a.test\"]},"
        "             {\"TXT\": \"%s\"}],"
        " \"x.test\": [{\"A\": \"127.0.0.2\"}],"
        " \"all.test\": [{\"TXT\": \"v=spf1 +all\"}],"
        " \"ip.test\": [{\"TXT\": \"v=spf1 ip4:192.0.2.1 ip6:2001:db8::1 -all\"}],"
        " \"bl.test\": [{\"TXT\": \"v=spf1 exists:x.test -all\"}],"
        " \"1.2.0.192.in-addr.arpa\": [{\"PTR\": \"a.test\"}]}";
    static const struct {
        const char *record, *client;
        enum spf_verdict verdict;
        bool is_sound;
    } cases[] = {
        {"v=spf1 a -all", "192.0.2.1", SPF_PASS, true},
        {"v=spf1 mx -all", "192.0.2.1", SPF_PASS, true},
        {"v=spf1 a/16 -all", "192.0.9.9", SPF_PASS, true},
        {"v=spf1 a/15 -all", "192.0.9.9", SPF_PASS, false},
        {"v=spf1 a/15 -all", "192.0.2.1", SPF_PASS, false},
        {"v=spf1 a/15 a -all", "192.0.2.1", SPF_PASS, true},
        {"v=spf1 a/0 -all", "8.8.8.8", SPF_PASS, false},
        {"v=spf1 a/0//32 -all", "2001:db8:1::9", SPF_PASS, true},
        {"v=spf1 a//31 -all", "2001:db9::9", SPF_PASS, false},
        {"v=spf1 mx//0 -all", "::1", SPF_PASS, false},
        {"v=spf1 ip4:192.0.0.0/16 -all", "192.0.2.1", SPF_PASS, true},
        {"v=spf1 ip4:192.0.0.0/15 -all", "192.0.2.1", SPF_PASS, false},
        {"v=spf1 ip4:0.0.0.0/1 ip4:128.0.0.0/1 -all", "192.0.2.1", SPF_PASS, false},
        {"v=spf1 ip6:2001:db8::/32 -all", "2001:db8::7", SPF_PASS, true},
        {"v=spf1 ip6:2001:db8::/31 -all", "2001:db8::7", SPF_PASS, false},
        {"v=spf1 +all", "192.0.2.1", SPF_PASS, false},
        {"v=spf1 a +all", "192.0.2.1", SPF_PASS, true},
        {"v=spf1 a +all", "192.0.2.2", SPF_PASS, false},
        {"v=spf1 ptr -all", "192.0.2.1", SPF_PASS, false},
        {"v=spf1 ptr a -all", "192.0.2.1", SPF_PASS, true},
        {"v=spf1 exists:x.test -all", "192.0.2.1", SPF_PASS, false},
        {"v=spf1 exists:x.test include:ip.test -all", "192.0.2.1", SPF_PASS, true},
        {"v=spf1 include:all.test -all", "192.0.2.1", SPF_PASS, false},
        {"v=spf1 include:all.test a -all", "192.0.2.1", SPF_PASS, true},
        {"v=spf1 redirect=all.test", "192.0.2.1", SPF_PASS, false},
        {"v=spf1 redirect=ip.test", "192.0.2.1", SPF_PASS, true},
        {"v=spf1 +all redirect=ip.test", "192.0.2.1", SPF_PASS, false},
        {"v=spf1 redirect=ip.test", "2001:db8::1", SPF_PASS, true},
        {"v=spf1 a:%{p} -all", "192.0.2.1", SPF_PASS, false},
        {"v=spf1 include:%{d} -all", "192.0.2.1", SPF_PERMERROR, false},
        /* what would have failed before the sound term is no sound pass */
        {"v=spf1 +exists:x.test -include:bl.test a -all", "192.0.2.1", SPF_PASS, false},
        {"v=spf1 -exists:x.test a -all", "192.0.2.1", SPF_FAIL, false},
        {"v=spf1 ~all", "192.0.2.1", SPF_SOFTFAIL, false},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char text[1000];
        struct judged j;
        json_t *parsed;

        snprintf(text, sizeof text, zone, cases[i].record);
        parsed = json_loads(text, 0, NULL);
        j = judge_in(parsed, cases[i].client, "helo.test", "x@a.test");
        json_decref(parsed);
        cr_expect_eq(j.result.verdict, cases[i].verdict, "%s from %s: %s (%s)", cases[i].record,
                     cases[i].client, spf_verdict_text(j.result.verdict), j.result.reason);
        cr_expect_eq(j.result.is_sound, cases[i].is_sound, "%s from %s", cases[i].record,
                     cases[i].client);
    }
}

/* --- What records settle by themselves, and what the library has to. */

Test(spf_eval, includes_of_networks_and_of_hosts_are_evaluated_in_order)
{
    static const struct {
        const char *record;
        enum spf_verdict verdict;
        const char *mechanism;
        unsigned mechanisms, asked;
        bool is_sound;
    } cases[] = {
        {"include:net.test -all", SPF_PASS, "ip4:192.0.2.0/24", 1, 2, true},
        {"~include:net.test -all", SPF_SOFTFAIL, "ip4:192.0.2.0/24", 1, 2, false},
        {"include:deep.test -all", SPF_PASS, "ip4:192.0.2.0/24", 3, 4, true},
        {"include:none.test include:net.test -all", SPF_PASS, "ip4:192.0.2.0/24", 2, 3, true},
        {"include:none.test ~all", SPF_SOFTFAIL, "~all", 1, 2, false},
        {"include:minus.test ?all", SPF_NEUTRAL, "?all", 1, 2, false},
        {"include:empty.test", SPF_NEUTRAL, "default", 1, 2, false},
        {"redirect=net.test", SPF_PASS, "ip4:192.0.2.0/24", 1, 2, true},
        {"redirect=minus.test", SPF_FAIL, "-ip4:192.0.2.0/24", 1, 2, false},
        {"redirect=empty.test", SPF_NEUTRAL, "default", 1, 2, false},
        {"redirect=open.test", SPF_PASS, "a:host.test", 2, 3, true},
        {"include:none.test redirect=deep.test", SPF_PASS, "ip4:192.0.2.0/24", 4, 5, true},
        /* open, on either side of what is settled */
        {"a:other.test include:net.test -all", SPF_PASS, "ip4:192.0.2.0/24", 2, 3, true},
        {"include:none.test a:host.test -all", SPF_PASS, "a:host.test", 2, 3, true},
        {"include:none.test a:other.test include:none.test include:open.test -all", SPF_PASS,
         "a:host.test", 5, 5, true},
        {"include:mixed.test -all", SPF_PASS, "a:host.test", 4, 5, true},
        {"-include:mixed.test +all", SPF_FAIL, "a:host.test", 4, 5, false},
        {"include:both.test -all", SPF_PASS, "ip4:192.0.0.0/12", 1, 3, true},
        /* nothing is asked for the sake of what is not reached */
        {"include:net.test include:lost.test -all", SPF_PASS, "ip4:192.0.2.0/24", 1, 2, true},
        {"include:lost.test include:net.test -all", SPF_PERMERROR, "", 1, 2, false},
        {"include:net.test a: -all", SPF_PERMERROR, "", 0, 1, false},
        {"a:host.test include:lost.test -all", SPF_PASS, "a:host.test", 1, 2, true},
        {"include:two.test -all", SPF_PERMERROR, "", 1, 2, false},
    };
    static const char zone[] =
        "{\"a.test\": [{\"TXT\": \"v=spf1 %s\"}],"
        " \"net.test\": [{\"TXT\": \"v=spf1 ip4:192.0.2.0/24 -all\"}],"
        " \"none.test\": [{\"TXT\": \"v=spf1 ip4:198.51.100.0/24 ip6:2001:db8::/32 ~all\"}],"
        " \"minus.test\": [{\"TXT\": \"v=spf1 -ip4:192.0.2.0/24 +all\"}],"
        " \"empty.test\": [{\"TXT\": \"v=spf1\"}],"
        " \"deep.test\": [{\"TXT\": \"v=spf1 include:deeper.test -all\"}],"
        " \"deeper.test\": [{\"TXT\": \"v=spf1 redirect=net.test\"}],"
        " \"open.test\": [{\"TXT\": \"v=spf1 a:host.test -all\"}],"
        " \"mixed.test\": [{\"TXT\": \"v=spf1 include:none.test include:open.test -all\"}],"
        " \"both.test\": [{\"TXT\": \"v=spf1 ip4:192.0.0.0/12 a:host.test a:other.test -all\"}],"
        " \"two.test\": [{\"TXT\": \"v=spf1 -all\"}, {\"TXT\": \"v=spf1 +all\"}],"
        " \"host.test\": [{\"A\": \"192.0.2.1\"}], \"other.test\": [{\"A\": \"198.51.100.9\"}]}";

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char text[2000];
        struct judged j;

        snprintf(text, sizeof text, zone, cases[i].record);
        j = judge(text, "192.0.2.1", "x@a.test");
        cr_expect_eq(j.result.verdict, cases[i].verdict, "%s: %s (%s)", cases[i].record,
                     spf_verdict_text(j.result.verdict), j.result.reason);
        cr_expect_str_eq(j.result.mechanism, cases[i].mechanism, "%s: %s", cases[i].record,
                         j.result.mechanism);
        cr_expect_eq(j.result.mechanisms, cases[i].mechanisms, "%s: %u mechanisms", cases[i].record,
                     j.result.mechanisms);
        cr_expect_eq(j.asked, cases[i].asked, "%s: %u questions", cases[i].record, j.asked);
        cr_expect_eq(j.result.is_sound, cases[i].is_sound, "%s", cases[i].record);
    }
}

/* --- No address is trusted for where it is. */

Test(spf_eval, this_host_is_judged_like_any_other)
{
    static const struct {
        const char *record, *client;
        enum spf_verdict verdict;
    } cases[] = {
        {"v=spf1 -all", "127.0.0.1", SPF_FAIL},
        {"v=spf1 -all", "::1", SPF_FAIL},
        {"v=spf1 -all", "::ffff:127.0.0.1", SPF_FAIL},
        {"v=spf1 ?all", "127.255.255.255", SPF_NEUTRAL},
        {"v=spf1 a -all", "127.0.0.1", SPF_PASS},
        {"v=spf1 a/31 -all", "127.0.0.0", SPF_PASS},
        {"v=spf1 a/31 -all", "127.0.0.2", SPF_FAIL},
        {"v=spf1 a:other.test/1 -all", "127.0.0.1", SPF_FAIL},
        {"v=spf1 a:other.test -all", "255.0.0.1", SPF_PASS},
        {"v=spf1 a -all", "::1", SPF_PASS},
        {"v=spf1 a//127 -all", "::1", SPF_PASS},
        {"v=spf1 mx -all", "::1", SPF_PASS},
        {"v=spf1 a:other.test -all", "::1", SPF_FAIL},
        {"v=spf1 a:other.test -all", "8000::1", SPF_PASS},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char text[600];
        struct judged j;

        snprintf(
            text, sizeof text,
            "{\"a.test\": [{\"A\": \"127.0.0.1\"}, {\"AAAA\": \"::1\"}, {\"MX\": [1, \"a.test\"]},"
            " {\"TXT\": \"%s\"}],"
            " \"other.test\": [{\"A\": \"255.0.0.1\"}, {\"AAAA\": \"8000::1\"}]}",
            cases[i].record);
        j = judge(text, cases[i].client, "x@a.test");
        cr_expect_eq(j.result.verdict, cases[i].verdict, "%s from %s: %s (%s)", cases[i].record,
                     cases[i].client, spf_verdict_text(j.result.verdict), j.result.reason);
    }
}

/* --- Hostile records. */

/* Nine includes a level and nine hosts at the leaves: 7,381 questions in the bare library. */
static json_t *
make_tree(void)
{
    json_t *zone = json_object();

    for (unsigned level = 0; level < 4; level++) {
        char name[32], text[400] = "v=spf1";

        for (unsigned i = 1; i < 10; i++)
            if (level < 3)
                snprintf(text + strlen(text), sizeof text - strlen(text), " include:l%u.test",
                         level + 1);
            else
                snprintf(text + strlen(text), sizeof text - strlen(text), " a:h%u.test", i);
        snprintf(name, sizeof name, level == 0 ? "a.test" : "l%u.test", level);
        json_object_set_new(zone, name, json_pack("[{s:s}]", "TXT", text));
    }
    for (unsigned i = 1; i < 10; i++) {
        char name[32];

        snprintf(name, sizeof name, "h%u.test", i);
        json_object_set_new(zone, name, json_pack("[{s:s}]", "A", "198.51.100.1"));
    }
    return zone;
}

Test(spf_eval, a_tree_of_includes_ends_after_ten_mechanisms)
{
    json_t *zone = make_tree();
    struct judged j = judge_in(zone, "192.0.2.1", "helo.test", "x@a.test");

    json_decref(zone);
    cr_expect_eq(j.result.verdict, SPF_PERMERROR);
    cr_expect_leq(j.asked, 11, "%u questions", j.asked);
    cr_expect_eq(j.result.lookups, j.asked);
    cr_expect(strstr(j.result.reason, "10 mechanisms") != NULL, "%s", j.result.reason);
}

Test(spf_eval, a_loop_of_includes_ends)
{
    struct judged j =
        judge("{\"a.test\": [{\"TXT\": \"v=spf1 include:a.test include:b.test -all\"}],"
              " \"b.test\": [{\"TXT\": \"v=spf1 include:a.test -all\"}]}",
              "192.0.2.1", "x@a.test");

    cr_expect_eq(j.result.verdict, SPF_PERMERROR);
    cr_expect_leq(j.asked, 2);
}

Test(spf_eval, no_explanation_is_asked_for)
{
    char record[600];
    struct judged j;

    snprintf(record, sizeof record,
             "{\"a.test\": [{\"TXT\": \"v=spf1 -all exp=e.test\"}],"
             " \"e.test\": [{\"TXT\": \"");
    for (unsigned i = 0; i < 43; i++)
        strcat(record, "%{i}a");
    strcat(record, "\"}]}");
    j = judge(record, "192.0.2.1", "x@a.test");
    cr_expect_eq(j.result.verdict, SPF_FAIL);
    cr_expect_eq(j.asked, 1);
}

static const char *
repeat(const char *head, const char *term, unsigned count, const char *end)
{
    static char text[40000];
    size_t n = (size_t)snprintf(text, sizeof text, "%s", head);

    while (count-- > 0)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s", term);
    snprintf(text + n, sizeof text - n, "%s", end);
    return text;
}

Test(spf_eval, records_that_are_long)
{
    static const struct {
        const char *name, *head, *term;
        unsigned count;
        const char *end;
        enum spf_verdict verdict;
    } cases[] = {
        {"200 networks", "", " ip4:198.51.100.1", 200, " ip4:192.0.2.1 -all", SPF_PASS},
        {"150 networks of IPv6", "", " ip6:2001:db8:1234::/48", 150, " ip4:192.0.2.1 -all",
         SPF_PASS},
        {"1,300 mechanisms", "", " a", 1300, " -all", SPF_PERMERROR},
        {"ten includes of long names", "",
         " include:a-very-long-name-of-a-mail-provider.a-very-long-domain.test", 10,
         " ip4:192.0.2.1 -all", SPF_PASS},
        {"eleven of them", "",
         " include:a-very-long-name-of-a-mail-provider.a-very-long-domain.test", 11,
         " ip4:192.0.2.1 -all", SPF_PERMERROR},
        {"eleven behind the match", " ip4:192.0.2.1", " include:a.b.test", 11, " -all", SPF_PASS},
        {"an error behind the match", " ip4:192.0.2.1", " include:", 1, " -all", SPF_PERMERROR},
        {"of 4 KB", "", " x=yyyyyyyyyyyyy", 250, " ip4:192.0.2.1", SPF_PASS},
        {"of more", "", " x=yyyyyyyyyyyyy", 260, " ip4:192.0.2.1", SPF_PERMERROR},
        {"macros", " exists:", "%{s}.%{h}.", 350, "a.test ip4:192.0.2.1", SPF_PASS},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const char *record = repeat(cases[i].head, cases[i].term, cases[i].count, cases[i].end);
        char *zone = mem_alloc(41000);
        struct judged j;

        snprintf(zone, 41000,
                 "{\"a.test\": [{\"A\": \"198.51.100.7\"}, {\"TXT\": \"v=spf1%s\"}],"
                 " \"a.b.test\": [{\"TXT\": \"v=spf1 -all\"}],"
                 " \"a-very-long-name-of-a-mail-provider.a-very-long-domain.test\": "
                 "[{\"TXT\": \"v=spf1 -all\"}]}",
                 record);
        j = judge(zone, "192.0.2.1", "x@a.test");
        free(zone);
        cr_expect_eq(j.result.verdict, cases[i].verdict, "%s: %s (%s)", cases[i].name,
                     spf_verdict_text(j.result.verdict), j.result.reason);
    }
}

Test(spf_eval, a_domain_of_many_texts)
{
    char *zone = mem_alloc(40000);
    struct judged j;

    snprintf(zone, 40000, "%s",
             repeat("{\"a.test\": [", "{\"TXT\": \"some-site-verification=0123456789\"}, ", 60,
                    "{\"TXT\": \"v=spf1 ip4:192.0.2.1 -all\"}]}"));
    j = judge(zone, "192.0.2.1", "x@a.test");
    free(zone);
    cr_expect_eq(j.result.verdict, SPF_PASS, "%s", j.result.reason);
}

Test(spf_eval, no_octet_of_a_stranger_gets_into_a_reason_unseen)
{
    static const struct {
        const char *record, *mail_from;
    } cases[] = {
        {"v=spf1 a:\\u0001\\u001b[31m.test", "x@a.test"},
        {"v=spf1 include:x\\r\\nevil:.test", "x@a.test"},
        {"v=spf1 include:%{l}.test -all", "\r\n\x1b\x7f@a.test"},
        {"v=spf1 a:%{h}.no.test include:%{h}.test -all", "x@a.test"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char zone[300];
        json_t *parsed;
        struct judged j;

        snprintf(zone, sizeof zone, "{\"a.test\": [{\"TXT\": \"%s\"}]}", cases[i].record);
        parsed = json_loads(zone, 0, NULL);
        j = judge_in(parsed, "192.0.2.1", "he\x1b\nlo", cases[i].mail_from);
        json_decref(parsed);
        cr_expect_eq(j.result.verdict, SPF_PERMERROR, "%s", cases[i].record);
        for (const char *p = j.result.reason; *p; p++)
            cr_expect(*p >= ' ' && *p <= '~', "%s: %s", cases[i].record, j.result.reason);
    }
}

/* --- What else a caller sees. */

Test(spf_eval, reasons_and_mechanisms)
{
    static const char zone[] =
        "{\"a.test\": [{\"TXT\": \"v=spf1 include:b.test ip4:192.0.2.0/28 ?all\"}],"
        " \"b.test\": [{\"TXT\": \"v=spf1 ip4:192.0.2.16/28 -all\"}],"
        " \"c.test\": [{\"TXT\": \"v=spf1 mx:m.test\"}],"
        " \"m.test\": [{\"MX\": [1, \"h.test\"]}], \"h.test\": [{\"A\": \"192.0.2.40\"}],"
        " \"d.test\": [{\"A\": \"192.0.2.1\"}],"
        " \"t.test\": [\"TIMEOUT\"], \"i.test\": [{\"TXT\": \"v=spf1 include:t.test -all\"}]}";
    static const struct {
        const char *client, *sender;
        enum spf_verdict verdict;
        const char *mechanism, *reason;
        unsigned rounds;
    } cases[] = {
        {"192.0.2.1", "x@a.test", SPF_PASS, "ip4:192.0.2.0/28",
         "ip4:192.0.2.0/28 in the record of a.test matches", 2},
        {"192.0.2.17", "x@a.test", SPF_PASS, "ip4:192.0.2.16/28",
         "ip4:192.0.2.16/28 in the record of b.test matches", 2},
        {"192.0.2.33", "x@a.test", SPF_NEUTRAL, "?all", "?all in the record of a.test matches", 2},
        {"192.0.2.40", "x@c.test", SPF_PASS, "mx:m.test",
         "mx:m.test in the record of c.test matches", 3},
        {"192.0.2.41", "x@c.test", SPF_NEUTRAL, "default",
         "nothing in the record of c.test matches", 3},
        {"192.0.2.1", "x@d.test", SPF_NONE, "", "d.test has no SPF record", 1},
        {"192.0.2.1", "x@e.test", SPF_NONE, "", "e.test does not exist", 1},
        {"192.0.2.1", "x@t.test", SPF_TEMPERROR, "", "DNS gives no answer about t.test", 1},
        {"192.0.2.1", "x@i.test", SPF_TEMPERROR, "", "DNS gives no answer about t.test", 2},
        {"192.0.2.1", "x@[192.0.2.1]", SPF_NONE, "",
         "the sender address names no domain that could have a record", 0},
        {"192.0.2.1", "", SPF_NONE, "", "helo.test does not exist", 1},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct judged j = judge(zone, cases[i].client, cases[i].sender);

        cr_expect_eq(j.result.verdict, cases[i].verdict, "%s", cases[i].sender);
        cr_expect_str_eq(j.result.mechanism, cases[i].mechanism, "%s: %s", cases[i].sender,
                         j.result.mechanism);
        cr_expect_str_eq(j.result.reason, cases[i].reason, "%s: %s", cases[i].sender,
                         j.result.reason);
        cr_expect_eq(j.rounds, cases[i].rounds, "%s: %u rounds", cases[i].sender, j.rounds);
        cr_expect_eq(j.result.identity, cases[i].sender[0] ? SPF_MAIL_FROM : SPF_HELO);
    }
}

Test(spf_eval, the_domain_that_is_judged)
{
    static const struct {
        enum spf_identity identity;
        const char *helo, *mail_from, *domain;
    } cases[] = {
        {SPF_MAIL_FROM, "h.test", "x@A.Test", "a.test"},
        {SPF_MAIL_FROM, "h.test", "\"x@y\"@a.test", "a.test"},
        {SPF_MAIL_FROM, "h.test", "", "h.test"},
        {SPF_HELO, "H.test", "x@a.test", "h.test"},
        {SPF_MAIL_FROM, "h.test",
         "x@b\xc3\xbc"
         "cher.test",
         "xn--bcher-kva.test"},
        {SPF_HELO, "[192.0.2.1]", "x@a.test", ""},
        {SPF_HELO, "192.0.2.1", "x@a.test", ""},
        {SPF_HELO, "localhost", "x@a.test", ""},
        {SPF_MAIL_FROM, "h.test", "postmaster", ""},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct spf_question question = {.client = address("192.0.2.1"),
                                        .identity = cases[i].identity,
                                        .helo = cases[i].helo,
                                        .mail_from = cases[i].mail_from};
        char domain[INET_DOMAIN_SIZE];

        cr_expect_eq(spf_eval_domain(&question, domain), cases[i].domain[0] != '\0', "%zu", i);
        cr_expect_str_eq(domain, cases[i].domain, "%s %s: %s", cases[i].helo, cases[i].mail_from,
                         domain);
    }
}

Test(spf_eval, an_answer_given_beforehand_is_not_asked_for)
{
    struct spf_question question = {.client = address("192.0.2.1"),
                                    .identity = SPF_MAIL_FROM,
                                    .helo = "h.test",
                                    .mail_from = "x@a.test"};
    struct spf_eval *eval = spf_eval_start(&question);
    struct slice text = SLICE("v=spf1 ip4:192.0.2.1 -all");
    struct spf_answer answer = {SPF_ANSWER_OK, 1, &text};

    spf_eval_give(eval, "a.test", SPF_TYPE_TXT, &answer);
    answer.items = NULL;
    answer.count = 0;
    spf_eval_give(eval, "a.test", SPF_TYPE_TXT, &answer); /* the first counts */
    cr_expect_eq(spf_eval_run(eval), SPF_EVAL_DONE);
    cr_expect_eq(spf_eval_result(eval)->verdict, SPF_PASS);
    spf_eval_free(&eval);
}

Test(spf_eval, ptr_takes_ten_names_and_never_errs)
{
    char zone[4000] = "{\"a.test\": [{\"TXT\": \"v=spf1 ptr:p.test ?all\"}],"
                      " \"1.2.0.192.in-addr.arpa\": [";
    struct judged j;

    for (unsigned i = 0; i < 30; i++)
        snprintf(zone + strlen(zone), sizeof zone - strlen(zone), "{\"PTR\": \"h%u.p.test\"},", i);
    strcat(zone, "{\"PTR\": \"z.p.test\"}], \"2.2.0.192.in-addr.arpa\": [\"TIMEOUT\"],"
                 " \"h0.p.test\": [\"TIMEOUT\"], \"h9.p.test\": [{\"A\": \"192.0.2.1\"}],"
                 " \"3.2.0.192.in-addr.arpa\": [{\"PTR\": \"h9.p.test\"}]}");
    j = judge(zone, "192.0.2.1", "x@a.test");
    cr_expect_eq(j.result.verdict, SPF_PASS, "%s", j.result.reason);
    cr_expect_eq(j.asked, 12);
    cr_expect_eq(judge(zone, "192.0.2.2", "x@a.test").result.verdict, SPF_NEUTRAL);
    cr_expect_eq(judge(zone, "192.0.2.3", "x@a.test").result.verdict, SPF_NEUTRAL);
    cr_expect_eq(judge(zone, "192.0.2.4", "x@a.test").result.verdict, SPF_NEUTRAL);
}
