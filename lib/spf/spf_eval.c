/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A check: its question, what it knows, and what came out.  Each run is a walk from the start
 * (spf/spf_walk.h); one that misses an answer is thrown away whole.
 *
 * A pass that is owed to a broad term is evaluated once more without broad terms, as far as
 * they stand where only a pass leads to a pass; if it is a pass again, it was not owed to them.
 */
#include "spf/spf_eval.h"

#include <stdio.h>
#include <stdlib.h>

#include "spf/spf_walk.h"

struct spf_eval {
    struct spf_walk_subject subject;
    char helo[SPF_HELO_SIZE], local_part[SPF_SENDER_SIZE];
    struct spf_answers answers;
    struct spf_result result;
};

const char *
spf_verdict_text(enum spf_verdict verdict)
{
    static const char *const texts[] = {
        [SPF_NONE] = "none",           [SPF_NEUTRAL] = "neutral",   [SPF_PASS] = "pass",
        [SPF_FAIL] = "fail",           [SPF_SOFTFAIL] = "softfail", [SPF_TEMPERROR] = "temperror",
        [SPF_PERMERROR] = "permerror",
    };

    return texts[verdict];
}

/* --- A run. */

static void
finish(struct spf_eval *eval, const struct spf_walk *w)
{
    struct spf_result *result = &eval->result;

    result->verdict = w->verdict;
    result->mechanisms = w->mechanisms;
    memcpy(result->reason, w->reason, sizeof result->reason);
    memcpy(result->mechanism, w->mechanism, sizeof result->mechanism);
}

/* False: it has to be run once more, for its soundness. */
static bool
judge(struct spf_eval *eval, const struct spf_walk *w)
{
    eval->result.lookups = eval->answers.count;
    if (eval->subject.is_second) {
        eval->result.is_sound = w->verdict == SPF_PASS;
        return true;
    }
    finish(eval, w);
    if (w->verdict != SPF_PASS)
        return true;
    eval->result.is_sound = !spf_walk_is_owed_to_broad(w);
    eval->subject.is_second = !eval->result.is_sound;
    return eval->result.is_sound;
}

enum spf_eval_state
spf_eval_run(struct spf_eval *eval)
{
    bool is_missing, is_done;

    if (eval->result.domain[0] == '\0')
        return SPF_EVAL_DONE;
    do {
        struct spf_walk w;

        spf_walk_run(&w, &eval->subject, &eval->answers);
        is_missing = w.is_missing && !w.is_failed;
        is_done = !is_missing && judge(eval, &w);
        spf_walk_fini(&w);
    } while (!is_missing && !is_done);
    return is_missing ? SPF_EVAL_NEEDS : SPF_EVAL_DONE;
}

/* --- The question. */

static const char *
sender_domain(const struct spf_question *question)
{
    const char *at = strrchr(question->mail_from, '@');

    return at != NULL ? at + 1 : question->mail_from;
}

static bool
is_helo(const struct spf_question *question)
{
    return question->identity == SPF_HELO || question->mail_from[0] == '\0';
}

bool
spf_eval_domain(const struct spf_question *question, char domain[INET_DOMAIN_SIZE])
{
    const char *why;
    const char *name = is_helo(question) ? question->helo : sender_domain(question);

    if (inet_domain_normalize(slice_of(name), domain, &why) == ERR_OK)
        return true;
    domain[0] = '\0';
    return false;
}

/* Cut, if it is too long. */
static void
take_text(char *dst, size_t size, struct slice text)
{
    size_t n = text.n < size ? text.n : size - 1;

    memcpy(dst, text.p, n);
    dst[n] = '\0';
}

/* RFC 7208 4.3: without a local part it is "postmaster". */
static void
take_local_part(struct spf_eval *eval, const struct spf_question *question)
{
    const char *at = is_helo(question) ? NULL : strrchr(question->mail_from, '@');
    struct slice local_part = SLICE("postmaster");

    if (at != NULL && at != question->mail_from)
        local_part = (struct slice){question->mail_from, (size_t)(at - question->mail_from)};
    take_text(eval->local_part, sizeof eval->local_part, local_part);
}

/* One host has one spelling: an IPv4 address in IPv6 is an IPv4 address. */
static struct inet_endpoint
plain_client(const struct inet_endpoint *client)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    struct inet_endpoint plain = *client;

    if (plain.family == 6 && memcmp(plain.addr, mapped, sizeof mapped) == 0) {
        plain.family = 4;
        memmove(plain.addr, plain.addr + 12, 4);
        memset(plain.addr + 4, 0, 12);
    }
    return plain;
}

struct spf_eval *
spf_eval_start(const struct spf_question *question)
{
    struct spf_eval *eval = mem_alloc(sizeof *eval);

    spf_answers_init(&eval->answers);
    take_text(eval->helo, sizeof eval->helo, slice_of(question->helo));
    take_local_part(eval, question);
    eval->subject = (struct spf_walk_subject){.client = plain_client(&question->client),
                                              .helo = eval->helo,
                                              .local_part = eval->local_part,
                                              .domain = eval->result.domain};
    eval->result = (struct spf_result){.verdict = SPF_NONE,
                                       .identity = is_helo(question) ? SPF_HELO : SPF_MAIL_FROM};
    if (!spf_eval_domain(question, eval->result.domain))
        snprintf(eval->result.reason, sizeof eval->result.reason,
                 "the %s names no domain that could have a record",
                 is_helo(question) ? "HELO" : "sender address");
    return eval;
}

void
spf_eval_free(struct spf_eval **held)
{
    struct spf_eval *eval = *held;

    *held = NULL;
    if (eval == NULL)
        return;
    spf_answers_fini(&eval->answers);
    free(eval);
}

void
spf_eval_give(struct spf_eval *eval, const char *name, enum spf_type type,
              const struct spf_answer *answer)
{
    struct spf_known *known = spf_answers_find(&eval->answers, name, type);

    if (known == NULL)
        known = spf_answers_add(&eval->answers, name, type);
    if (known != NULL && !known->is_given)
        spf_answers_fill(&eval->answers, known, answer);
}

bool
spf_eval_needed(const struct spf_eval *eval, unsigned i, const char **name, enum spf_type *type)
{
    for (const struct spf_known *known = eval->answers.first; known != NULL; known = known->next) {
        if (known->is_given || i-- > 0)
            continue;
        *name = known->name;
        *type = known->type;
        return true;
    }
    return false;
}

const struct spf_result *
spf_eval_result(const struct spf_eval *eval)
{
    return &eval->result;
}
