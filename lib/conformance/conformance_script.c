/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Few questions a conversation that are to be refused: servers slow down, or close, after some
 * errors.
 */
#include "conformance/conformance_script.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MANY_RECIPIENTS 50
#define MANY_AT_ONCE 10 /* behind a refusal no more are asked for */
#define FORMS_A_SESSION 5
#define STRANGER_LENGTH 20

static const char gtube[] = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD"
                            "-ANTI-UBE-TEST-EMAIL*C.34X\r\n";
/* In two halves, so that no scanner takes this program for what it asks after. */
static const char eicar[] = "X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-STANDARD"
                            "-ANTIVIRUS-TEST-FILE!$H+H*\r\n";

struct maker {
    const struct conformance_question *q;
    struct conformance_seen *seen;
    struct conformance_talk_script *script; /* the one that grows */
};

void
conformance_sender(const char *postmaster, const char *hostname, char dst[SMTP_PATH_SIZE])
{
    if (postmaster && strchr(postmaster, '@'))
        snprintf(dst, SMTP_PATH_SIZE, "%s", postmaster);
    else
        snprintf(dst, SMTP_PATH_SIZE, "postmaster@%s", hostname);
}

/* --- Steps. */

static void
begin_session(struct maker *m)
{
    CHECK(m->seen->session_count < CONFORMANCE_SESSIONS_MAX);
    m->script = &m->seen->sessions[m->seen->session_count++];
}

static bool
is_full(const struct maker *m)
{
    return m->seen->session_count == CONFORMANCE_SESSIONS_MAX;
}

static struct conformance_step *
add(struct maker *m, enum conformance_ask ask, const char *about, const char *line)
{
    struct conformance_talk_script *s = m->script;
    struct conformance_step *step;

    s->steps = mem_realloc(s->steps, (s->count + 1) * sizeof *s->steps);
    step = &s->steps[s->count++];
    *step =
        (struct conformance_step){.ask = ask, .about = mem_strdup(about), .line = mem_strdup(line)};
    return step;
}

static void
add_mail(struct maker *m, enum conformance_ask ask, const char *from)
{
    char line[2 * SMTP_PATH_SIZE + 20];

    snprintf(line, sizeof line, "MAIL FROM:<%s>", from);
    add(m, ask, from[0] ? from : "<>", line);
}

static struct conformance_step *
add_rcpt(struct maker *m, enum conformance_ask ask, const char *to)
{
    char line[2 * SMTP_PATH_SIZE + 20];

    snprintf(line, sizeof line, "RCPT TO:<%s>", to);
    return add(m, ask, to, line);
}

static void
add_reset(struct maker *m)
{
    add(m, CONFORMANCE_ASK_NONE, "RSET", "RSET");
}

/* A recipient that the domain must have; false: only those below the domain are served. */
static bool
postmaster_of(const char *domain, char address[SMTP_PATH_SIZE])
{
    snprintf(address, SMTP_PATH_SIZE, "postmaster@%s", domain);
    return domain[0] != '.';
}

static const char *
domain_of(const struct maker *m)
{
    const char *domain = m->q->domain_count ? m->q->domains[0] : m->q->hostname;

    return domain[0] == '.' ? domain + 1 : domain;
}

/* --- What every server is asked. */

static void
add_domain(struct maker *m, const char *domain, size_t number)
{
    char address[SMTP_PATH_SIZE], local[STRANGER_LENGTH + 1];

    if (postmaster_of(domain, address))
        add_rcpt(m, CONFORMANCE_ASK_POSTMASTER, address);
    /* The token, turned by the domain's number: as random, and another one in each. */
    for (size_t i = 0; i < STRANGER_LENGTH; i++) {
        size_t n = strlen(m->q->token);

        local[i] = (char)('a' + (unsigned)(m->q->token[i % n] - 'a' + (int)(number % 26)) % 26);
    }
    local[STRANGER_LENGTH] = '\0';
    snprintf(address, sizeof address, "%s@%s%s", local, domain[0] == '.' ? "postern-test" : "",
             domain);
    add_rcpt(m, CONFORMANCE_ASK_STRANGER, address);
}

static size_t
add_domains(struct maker *m, size_t from)
{
    size_t to = from + CONFORMANCE_DOMAINS_A_SESSION;

    for (; from < to && from < m->q->domain_count; from++)
        add_domain(m, m->q->domains[from], from);
    return from;
}

static void
add_null_sender(struct maker *m)
{
    char address[SMTP_PATH_SIZE];

    add_mail(m, CONFORMANCE_ASK_NULL_SENDER, "");
    if (m->q->rcpt_count > 0)
        add_rcpt(m, CONFORMANCE_ASK_NULL_RCPT, m->q->rcpts[0]);
    else if (m->q->domain_count > 0 && postmaster_of(m->q->domains[0], address))
        add_rcpt(m, CONFORMANCE_ASK_NULL_RCPT, address);
    add_reset(m);
}

static void
add_many(struct maker *m)
{
    if (m->q->rcpt_count == 0)
        return;
    add_mail(m, CONFORMANCE_ASK_NONE, m->q->sender);
    for (unsigned i = 0; i < MANY_RECIPIENTS; i++)
        add_rcpt(m, CONFORMANCE_ASK_MANY, m->q->rcpts[0])->with_next = i % MANY_AT_ONCE != 0;
    add_reset(m);
}

static size_t
make_first(struct maker *m)
{
    size_t domains;

    begin_session(m);
    add_mail(m, CONFORMANCE_ASK_SENDER, m->q->sender);
    for (size_t i = 0; i < m->q->rcpt_count && i < CONFORMANCE_RCPTS_MAX; i++)
        add_rcpt(m, CONFORMANCE_ASK_KNOWN, m->q->rcpts[i]);
    domains = add_domains(m, 0);
    add_reset(m);
    add_null_sender(m);
    add_mail(m, CONFORMANCE_ASK_REUSE, m->q->sender);
    add_reset(m);
    add_many(m);
    return domains;
}

static void
make_domains(struct maker *m, size_t from)
{
    while (from < m->q->domain_count && !is_full(m)) {
        begin_session(m);
        add_mail(m, CONFORMANCE_ASK_NONE, m->q->sender);
        from = add_domains(m, from);
        add_reset(m);
    }
    m->seen->domain_count = m->q->domain_count;
    m->seen->domains_left = m->q->domain_count - from;
    m->seen->first_left = from < m->q->domain_count ? m->q->domains[from] : NULL;
}

static void
make_spf(struct maker *m)
{
    char address[SMTP_PATH_SIZE];

    snprintf(address, sizeof address, "postern-test@%s", domain_of(m));
    begin_session(m);
    add_mail(m, CONFORMANCE_ASK_SPF_SENDER, m->q->spf_probe ? m->q->spf_probe : address);
    if (m->q->rcpt_count > 0)
        add_rcpt(m, CONFORMANCE_ASK_SPF_RCPT, m->q->rcpts[0]);
    else if (m->q->domain_count > 0 && postmaster_of(m->q->domains[0], address))
        add_rcpt(m, CONFORMANCE_ASK_SPF_RCPT, address);
    add_reset(m);
}

/* --- Open relays. */

/* L@D is the sink, O the customer's domain, A the server's address, S an ordinary sender. What
 * some servers take for bad syntax comes last in its conversation. */
static const struct {
    enum conformance_ask ask;
    const char *from, *to;
} forms[] = {
    {CONFORMANCE_ASK_RELAY, "S", "L@D"},
    {CONFORMANCE_ASK_RELAY, "", "L@D"},
    {CONFORMANCE_ASK_RELAY, "postmaster@O", "L@D"},
    {CONFORMANCE_ASK_RELAY, "postmaster@[A]", "L@D"},
    {CONFORMANCE_ASK_RELAY, "S", "L%D"},
    {CONFORMANCE_ASK_RELAY_FORM, "S", "L%D@O"},
    {CONFORMANCE_ASK_RELAY_FORM, "S", "D!L@O"},
    {CONFORMANCE_ASK_RELAY_FORM, "S", "\"L@D\"@O"},
    {CONFORMANCE_ASK_RELAY, "S", "@O:L@D"},
    {CONFORMANCE_ASK_RELAY, "S", "D!L"},
    {CONFORMANCE_ASK_RELAY_FORM, "S", "L%D@[A]"},
    {CONFORMANCE_ASK_RELAY_FORM, "S", "D!L@[A]"},
    {CONFORMANCE_ASK_RELAY_FORM, "S", "\"L@D\"@[A]"},
    {CONFORMANCE_ASK_RELAY_FORM, "S", "L@D@O"},
    {CONFORMANCE_ASK_RELAY, "S", "\"L@D\""},
};

static void
write_form(const struct maker *m, const char *form, char *dst, size_t dst_size)
{
    const char *sink = m->q->sink ? m->q->sink : "relay-test@postern.invalid";
    const char *at = strrchr(sink, '@');
    char address[INET_ENDPOINT_SIZE], local[SMTP_PATH_SIZE];
    struct buf out;

    slice_to_text((struct slice){sink, (size_t)(at - sink)}, local, sizeof local);
    inet_literal_text(&m->q->endpoint, address);
    buf_init(&out, 0);
    for (; *form; form++)
        switch (*form) {
        case 'L':
            buf_add_text(&out, local);
            break;
        case 'D':
            buf_add_text(&out, at + 1);
            break;
        case 'O':
            buf_add_text(&out, domain_of(m));
            break;
        case 'S':
            buf_add_text(&out, m->q->sender);
            break;
        case '[':
            buf_add_text(&out, address);
            form += 2;
            break;
        default:
            buf_add(&out, form, 1);
        }
    snprintf(dst, dst_size, "%s", buf_text(&out));
    buf_fini(&out);
}

static void
add_message(struct maker *m, enum conformance_ask ask, const char *about, const char *body)
{
    char *content;
    struct buf text;

    buf_init(&text, 0);
    buf_printf(&text,
               "From: <%s>\r\nSubject: a test of this mail server (%s)\r\n"
               "Auto-Submitted: auto-generated\r\n\r\n"
               "This message is a test that was asked for by the administrators of %s.\r\n%s",
               m->q->sender, m->q->token, m->q->hostname, body);
    content = mem_strdup(buf_text(&text));
    buf_fini(&text);
    add(m, CONFORMANCE_ASK_NONE, about, "DATA");
    add(m, ask, about, NULL)->content = content;
}

static void
add_form(struct maker *m, size_t i)
{
    char from[SMTP_PATH_SIZE], to[SMTP_PATH_SIZE + SMTP_PATH_SIZE];
    struct conformance_step *rcpt;

    write_form(m, forms[i].from, from, sizeof from);
    write_form(m, forms[i].to, to, SMTP_PATH_SIZE);
    add_mail(m, CONFORMANCE_ASK_NONE, from);
    rcpt = add_rcpt(m, forms[i].ask, to);
    if (strcmp(forms[i].from, "S") != 0) {
        snprintf(to, sizeof to, "%s from <%s>", rcpt->about, from);
        free(rcpt->about);
        rcpt->about = mem_strdup(to);
    }
    if (m->q->sink)
        add_message(m, CONFORMANCE_ASK_RELAY_DOT, to, "");
    add_reset(m);
}

static void
make_relay(struct maker *m)
{
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
        if (i % FORMS_A_SESSION == 0)
            begin_session(m);
        add_form(m, i);
    }
}

/* --- What delivers. */

static void
make_delivery(struct maker *m, enum conformance_ask ask, const char *from, const char *about,
              const char *body)
{
    begin_session(m);
    m->script->delivers = true;
    add_mail(m, CONFORMANCE_ASK_NONE, from);
    /* A probe that is refused here is refused as well as at the end. */
    add_rcpt(m, ask == CONFORMANCE_ASK_PROBE ? ask : CONFORMANCE_ASK_NONE, m->q->deliver_to);
    add_message(m, ask, about, body);
}

void
conformance_script_make(const struct conformance_question *question, struct conformance_seen *seen,
                        unsigned *parallel)
{
    struct maker m = {.q = question, .seen = seen};
    size_t domains;

    *parallel = 0;
    if (question->only_relay) {
        make_relay(&m);
        return;
    }
    domains = make_first(&m);
    make_spf(&m);
    make_relay(&m);
    *parallel = seen->session_count - 1;
    if (question->content) {
        make_delivery(&m, CONFORMANCE_ASK_CONTENT, question->sender, "GTUBE", gtube);
        make_delivery(&m, CONFORMANCE_ASK_CONTENT, question->sender, "EICAR", eicar);
    }
    if (question->probe_from)
        make_delivery(&m, CONFORMANCE_ASK_PROBE, question->probe_from, question->probe_from, "");
    make_domains(&m, domains);
}

void
conformance_script_fini(struct conformance_seen *seen)
{
    for (unsigned i = 0; i < seen->session_count; i++) {
        struct conformance_talk_script *s = &seen->sessions[i];

        for (size_t k = 0; k < s->count; k++) {
            free(s->steps[k].about);
            free(s->steps[k].line);
            free(s->steps[k].content);
        }
        free(s->steps);
    }
    seen->session_count = 0;
}
