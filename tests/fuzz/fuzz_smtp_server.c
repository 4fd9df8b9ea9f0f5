/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The server engine on hostile octets.  The first octet of the input says how the rest is cut and
 * whether operations wait, the second what is offered and whether commands without progress are
 * counted. Behind a STARTTLS that was accepted all is thrown away up to an octet 0x16, which stands
 * for the handshake.  Demanded: the invariants after each step; the same replies, events and
 * content as in one piece; replies that are lines; content without a bare CR, LF or NUL; at most
 * one message for each CR LF . CR LF (P7).
 */
#include <stdlib.h>

#include "tests/unit/smtp_owner.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
shake_hands(struct owner *o)
{
    struct slice in = buf_slice(&o->in);
    const char *hello = in.n > 0 ? memchr(in.p, 0x16, in.n) : NULL;

    if (!smtp_server_wants_tls(o->server))
        return;
    buf_consume(&o->in, hello != NULL ? (size_t)(hello + 1 - in.p) : in.n);
    if (hello == NULL)
        return;
    smtp_server_tls_started(o->server);
    owner_feed(o, SLICE(""));
    CHECK(!smtp_server_wants_tls(o->server));
}

static void
run(struct owner *o, struct slice in, size_t step, bool waits, uint8_t way)
{
    owner_init(o);
    o->waits = waits;
    o->settings.max_idle_commands = way & 8 ? 8 : 0;
    o->settings.recipients_announced = way & 16 ? 50 : 0;
    o->settings.messages_announced = way & 32 ? 50 : 0;
    smtp_server_set_offers(o->server, way & 7); /* enum smtp_offer */
    smtp_server_greet(o->server);
    for (size_t at = 0; at < in.n; at += step) {
        owner_feed(o, (struct slice){in.p + at, in.n - at < step ? in.n - at : step});
        shake_hands(o);
    }
}

static unsigned
count_ends(struct slice in)
{
    unsigned n = 0;

    for (size_t i = 0; i + 3 <= in.n; i++) /* the CR LF before may be that of DATA */
        n += memcmp(in.p + i, ".\r\n", 3) == 0 && (i < 2 || memcmp(in.p + i - 2, "\r\n", 2) == 0);
    return n;
}

static void
check_replies(struct slice out)
{
    while (out.n > 0) {
        struct slice line = slice_split(&out, '\n');

        CHECK(out.p != NULL); /* ends in a line end */
        CHECK(line.n >= 5 && line.p[line.n - 1] == '\r');
        CHECK(line.p[0] >= '2' && line.p[0] <= '5' && (line.p[3] == ' ' || line.p[3] == '-'));
        for (size_t i = 0; i + 1 < line.n; i++)
            CHECK(line.p[i] >= 0x20 && line.p[i] <= 0x7e);
    }
}

static void
check_content(const struct owner *o)
{
    struct slice s = buf_slice(&o->content);

    if (strstr(o->sender, "stop") || !o->ends || smtp_server_in_data(o->server))
        return;
    for (size_t i = 0; i < s.n; i++) {
        if (i + 1 < s.n && s.p[i] == '\r' && s.p[i + 1] != '\n')
            abort();
        CHECK(s.p[i] != '\0' && (s.p[i] != '\n' || (i > 0 && s.p[i - 1] == '\r')));
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = {(const char *)data + 2, size - 2};
    struct owner whole, cut;

    if (size < 3)
        return 0;
    run(&whole, in, in.n, false, data[1]);
    run(&cut, in, 1 + (data[0] >> 1) % 128, data[0] & 1, data[1]);
    CHECK(slice_equal(buf_slice(&whole.out), buf_slice(&cut.out)));
    CHECK(slice_equal(buf_slice(&whole.events), buf_slice(&cut.events)));
    CHECK(smtp_server_is_finished(whole.server) || buf_size(&whole.in) == buf_size(&cut.in));
    CHECK(whole.ends <= count_ends(in));
    check_replies(buf_slice(&whole.out));
    check_content(&whole);
    owner_fini(&whole);
    owner_fini(&cut);
    return 0;
}
