/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A filter's answers: the first octet says how much of them comes at once, the second where the
 * message's header ends, the rest of it is what the filter says, and shows as the message's own
 * header as well.  Whatever comes: all is bounded, what is added are fields, what nobody changed is
 * as it came, and a reply is a refusal.
 */
#include <stdlib.h>

#include "milter/milter_report.h"
#include "milter/milter_talk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct message {
    struct slice body;
    size_t new_body;
};

static enum milter_pull
pull(void *ctx, struct slice *piece)
{
    struct message *m = ctx;

    if (m->body.n == 0)
        return MILTER_PULL_END;
    *piece = m->body;
    m->body.n = 0;
    return MILTER_PULL_PIECE;
}

static bool
replace(void *ctx, struct slice piece)
{
    struct message *m = ctx;

    m->new_body += piece.n;
    return m->new_body < 100000;
}

static bool
wants_more(void *ctx)
{
    (void)ctx;
    return true;
}

static const char *
recipient(const void *ctx, unsigned i)
{
    (void)ctx;
    (void)i;
    return "b@b.example";
}

/* Lines that end with CR LF, each a field or the rest of one, within the length of a line. */
static void
check_fields(struct slice s)
{
    bool is_first = true;

    while (s.n > 0) {
        const char *end = memchr(s.p, '\n', s.n);
        size_t n;

        CHECK(end != NULL && end > s.p && end[-1] == '\r');
        n = (size_t)(end + 1 - s.p);
        CHECK(n <= 1000);
        CHECK(s.p[0] == ' ' || s.p[0] == '\t' ? !is_first && n > 3
                                              : memchr(s.p, ':', n) != NULL && s.p[0] != ':');
        for (size_t i = 0; i + 2 < n; i++)
            CHECK((unsigned char)s.p[i] >= ' ' || s.p[i] == '\t');
        is_first = false;
        s.p += n;
        s.n -= n;
    }
}

static void
check_header(struct milter_header *h, struct milter_talk *t, struct slice original)
{
    struct buf out;

    buf_init(&out, 0);
    milter_header_apply(h, &t->edits, t->protocol & MILTER_LEADING_SPACE);
    milter_header_write_top(h, &out);
    check_fields(buf_slice(&out));
    buf_clear(&out);
    milter_header_write_rest(h, &out);
    if (!h->is_changed)
        CHECK(slice_equal(buf_slice(&out),
                          (struct slice){original.p, h->field_bytes + h->separator_bytes}));
    buf_fini(&out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct milter_talk_ops ops = {pull, replace, wants_more};
    struct message m = {.body = SLICE("body\r\n")};
    struct slice input;
    struct milter_header header;
    struct milter_question question = {.hostname = "mx.isp.example",
                                       .ref = "1-2-3",
                                       .client = {.family = 4},
                                       .client_name = "",
                                       .helo = "",
                                       .tls_version = "",
                                       .tls_cipher = "",
                                       .sender = "a@a.example",
                                       .recipient = recipient,
                                       .recipient_count = 2,
                                       .header = &header};
    struct milter_talk talk;
    struct buf out;

    if (size < 2)
        return 0;
    input = (struct slice){(const char *)data + 2, size - 2};
    milter_header_init(&header);
    (void)milter_header_feed(&header,
                             (struct slice){input.p, data[1] < input.n ? data[1] : input.n});
    milter_header_end(&header);
    CHECK(header.field_bytes + header.separator_bytes <= input.n);
    buf_init(&out, 0);
    milter_talk_init(&talk, &question, &ops, &m, &out);
    milter_talk_start(&talk);
    for (size_t i = 0, n = data[0] + 1; i < input.n; i += n)
        milter_talk_feed(&talk, (struct slice){input.p + i, n < input.n - i ? n : input.n - i});
    CHECK((talk.outcome == MILTER_OUTCOME_FAILED) == (talk.why != NULL));
    CHECK(talk.reply.code == 0 || talk.reply.code / 100 == 4 || talk.reply.code / 100 == 5);
    (void)milter_report_is_spam(&talk.edits);
    (void)milter_report_dkim_passes(&talk.edits, "mx.isp.example", "a.example");
    check_header(&header, &talk, input);
    milter_talk_fini(&talk);
    milter_header_fini(&header);
    buf_fini(&out);
    return 0;
}
