/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The class table of DESIGN section 5, row by row in every phase, and that it is total.
 */
#include <criterion/criterion.h>

#include "smtp/smtp_client.h"

/* One letter a phase, in the order banner, ehlo, helo, starttls, auth, xforward, mail, rcpt, data,
 * dot, rset, quit: o ok, r refused, l later, a away, A away and broken, u unknown. */
static const struct {
    const char *reply, *want;
} table[] = {
    {"", "aaaaaaaaauaa"},
    {"220 hi", "ooooooooAooo"},
    {"250 2.1.5 ok", "ooooooooAooo"},
    {"251 forwarded", "ooooooooAooo"},
    {"334 go on", "AAAAoAAAouAo"},
    {"354 go", "AAAAAAAAouAo"},
    {"421", "aaaaaaaaaaaa"},
    {"421 4.7.0 too many", "aaaaaaaaaaaa"},
    {"450", "aaaaaallllao"},
    {"450 4.1.1 x", "aaaaaallllao"},
    {"450 4.2.0 busy mailbox", "aaaaaallllao"},
    {"451 4.5.3 x", "aaaaaallllao"},
    {"451 4.6.1 x", "aaaaaallllao"},
    {"451 4.7.1 greylisted", "aaaaaallllao"},
    {"452 4.3.1 disk full", "aaaaaaaaaaao"},
    {"451 4.4.3 no DNS", "aaaaaaaaaaao"},
    {"451 4.0.0 x", "aaaaaallllao"},
    {"500 what", "AAAAAAAAAAAo"},
    {"501 what", "AAAAAAAAAAAo"},
    {"501 5.1.3 bad address syntax", "AAAAAArrAAAo"},
    {"501 5.5.4 bad parameter", "AAAAAAAAAAAo"},
    {"502 what", "AAAAAAAAAAAo"},
    {"503 what", "AAAAAAAAAAAo"},
    {"504 what", "AAAAAAAAAAAo"},
    {"505 what", "AAAAAArrrrAo"},
    {"521 no mail here", "AAAAAAAAAAAo"},
    {"530 5.7.0 auth", "AAAAAAAAAAAo"},
    {"534 5.7.9 auth", "AAAAAAAAAAAo"},
    {"535 5.7.8 auth", "AAAAAAAAAAAo"},
    {"538 5.7.11 auth", "AAAAAAAAAAAo"},
    {"550", "AAAAAArrrrAo"},
    {"550 5.1.1 unknown", "AAAAAArrrrAo"},
    {"550 5.3.0 x", "AAAAAArrrrAo"},
    {"550 5.4.1 x", "AAAAAArrrrAo"},
    {"551 moved", "AAAAAArrrrAo"},
    {"552 5.3.4 too big", "AAAAAArrrrAo"},
    {"553 bad name", "AAAAAArrrrAo"},
    {"554 5.7.1 spam", "AAAAAArrrrAo"},
    {"555 bad parameter", "AAAAAArrrrAo"},
    {"199 low", "AAAAAAAAAuAA"},
    {"600 high", "AAAAAAAAAuAA"},
    {"999 high", "AAAAAAAAAuAA"},
};

static char
letter(enum smtp_phase phase, const struct smtp_reply *reply)
{
    static const char letters[] = {
        [SMTP_CLASS_OK] = 'o',   [SMTP_CLASS_REFUSED] = 'r', [SMTP_CLASS_LATER] = 'l',
        [SMTP_CLASS_AWAY] = 'a', [SMTP_CLASS_UNKNOWN] = 'u',
    };
    char c = letters[smtp_class_of(phase, reply)];

    if (smtp_class_is_broken(phase, reply)) {
        cr_expect_eq(c, 'a', "broken is a part of away");
        return 'A';
    }
    return c;
}

Test(smtp_class, every_row_in_every_phase)
{
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        char got[SMTP_PHASE_COUNT] = "";
        struct smtp_reply reply;

        cr_assert_eq(smtp_reply_from_text(slice_of(table[i].reply), &reply), ERR_OK);
        for (int phase = SMTP_PHASE_BANNER; phase < SMTP_PHASE_COUNT; phase++)
            got[phase - SMTP_PHASE_BANNER] = letter((enum smtp_phase)phase, &reply);
        cr_expect_str_eq(got, table[i].want, "%s", table[i].reply);
        cr_expect_eq(smtp_class_of(SMTP_PHASE_CONNECT, &reply), SMTP_CLASS_AWAY);
    }
}

Test(smtp_class, P1_only_2xx_and_3xx_are_ok)
{
    for (int phase = 0; phase < SMTP_PHASE_QUIT; phase++)
        for (unsigned code = 0; code <= UINT16_MAX; code++) {
            struct smtp_reply reply = {.code = (uint16_t)code};
            bool ok = smtp_class_of((enum smtp_phase)phase, &reply) == SMTP_CLASS_OK;
            bool is_auth = phase == SMTP_PHASE_AUTH && code == 334; /* RFC 4954 4 */
            bool expected = phase == SMTP_PHASE_DATA ? code / 100 == 3 : code / 100 == 2 || is_auth;

            cr_assert_eq(ok, expected && phase != SMTP_PHASE_CONNECT, "%s %u",
                         smtp_phase_word((enum smtp_phase)phase), code);
        }
}

Test(smtp_class, no_reply_at_all)
{
    for (int phase = 0; phase < SMTP_PHASE_COUNT; phase++)
        cr_expect_eq(smtp_class_of((enum smtp_phase)phase, NULL),
                     phase == SMTP_PHASE_DOT ? SMTP_CLASS_UNKNOWN : SMTP_CLASS_AWAY);
}
