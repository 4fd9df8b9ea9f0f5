/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The parser of a peer's replies: the first octet says where the rest is cut.  Whatever it makes of
 * the input, the cut may not matter, the reply may hold nothing but printable ASCII, and its class
 * and its way through text must be defined.
 */
#include <stdint.h>
#include <stdlib.h>

#include "smtp/smtp_client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_reply(const struct smtp_reply *reply)
{
    char text[SMTP_REPLY_LINE_SIZE], again[SMTP_REPLY_LINE_SIZE];
    struct smtp_reply back;

    CHECK(strlen(reply->text) < sizeof reply->text);
    for (const char *p = reply->text; *p; p++)
        CHECK(*p >= 0x20 && *p <= 0x7e);
    CHECK(reply->enhanced.class == 0 || reply->enhanced.class == reply->code / 100);
    for (int phase = 0; phase < SMTP_PHASE_COUNT; phase++)
        (void)smtp_class_of((enum smtp_phase)phase, reply);
    smtp_reply_text(reply, text, sizeof text);
    if (reply->code == 0)
        return; /* "000 ..." of a mad peer */
    CHECK(smtp_reply_from_text(slice_of(text), &back) == ERR_OK);
    smtp_reply_text(&back, again, sizeof again);
    CHECK(strcmp(text, again) == 0);
}

/* All replies of the input, one behind the other, into `log`. */
static void
parse_all(struct slice input, size_t cut, struct buf *log)
{
    struct smtp_reply_parser parser;
    struct slice pieces[2] = {{input.p, cut}, {input.p + cut, input.n - cut}};

    smtp_reply_parser_init(&parser);
    for (int i = 0; i < 2; i++)
        while (pieces[i].n > 0) {
            char text[SMTP_REPLY_LINE_SIZE];
            size_t consumed;
            int rc = smtp_reply_parse(&parser, pieces[i], &consumed, NULL, NULL);

            CHECK(consumed <= pieces[i].n && consumed > 0);
            pieces[i].p += consumed;
            pieces[i].n -= consumed;
            if (rc == ERR_SYNTAX) {
                buf_add_text(log, "syntax");
                return;
            }
            if (rc == ERR_AGAIN) {
                CHECK(pieces[i].n == 0);
                continue;
            }
            check_reply(&parser.reply);
            buf_printf(log, "%s\n", smtp_reply_text(&parser.reply, text, sizeof text));
        }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice input;
    struct buf whole, in_two;

    if (size == 0)
        return 0;
    input = (struct slice){(const char *)data + 1, size - 1};
    buf_init(&whole, 0);
    buf_init(&in_two, 0);
    parse_all(input, 0, &whole);
    parse_all(input, input.n * data[0] / 256, &in_two);
    CHECK(slice_equal(buf_slice(&whole), buf_slice(&in_two)));
    buf_fini(&whole);
    buf_fini(&in_two);
    return 0;
}
