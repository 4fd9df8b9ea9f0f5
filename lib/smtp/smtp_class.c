/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The one function that maps a backend's reply and its phase to a class: the class table of DESIGN
 * section 5 as rows, the first that fits wins.  What lies outside RFC 5321 (a 354 to RCPT, a 650)
 * is the backend's fault, never the message's: away, or unknown if it came behind the dot.
 */
#include "smtp/smtp_client.h"

#define BIT(phase) (1u << SMTP_PHASE_##phase)
#define ALL ((1u << SMTP_PHASE_COUNT) - 1)
#define HANDSHAKE (BIT(BANNER) | BIT(EHLO) | BIT(HELO) | BIT(STARTTLS) | BIT(AUTH) | BIT(XFORWARD))
#define MESSAGE (BIT(MAIL) | BIT(RCPT) | BIT(DATA) | BIT(DOT))

struct class_row {
    unsigned phases;
    uint16_t code_min, code_max;
    uint16_t subject_min, subject_max; /* of the enhanced code; both 0: whatever it is */
    enum smtp_class class;
    bool broken;
};

/* clang-format off */
static const struct class_row rows[] = {
    /* phases              codes     x.subject  class              broken */
    {ALL,                  421, 421, 0, 0, SMTP_CLASS_AWAY,    false},
    /* None came, or what came is no answer to this command. */
    {BIT(DOT),               0, 199, 0, 0, SMTP_CLASS_UNKNOWN, false},
    {BIT(DOT),             300, 399, 0, 0, SMTP_CLASS_UNKNOWN, false},
    {BIT(DOT),             600, UINT16_MAX, 0, 0, SMTP_CLASS_UNKNOWN, false},
    {ALL,                    0,   0, 0, 0, SMTP_CLASS_AWAY,    false},
    {ALL,                    1, 199, 0, 0, SMTP_CLASS_AWAY,    true},
    {ALL,                  600, UINT16_MAX, 0, 0, SMTP_CLASS_AWAY,    true},
    {BIT(CONNECT),         200, 599, 0, 0, SMTP_CLASS_AWAY,    false},
    {BIT(QUIT),            200, 599, 0, 0, SMTP_CLASS_OK,      false},
    /* The expected ones. */
    {BIT(DATA),            300, 399, 0, 0, SMTP_CLASS_OK,      false},
    {BIT(DATA),            200, 299, 0, 0, SMTP_CLASS_AWAY,    true},
    {BIT(AUTH),            334, 334, 0, 0, SMTP_CLASS_OK,      false},
    {ALL,                  200, 299, 0, 0, SMTP_CLASS_OK,      false},
    {ALL,                  300, 399, 0, 0, SMTP_CLASS_AWAY,    true},
    /* No message is spoken of yet, or any more. */
    {HANDSHAKE | BIT(RSET), 400, 499, 0, 0, SMTP_CLASS_AWAY,   false},
    {HANDSHAKE | BIT(RSET), 500, 599, 0, 0, SMTP_CLASS_AWAY,   true},
    /* x.3 is the system, x.4 the network (RFC 3463 3.4, 3.5). */
    {MESSAGE,              400, 499, 3, 4, SMTP_CLASS_AWAY,    false},
    {MESSAGE,              400, 499, 0, 0, SMTP_CLASS_LATER,   false},
    /* "501 5.1.3 bad address syntax" speaks of the address, whatever its basic code (RFC 3463 3.2). */
    {BIT(MAIL) | BIT(RCPT), 500, 504, 1, 1, SMTP_CLASS_REFUSED, false},
    /* It does not know the commands, or wants another client, not another message. */
    {MESSAGE,              500, 504, 0, 0, SMTP_CLASS_AWAY,    true},
    {MESSAGE,              521, 521, 0, 0, SMTP_CLASS_AWAY,    true},
    {MESSAGE,              530, 530, 0, 0, SMTP_CLASS_AWAY,    true},
    {MESSAGE,              534, 535, 0, 0, SMTP_CLASS_AWAY,    true},
    {MESSAGE,              538, 538, 0, 0, SMTP_CLASS_AWAY,    true},
    {MESSAGE,              500, 599, 0, 0, SMTP_CLASS_REFUSED, false},
};
/* clang-format on */

static bool
fits(const struct class_row *row, enum smtp_phase phase, const struct smtp_reply *reply)
{
    uint16_t code = reply->code, subject = reply->enhanced.subject;

    if (!(row->phases & 1u << phase) || code < row->code_min || code > row->code_max)
        return false;
    if (row->subject_max == 0)
        return true;
    return reply->enhanced.class != 0 && subject >= row->subject_min && subject <= row->subject_max;
}

static const struct class_row *
find_row(enum smtp_phase phase, const struct smtp_reply *reply)
{
    static const struct smtp_reply none;

    CHECK((unsigned)phase < SMTP_PHASE_COUNT);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (fits(&rows[i], phase, reply ? reply : &none))
            return &rows[i];
    CHECK(!"a reply without a class");
    return NULL;
}

enum smtp_class
smtp_class_of(enum smtp_phase phase, const struct smtp_reply *reply)
{
    return find_row(phase, reply)->class;
}

bool
smtp_class_is_broken(enum smtp_phase phase, const struct smtp_reply *reply)
{
    return find_row(phase, reply)->broken;
}

const char *smtp_class_word(enum smtp_class class)
{
    static const char *const words[] = {
        [SMTP_CLASS_OK] = "ok",     [SMTP_CLASS_REFUSED] = "refused", [SMTP_CLASS_LATER] = "later",
        [SMTP_CLASS_AWAY] = "away", [SMTP_CLASS_UNKNOWN] = "unknown",
    };

    CHECK((unsigned)class < ARRAY_SIZE(words));
    return words[class];
}

const char *
smtp_phase_word(enum smtp_phase phase)
{
    static const char *const words[] = {
        [SMTP_PHASE_CONNECT] = "connect",   [SMTP_PHASE_BANNER] = "banner",
        [SMTP_PHASE_EHLO] = "ehlo",         [SMTP_PHASE_HELO] = "helo",
        [SMTP_PHASE_STARTTLS] = "starttls", [SMTP_PHASE_AUTH] = "auth",
        [SMTP_PHASE_XFORWARD] = "xforward", [SMTP_PHASE_MAIL] = "mail",
        [SMTP_PHASE_RCPT] = "rcpt",         [SMTP_PHASE_DATA] = "data",
        [SMTP_PHASE_DOT] = "dot",           [SMTP_PHASE_RSET] = "rset",
        [SMTP_PHASE_QUIT] = "quit",
    };
    _Static_assert(ARRAY_SIZE(words) == SMTP_PHASE_COUNT, "one word a phase");

    CHECK((unsigned)phase < SMTP_PHASE_COUNT);
    return words[phase];
}
