/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A paragraph a finding (admin/finding.h).  Of several surveys only what does not pass is worth
 * one.
 */
#include "admin/survey_screen.h"

#include <stdlib.h>
#include <string.h>

#include "admin/finding.h"
#include "admin/paragraph.h"
#include "net/tls_certificate.h"
#include "net/tls_client.h"
#include "sender/sender_dialin.h"

/* --- The world. */

static void
read_certificates(struct survey_screen *screen)
{
    const struct config *c = screen->call->config;
    struct tls_certificate **list = mem_alloc((c->tls_certificate.count + 1) * sizeof *list);

    screen->world.certificates = list;
    for (size_t i = 0; i < c->tls_certificate.count && i < c->tls_key.count; i++)
        if (tls_certificate_read(c->tls_certificate.items[i], c->tls_key.items[i], &screen->trouble,
                                 &list[screen->world.certificate_count]) == ERR_OK)
            screen->world.certificate_count++;
    screen->world.certificate_trouble = buf_text(&screen->trouble);
}

static enum command_status
read_patterns(struct survey_screen *screen)
{
    struct sender_dialin *patterns;
    struct buf problems;
    int rc;

    buf_init(&problems, 0);
    rc = sender_dialin_load(screen->call->config->dialin_patterns, &problems, &patterns);
    if (rc < 0)
        call_complain("dialin-patterns: %s", buf_text(&problems));
    buf_fini(&problems);
    screen->world.dialin = patterns;
    return rc < 0 ? COMMAND_FAILED : COMMAND_DONE;
}

enum command_status
survey_screen_init(struct survey_screen *screen, struct call *call)
{
    enum command_status status;

    *screen = (struct survey_screen){.call = call};
    buf_init(&screen->trouble, 0);
    status = read_patterns(screen);
    if (status != COMMAND_DONE)
        return status;
    screen->world.config = call->config;
    screen->world.tls = &screen->tls;
    screen->loop = loop_new();
    loop_allow_stalls(screen->loop); /* a pager may be slow */
    screen->world.dns = dns_new(screen->loop, &call->config->resolver);
    read_certificates(screen);
    return COMMAND_DONE;
}

void
survey_screen_fini(struct survey_screen *screen)
{
    struct tls_certificate **list = (struct tls_certificate **)screen->world.certificates;
    struct sender_dialin *patterns = (struct sender_dialin *)screen->world.dialin;

    for (size_t i = 0; i < screen->world.certificate_count; i++)
        tls_certificate_free(&list[i]);
    free(list);
    buf_fini(&screen->trouble);
    sender_dialin_free(&patterns);
    if (screen->world.dns)
        dns_free(&screen->world.dns);
    tls_client_free(&screen->tls);
    if (screen->loop)
        loop_free(&screen->loop);
}

/* --- A survey. */

static enum finding_verdict
worst(const struct survey *survey)
{
    static const enum finding_verdict order[] = {FINDING_FAIL, FINDING_UNKNOWN, FINDING_WARN};

    for (size_t i = 0; i < ARRAY_SIZE(order); i++)
        if (survey_count_of(survey, order[i]) > 0)
            return order[i];
    return FINDING_PASS;
}

static void
print_finding(const struct survey_screen *screen, const struct survey_finding *finding)
{
    const struct finding_row *row = &survey_rows[finding->id];

    finding_print(&screen->call->printing, &(struct finding){
                                               .check = row->check,
                                               .verdict = finding_verdict_word(row->verdict),
                                               .text = finding->text,
                                               .detail = "",
                                               .before = "",
                                               .remedy = finding->remedy,
                                           });
}

static void
add_counts(struct buf *head, const struct survey *survey)
{
    const char *gap = "";

    for (int v = 0; v < FINDING_VERDICT_COUNT; v++) {
        unsigned count = survey_count_of(survey, (enum finding_verdict)v);

        if (count == 0)
            continue;
        buf_printf(head, "%s%u %s", gap, count, finding_verdict_word((enum finding_verdict)v));
        gap = ", ";
    }
}

static void
print_text(const struct survey_screen *screen, const struct survey *survey, const char *about)
{
    FILE *out = screen->call->printing.out;

    struct buf head;

    buf_init(&head, 0);
    buf_printf(&head, "%s%s%s: ", survey_subject(survey), about[0] ? ", " : "", about);
    add_counts(&head, survey);
    paragraph_wrap(out, 0, buf_text(&head));
    buf_fini(&head);
    for (unsigned i = 0; i < survey_count(survey); i++) {
        const struct survey_finding *finding = survey_item(survey, i);

        if (!screen->is_short || survey_rows[finding->id].verdict != FINDING_PASS)
            print_finding(screen, finding);
    }
}

static void
print_json(const struct survey_screen *screen, const struct survey *survey, json_t *facts)
{
    json_t *list = json_array();
    char *line;

    for (unsigned i = 0; i < survey_count(survey); i++) {
        const struct survey_finding *finding = survey_item(survey, i);
        const struct finding_row *row = &survey_rows[finding->id];

        json_array_append_new(
            list, json_pack("{s:s, s:s, s:s, s:s, s:o}", "check", row->check, "finding", row->word,
                            "verdict", finding_verdict_word(row->verdict), "text", finding->text,
                            "remedy", printer_json_text_or_null(finding->remedy)));
    }
    json_object_set_new(facts, "verdict", json_string(finding_verdict_word(worst(survey))));
    json_object_set_new(facts, "findings", list);
    line = json_dumps(facts, JSON_COMPACT | JSON_PRESERVE_ORDER);
    CHECK(line != NULL);
    fprintf(screen->call->printing.out, "%s\n", line);
    free(line);
}

void
survey_screen_print(struct survey_screen *screen, const struct survey *survey, const char *about,
                    json_t *facts)
{
    screen->counts[worst(survey)]++;
    if (screen->call->printing.json)
        print_json(screen, survey, facts);
    else
        print_text(screen, survey, about);
    json_decref(facts);
}

static void
on_done(void *ctx)
{
    struct survey_screen *screen = ctx;

    loop_stop(screen->loop);
}

void
survey_screen_run(struct survey_screen *screen, const char *subject, survey_judge judge,
                  const void *question, const char *about, json_t *facts)
{
    struct survey *survey = survey_start(&screen->world, subject, judge, question, on_done, screen);

    loop_run(screen->loop);
    survey_screen_print(screen, survey, about, facts);
    survey_free(&survey);
}

enum command_status
survey_screen_status(const struct survey_screen *screen)
{
    return screen->counts[FINDING_FAIL] > 0 ? COMMAND_FAILED : COMMAND_DONE;
}
