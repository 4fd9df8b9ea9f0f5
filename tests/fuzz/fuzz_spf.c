/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A check whose HELO, sender and answers of DNS are the input's lines, in the order in which they
 * are asked for: whatever they are it ends, within its limits, and what it says is printable and
 * harmless in a header.  The same octets are also read as messages between the two processes.
 */
#include <stdint.h>
#include <string.h>

#include "spf/spf_eval.h"
#include "spf/spf_header.h"
#include "spf/spf_protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ITEMS_MAX 64

static struct slice rest;

static struct slice
next_line(void)
{
    return rest.p != NULL ? slice_split(&rest, '\n') : (struct slice){"", 0};
}

static const char *
next_text(char *dst, size_t size)
{
    (void)slice_to_text(next_line(), dst, size);
    return dst;
}

/* "": no name; "?": nothing now; texts as they are; names and addresses between spaces. */
static void
answer(struct spf_eval *eval, const char *name, enum spf_type type)
{
    static const char addresses[] =
        "\xc0\x00\x02\x01\x7f\x00\x00\x01\x20\x01\x0d\xb8\x00\x00\x00\x01";
    struct slice line = next_line(), items[ITEMS_MAX];
    struct spf_answer a = {SPF_ANSWER_OK, 0, items};

    if (line.n == 0)
        a.result = SPF_ANSWER_NO_NAME;
    else if (line.n == 1 && line.p[0] == '?')
        a.result = SPF_ANSWER_TEMPORARY;
    while (a.result == SPF_ANSWER_OK && line.p != NULL && a.count < ITEMS_MAX) {
        struct slice item = slice_split(&line, type == SPF_TYPE_TXT ? '\t' : ' ');

        if (type == SPF_TYPE_A)
            item = (struct slice){addresses + item.n % 3 * 4, 4};
        else if (type == SPF_TYPE_AAAA)
            item = (struct slice){addresses, 16};
        items[a.count++] = item;
    }
    spf_eval_give(eval, name, type, &a);
}

static void
check_printable(const char *text)
{
    for (; *text != '\0'; text++)
        CHECK(*text >= ' ' && *text <= '~');
}

/* Each line is folded, short, and closed. */
static void
check_header(struct slice text)
{
    bool is_quoted = false, is_escaped = false;
    size_t length = 0;

    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];

        length = c == '\n' ? 0 : length + 1;
        CHECK(length < 998);
        CHECK((c >= ' ' && c <= '~') || c == '\r' || c == '\n' || c == '\t');
        CHECK(c != '\r' || (!is_quoted && i + 1 < text.n && text.p[i + 1] == '\n'));
        CHECK(c != '\n' || i + 1 == text.n || text.p[i + 1] == '\t');
        if (!is_escaped && c == '"')
            is_quoted = !is_quoted;
        is_escaped = !is_escaped && c == '\\';
    }
    CHECK(!is_quoted);
}

static void
check_result(const struct spf_question *question, const struct spf_result *result)
{
    struct spf_header header = {"mx.acme.test", question, result};
    struct buf b;

    CHECK(result->verdict <= SPF_PERMERROR);
    CHECK(!result->is_sound || result->verdict == SPF_PASS);
    CHECK(result->lookups <= SPF_EVAL_QUESTIONS_MAX);
    check_printable(result->domain);
    check_printable(result->mechanism);
    check_printable(result->reason);
    buf_init(&b, 0);
    spf_header_write_received(&header, &b);
    check_header(buf_slice(&b));
    buf_clear(&b);
    spf_header_write_auth_part(&header, &b);
    check_header(buf_slice(&b));
    buf_fini(&b);
}

static void
evaluate(const uint8_t *data, size_t size)
{
    static const struct inet_endpoint clients[] = {
        {4, {192, 0, 2, 1}, 0}, {4, {127, 0, 0, 1}, 0}, {6, {0x20, 1, 0xd, 0xb8, [15] = 1}, 0}};
    char helo[300], sender[700];
    struct spf_question question = {.client = clients[data[0] % 3], .identity = SPF_MAIL_FROM};
    struct spf_eval *eval;
    unsigned asked = 0;

    rest = (struct slice){(const char *)data + 1, size - 1};
    question.helo = next_text(helo, sizeof helo);
    question.mail_from = next_text(sender, sizeof sender);
    eval = spf_eval_start(&question);
    while (spf_eval_run(eval) == SPF_EVAL_NEEDS) {
        const char *name;
        enum spf_type type;
        bool is_needed = spf_eval_needed(eval, 0, &name, &type);

        CHECK(is_needed);
        for (; spf_eval_needed(eval, 0, &name, &type); asked++)
            answer(eval, name, type);
        CHECK(asked <= SPF_EVAL_QUESTIONS_MAX);
    }
    check_result(&question, spf_eval_result(eval));
    spf_eval_free(&eval);
}

static void
decode(struct slice octets)
{
    struct decoder d = decoder_of(octets);
    struct spf_question_text text;
    struct spf_question question;
    struct slice items[SPF_ITEMS_MAX];
    char name[INET_DOMAIN_SIZE];
    struct spf_answer a;
    struct spf_result result;
    enum spf_type type;

    if (spf_question_decode(&d, &text, &question))
        while (d.p < d.end && spf_answer_decode(&d, name, &type, &a, items))
            CHECK(a.count <= SPF_ITEMS_MAX);
    d = decoder_of(octets);
    if (spf_result_decode(&d, &result))
        check_printable(result.reason);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    evaluate(data, size);
    decode((struct slice){(const char *)data + 1, size - 1});
    return 0;
}
