/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The class table of DESIGN section 5, row by row in every phase, and that it is total.
 */
#include <criterion/criterion.h>

#include "smtp/smtp_client.h"

/* One letter a phase, in the order banner, ehlo, helo, starttls, mail, rcpt, data, dot, rset, quit:
 * o ok, r refused, l later, a away, A away and broken, u unknown. */
static const struct {
    const char *reply, *want;
} table[] = {
    {"", "aaaaaaauaa"},
    {"220 hi", "ooooooAooo"},
    {"250 2.1.5 ok", "ooooooAooo"},
    {"251 forwarded", "ooooooAooo"},
    {"354 go", "AAAAAAouAo"},
    {"421", "aaaaaaaaaa"},
    {"421 4.7.0 too many", "aaaaaaaaaa"},
    {"450", "aaaallllao"},
    {"450 4.1.1 x", "aaaallllao"},
    {"450 4.2.0 busy mailbox", "aaaallllao"},
    {"451 4.5.3 x", "aaaallllao"},
    {"451 4.6.1 x", "aaaallllao"},
    {"451 4.7.1 greylisted", "aaaallllao"},
    {"452 4.3.1 disk full", "aaaaaaaaao"},
    {"451 4.4.3 no DNS", "aaaaaaaaao"},
    {"451 4.0.0 x", "aaaallllao"},
    {"500 what", "AAAAAAAAAo"},
    {"501 what", "AAAAAAAAAo"},
    {"501 5.1.3 bad address syntax", "AAAArrAAAo"},
    {"501 5.5.4 bad parameter", "AAAAAAAAAo"},
    {"502 what", "AAAAAAAAAo"},
    {"503 what", "AAAAAAAAAo"},
    {"504 what", "AAAAAAAAAo"},
    {"505 what", "AAAArrrrAo"},
    {"521 no mail here", "AAAAAAAAAo"},
    {"530 5.7.0 auth", "AAAAAAAAAo"},
    {"534 5.7.9 auth", "AAAAAAAAAo"},
    {"535 5.7.8 auth", "AAAAAAAAAo"},
    {"538 5.7.11 auth", "AAAAAAAAAo"},
    {"550", "AAAArrrrAo"},
    {"550 5.1.1 unknown", "AAAArrrrAo"},
    {"550 5.3.0 x", "AAAArrrrAo"},
    {"550 5.4.1 x", "AAAArrrrAo"},
    {"551 moved", "AAAArrrrAo"},
    {"552 5.3.4 too big", "AAAArrrrAo"},
    {"553 bad name", "AAAArrrrAo"},
    {"554 5.7.1 spam", "AAAArrrrAo"},
    {"555 bad parameter", "AAAArrrrAo"},
    {"199 low", "AAAAAAAuAA"},
    {"600 high", "AAAAAAAuAA"},
    {"999 high", "AAAAAAAuAA"},
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
            bool expected = phase == SMTP_PHASE_DATA ? code / 100 == 3 : code / 100 == 2;

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
