/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What customers are told: every text in every language, and how numbers, dates and MIME are
 * written.
 */
#include "config.h"

#include <criterion/criterion.h>

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "notice/customer_notice.h"
#include "notice/notice_mime.h"

#define NOW INT64_C(1796054700000)      /* 2026-11-30 16:05 UTC, 17:05 in Amsterdam */
#define MIDNIGHT INT64_C(1796511600000) /* 2026-12-06 00:00 in Amsterdam */
#define HOUR_MS (3600 * INT64_C(1000))

static void
use_amsterdam(void)
{
    cr_assert_eq(clock_set_timezone("Europe/Amsterdam"), ERR_OK);
}

static struct customer_failure failures[] = {
    {NOW - HOUR_MS, SPOOL_END_EXPIRED, true, "P1-AAAA", "sam@sender.example", "rita@acme.example",
     "451 4.2.1 not now"},
    {NOW, SPOOL_END_REMOVED, false, "P1-BBBB", "", "ron@acme.example, rob@acme.example (+3)",
     "removed by eve: \x01junk \xff, Käse"},
};

static struct customer_notice
notice_of(enum customer_notice_kind kind, enum notice_language language, uint64_t count)
{
    return (struct customer_notice){
        .kind = kind,
        .language = language,
        .customer = "acme",
        .hostname = "mx1.isp.example",
        .from = "post@isp.example",
        .postmaster = "help@isp.example",
        .to = "it@elsewhere.example",
        .random = {1, 2},
        .now_ms = NOW,
        .since_ms = NOW - 27 * HOUR_MS,
        .back_at_ms = kind == CUSTOMER_NOTICE_BACK ? NOW : 0,
        .why = CUSTOMER_NOTICE_WHY_CONNECT,
        .servers = "192.0.2.10:25",
        .backend = "acme/1",
        .delivered = count,
        .failed = count,
        .messages = count,
        .bytes = 1234567,
        .unheard = count,
        .first_messages = count,
        .first_expires_at_ms = MIDNIGHT,
        .failures = failures,
        .failure_count = kind == CUSTOMER_NOTICE_DIGEST ? 2 : 0,
        .more = count,
    };
}

/* --- Reading one back. */

static int
hex(char c)
{
    return isdigit((unsigned char)c) ? c - '0' : c - 'A' + 10;
}

/* The content, decoded, in lines that end with LF. */
static void
decode(const char *message, struct buf *out)
{
    const char *p = strstr(message, "\r\n\r\n");

    cr_assert_not_null(p);
    for (p += 4; *p != '\0'; p++) {
        if (strncmp(p, "=\r\n", 3) == 0) {
            p += 2;
        } else if (*p == '=') {
            char c = (char)(hex(p[1]) * 16 + hex(p[2]));

            buf_add(out, &c, 1);
            p += 2;
        } else if (*p != '\r')
            buf_add(out, p, 1);
    }
}

static struct buf message, content;

static const char *
written(const struct customer_notice *n)
{
    buf_fini(&message);
    buf_fini(&content);
    buf_init(&message, 0);
    buf_init(&content, 0);
    customer_notice_write(n, &message);
    decode(buf_text(&message), &content);
    return buf_text(&content);
}

static void
forget(void)
{
    buf_fini(&message);
    buf_fini(&content);
}

static bool
is_well_formed(const char *text)
{
    size_t column = 0;

    for (const char *p = text; *p != '\0'; p++) {
        unsigned char c = (unsigned char)*p;

        if (*p == '\r' && p[1] == '\n') {
            column = 0;
            p++;
            continue;
        }
        if (c < ' ' || c > '~' || ++column > 900)
            return false;
    }
    return true;
}

static size_t
widest(const char *text)
{
    size_t most = 0, column = 0;

    for (const char *p = text; *p != '\0'; p++) {
        column = *p == '\n' ? 0 : column + (((unsigned char)*p & 0xc0) != 0x80);
        most = column > most ? column : most;
    }
    return most;
}

/* --- */

Test(customer_notice, every_kind_in_every_language_is_whole, .init = use_amsterdam, .fini = forget)
{
    static const uint64_t counts[] = {0, 1, 2, 12345};

    for (int kind = CUSTOMER_NOTICE_DOWN; kind <= CUSTOMER_NOTICE_DIGEST; kind++)
        for (unsigned language = 0; language < NOTICE_LANGUAGES; language++)
            for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
                struct customer_notice n = notice_of((enum customer_notice_kind)kind,
                                                     (enum notice_language)language, counts[i]);
                const char *text = written(&n);
                const char *raw = buf_text(&message);

                cr_expect(is_well_formed(raw), "%d %u: %s", kind, language, raw);
                cr_expect_null(strpbrk(text, "{}|"), "%d %u: %s", kind, language, text);
                cr_expect_not_null(strstr(text, "help@isp.example"), "%s", text);
                cr_expect_not_null(strstr(text, "acme"), "%s", text);
                cr_expect_leq(widest(text), 80, "%d %u: %s", kind, language, text);
                cr_expect_not_null(strstr(raw, "\r\nAuto-Submitted: auto-generated\r\n"));
                cr_expect_not_null(strstr(raw, "\r\nTo: <it@elsewhere.example>\r\n"));
                cr_expect_not_null(strstr(raw, "\r\nDate: Mon, 30 Nov 2026 17:05:00 +0100\r\n"),
                                   "%s", raw);
                cr_expect_not_null(strstr(raw, "\r\nMessage-ID: <"));
                cr_expect_not_null(strstr(raw, "charset=utf-8"));
            }
}

static const struct said {
    const char *name;
    enum customer_notice_kind kind;
    enum notice_language language;
    uint64_t count;
    const char *subject, *text; /* line ends are spaces */
} said[] = {
    {"en one", CUSTOMER_NOTICE_DOWN, NOTICE_EN, 1,
     "acme: your mail server takes no mail, 1 message is waiting",
     "taking no mail since Sunday, 29 November 2026, 14:05 CET. The reason as we see it: it "
     "refuses connections, or cannot be reached.  We are keeping 1 message (1.2 MB) for you"},
    {"en many", CUSTOMER_NOTICE_DOWN, NOTICE_EN, 12345, "12,345 messages are waiting",
     "The first of them is safe until Saturday, 5 December 2026, 24:00 CET."},
    {"en commands", CUSTOMER_NOTICE_DOWN, NOTICE_EN, 2, "", "    relayctl backend test acme/1"},
    {"de one", CUSTOMER_NOTICE_DOWN, NOTICE_DE, 1,
     "acme: Ihr Mailserver nimmt keine Nachrichten an, 1 Nachricht wartet",
     "Sie ist bis Samstag, 5. Dezember 2026, 24:00 Uhr (CET) sicher."},
    {"de many", CUSTOMER_NOTICE_DOWN, NOTICE_DE, 12345, "12.345 Nachrichten warten",
     "12.345 Nachrichten (1,2 MB) für Sie auf"},
    {"nl", CUSTOMER_NOTICE_DOWN, NOTICE_NL, 2, "2 berichten wachten",
     "veilig tot zaterdag 5 december 2026 om 24.00 uur (CET)"},
    {"da", CUSTOMER_NOTICE_DOWN, NOTICE_DA, 2, "2 mails venter",
     "indtil lørdag den 5. december 2026 kl. 24.00 (CET)"},
    {"en back", CUSTOMER_NOTICE_BACK, NOTICE_EN, 1,
     "acme: your mail server is back, 1 message was delivered",
     "It was away for 1 day and 3 hours, from Sunday, 29 November 2026, 14:05 CET to Monday, 30 "
     "November 2026, 17:05 CET."},
    {"en failed", CUSTOMER_NOTICE_BACK, NOTICE_EN, 2, "2 messages were delivered",
     "2 messages were not delivered: refused by your server, expired, or ended by an operator. "
     "The daily summary names them."},
    {"de back", CUSTOMER_NOTICE_BACK, NOTICE_DE, 2,
     "acme: Ihr Mailserver ist wieder da, 2 Nachrichten wurden zugestellt",
     "Er war 1 Tag und 3 Stunden lang nicht"},
    {"nl back", CUSTOMER_NOTICE_BACK, NOTICE_NL, 1, "1 bericht is bezorgd",
     "Hij was 1 dag en 3 uur niet beschikbaar"},
    {"da back", CUSTOMER_NOTICE_BACK, NOTICE_DA, 1, "1 mail er leveret",
     "Den var væk i 1 dag og 3 timer"},
    {"en 48", CUSTOMER_NOTICE_WARN_48, NOTICE_EN, 1,
     "acme: 1 message that waits for your server expires in less than 48 hours",
     "the senders of 1 message will hear nothing of it"},
    {"en 12", CUSTOMER_NOTICE_WARN_12, NOTICE_EN, 3, "expire in less than 12 hours",
     "    relayctl spool extend --customer acme --until +2d"},
    {"de 12", CUSTOMER_NOTICE_WARN_12, NOTICE_DE, 3,
     "acme: 3 wartende Nachrichten verfallen in weniger als 12 Stunden",
     "3 Nachrichten verfallen am Samstag, 5. Dezember 2026, 24:00 Uhr (CET)"},
    {"nl 48", CUSTOMER_NOTICE_WARN_48, NOTICE_NL, 3, "over minder dan 48 uur",
     "3 berichten verlopen op zaterdag 5 december"},
    {"da 48", CUSTOMER_NOTICE_WARN_48, NOTICE_DA, 1, "1 ventende mail udløber om mindre end 48",
     "1 mail udløber lørdag den 5. december"},
    {"en digest", CUSTOMER_NOTICE_DIGEST, NOTICE_EN, 5, "acme: 7 messages were not delivered",
     "P1-AAAA, 2026-11-30 16:05, expired     From: sam@sender.example     To: rita@acme.example   "
     "  Reason: 451 4.2.1 not now     The sender has been told."},
    {"en null sender, odd octets", CUSTOMER_NOTICE_DIGEST, NOTICE_EN, 5, "",
     "From: (a notice, without a sender)     To: ron@acme.example, rob@acme.example (+3)     "
     "Reason: removed by eve: ?junk ?, Käse     The sender has not been told."},
    {"en more", CUSTOMER_NOTICE_DIGEST, NOTICE_EN, 5, "", "And 5 more messages, not listed here."},
    {"de digest", CUSTOMER_NOTICE_DIGEST, NOTICE_DE, 0, "acme: 2 Nachrichten wurden nicht",
     "Der Absender wurde benachrichtigt."},
    {"nl digest", CUSTOMER_NOTICE_DIGEST, NOTICE_NL, 1, "acme: 3 berichten zijn niet bezorgd",
     "En nog 1 bericht, hier niet vermeld."},
    {"da digest", CUSTOMER_NOTICE_DIGEST, NOTICE_DA, 1, "acme: 3 mails blev ikke leveret",
     "Og 1 mail mere"},
};

/* Decodes base64 of encoded words, enough for a subject. */
static void
add_words(const char *value, size_t n, struct buf *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned bits = 0, have = 0;
    const char *end = value + n;

    while (value < end) {
        if (strncmp(value, "=?UTF-8?B?", 10) == 0) {
            bits = have = 0;
            for (value += 10; value < end && *value != '?'; value++) {
                const char *at = *value == '=' ? NULL : strchr(digits, *value);
                char c;

                if (at == NULL)
                    continue;
                bits = bits << 6 | (unsigned)(at - digits);
                have += 6;
                if (have < 8)
                    continue;
                have -= 8;
                c = (char)(bits >> have & 0xff);
                buf_add(out, &c, 1);
            }
            value += 2;
        } else if (strncmp(value, "\r\n ", 3) == 0)
            value += 3;
        else
            buf_add(out, value++, 1);
    }
}

static void
subject_of(const char *raw, struct buf *out)
{
    const char *begin = strstr(raw, "\r\nSubject: ") + 11, *end = begin;

    while (!(end[0] == '\r' && end[2] != ' '))
        end++;
    add_words(begin, (size_t)(end - begin), out);
}

Test(customer_notice, what_is_said, .init = use_amsterdam, .fini = forget)
{
    for (size_t i = 0; i < ARRAY_SIZE(said); i++) {
        struct customer_notice n = notice_of(said[i].kind, said[i].language, said[i].count);
        char text[8192];
        struct buf subject;

        snprintf(text, sizeof text, "%s", written(&n));
        for (char *p = text; *p != '\0'; p++)
            *p = *p == '\n' ? ' ' : *p;
        cr_expect_not_null(strstr(text, said[i].text), "%s: %s", said[i].name, text);
        buf_init(&subject, 0);
        subject_of(buf_text(&message), &subject);
        cr_expect_not_null(strstr(buf_text(&subject), said[i].subject), "%s: %s", said[i].name,
                           buf_text(&subject));
        buf_fini(&subject);
    }
}

Test(customer_notice, a_warning_without_an_outage_says_so, .init = use_amsterdam, .fini = forget)
{
    struct customer_notice n = notice_of(CUSTOMER_NOTICE_WARN_48, NOTICE_EN, 5);
    const char *text;

    n.since_ms = 0;
    n.unheard = 0;
    n.backend = "";
    n.is_up = true;
    text = written(&n);
    cr_expect_not_null(strstr(text, "Your server answers, but it puts this mail off"), "%s", text);
    cr_expect_not_null(strstr(text, "as far as these want to know"), "%s", text);
    cr_expect_null(strstr(text, "backend test"), "%s", text);
}

/* By language: that nobody can say, and what is advised for a server that is down. */
static const struct {
    const char *unknown, *start, *answers;
} neutral[NOTICE_LANGUAGES] = {
    [NOTICE_EN] = {"We cannot say at the moment", "- Start", "Your server answers"},
    [NOTICE_DE] = {"können wir derzeit nicht sagen", "- Starten", "Ihr Server antwortet"},
    [NOTICE_NL] = {"kunnen wij op dit moment niet zeggen", "- Start", "Uw server antwoordt"},
    [NOTICE_DA] = {"Vi kan i øjeblikket ikke sige", "- Start", "Jeres server svarer"},
};

/* One line: the texts are wrapped. */
static const char *
unwrapped(const struct customer_notice *n)
{
    static char text[8192];

    snprintf(text, sizeof text, "%s", written(n));
    for (char *p = text; *p != '\0'; p++)
        *p = *p == '\n' ? ' ' : *p;
    return text;
}

Test(customer_notice, a_warning_advises_what_fits_the_server, .init = use_amsterdam, .fini = forget)
{
    for (unsigned language = 0; language < NOTICE_LANGUAGES; language++) {
        struct customer_notice n =
            notice_of(CUSTOMER_NOTICE_WARN_12, (enum notice_language)language, 5);
        const char *text = unwrapped(&n);

        cr_expect_not_null(strstr(text, neutral[language].start), "down: %s", text);
        cr_expect_null(strstr(text, neutral[language].unknown), "down: %s", text);
        n.back_at_ms = NOW;
        n.why = CUSTOMER_NOTICE_WHY_REFUSES; /* and is over */
        n.is_up = true;
        text = unwrapped(&n);
        cr_expect_not_null(strstr(text, neutral[language].answers), "up: %s", text);
        cr_expect_null(strstr(text, neutral[language].start), "up: %s", text);
        cr_expect_null(strstr(text, "relayctl backend release"), "up: %s", text);
        n.since_ms = n.back_at_ms = 0;
        n.is_up = false;
        text = unwrapped(&n);
        cr_expect_not_null(strstr(text, neutral[language].unknown), "unknown: %s", text);
        cr_expect_null(strstr(text, neutral[language].answers), "unknown: %s", text);
        cr_expect_null(strstr(text, neutral[language].start), "unknown: %s", text);
    }
}

Test(customer_notice, what_is_behind_its_deadline_is_not_called_safe, .init = use_amsterdam,
     .fini = forget)
{
    struct customer_notice n = notice_of(CUSTOMER_NOTICE_DOWN, NOTICE_EN, 5);
    const char *text;

    n.first_messages = 0;
    n.first_expires_at_ms = 0;
    text = written(&n);
    cr_expect_not_null(strstr(text, "We are keeping 5 messages"), "%s", text);
    cr_expect_null(strstr(text, "safe until"), "%s", text);
    cr_expect_null(strstr(text, "1970"), "%s", text);
}

Test(customer_notice, a_server_that_refuses_recipients, .init = use_amsterdam, .fini = forget)
{
    struct customer_notice n = notice_of(CUSTOMER_NOTICE_DOWN, NOTICE_DE, 5);
    const char *text;

    n.why = CUSTOMER_NOTICE_WHY_REFUSES;
    text = written(&n);
    cr_expect_not_null(strstr(text, "relayctl backend release acme/1"), "%s", text);
    cr_expect_null(strstr(text, "Starten Sie"), "%s", text);
}

/* --- Values. */

static const struct {
    int64_t minutes;
    const char *texts[NOTICE_LANGUAGES];
} spans[] = {
    {0, {"0 minutes", "0 Minuten", "0 minuten", "0 minutter"}},
    {1, {"1 minute", "1 Minute", "1 minuut", "1 minut"}},
    {61,
     {"1 hour and 1 minute", "1 Stunde und 1 Minute", "1 uur en 1 minuut", "1 time og 1 minut"}},
    {120, {"2 hours", "2 Stunden", "2 uur", "2 timer"}},
    {2 * 1440 + 59, {"2 days", "2 Tage", "2 dagen", "2 dage"}},
    {5 * 1440 + 200,
     {"5 days and 3 hours", "5 Tage und 3 Stunden", "5 dagen en 3 uur", "5 dage og 3 timer"}},
};

Test(customer_notice, spans_of_time)
{
    for (size_t i = 0; i < ARRAY_SIZE(spans); i++)
        for (unsigned language = 0; language < NOTICE_LANGUAGES; language++) {
            char text[NOTICE_WHEN_SIZE];

            cr_expect_str_eq(
                notice_span((enum notice_language)language, spans[i].minutes * 60000, text),
                spans[i].texts[language]);
        }
}

static const struct {
    uint64_t bytes;
    const char *english, *german;
} sizes[] = {
    {0, "0 bytes", "0 Byte"},         {1, "1 byte", "1 Byte"},
    {999, "999 bytes", "999 Byte"},   {1000, "1.0 kB", "1,0 kB"},
    {999949, "999.9 kB", "999,9 kB"}, {999950, "1.0 MB", "1,0 MB"},
    {20971520, "21.0 MB", "21,0 MB"}, {UINT64_C(5000000000), "5.0 GB", "5,0 GB"},
};

Test(customer_notice, sizes_of_mail)
{
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        char text[NOTICE_WHEN_SIZE];

        cr_expect_str_eq(notice_size(NOTICE_EN, sizes[i].bytes, text), sizes[i].english);
        cr_expect_str_eq(notice_size(NOTICE_DE, sizes[i].bytes, text), sizes[i].german);
    }
}

static const struct {
    const char *word;
    enum notice_language language;
} words[] = {{"en", NOTICE_EN}, {"de", NOTICE_DE}, {"nl", NOTICE_NL},
             {"da", NOTICE_DA}, {"", NOTICE_EN},   {"xx", NOTICE_EN}};

Test(customer_notice, words_of_languages)
{
    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        cr_expect_eq(notice_language_of(words[i].word), words[i].language, "%s", words[i].word);
}

Test(customer_notice, an_encoded_subject_ends_its_words_between_characters)
{
    struct buf out, back;

    buf_init(&out, 0);
    notice_mime_subject(&out, SLICE("plain"));
    cr_expect_str_eq(buf_text(&out), "plain");
    for (size_t n = 1; n < 120; n++) {
        char text[400] = "x";

        for (size_t i = 0; i < n; i++)
            memcpy(text + 1 + 2 * i, "ø", 3);
        buf_clear(&out);
        notice_mime_subject(&out, slice_of(text));
        for (const char *line = buf_text(&out); *line != '\0'; line = strchr(line, '\n') + 1) {
            size_t width = strcspn(line, "\r");

            cr_expect_leq(width, 75);
            cr_expect(strncmp(line + (line != buf_text(&out)), "=?UTF-8?B?", 10) == 0);
            if (line[width] == '\0')
                break;
        }
        buf_init(&back, 0);
        add_words(buf_text(&out), buf_size(&out), &back);
        cr_expect_str_eq(buf_text(&back), text);
        buf_fini(&back);
    }
    buf_fini(&out);
}

static const struct {
    const char *name;
    struct slice text;
    const char *clean;
} odd[] = {
    {"good", SLICE("Käse €"), "Käse €"},
    {"control", SLICE("a\r\nb\tc"), "a??b?c"},
    {"cut", SLICE("a\xe2\x82"), "a??"},
    {"overlong", SLICE("\xc0\xaf\xe0\x80\x80"), "?????"},
    {"surrogate", SLICE("\xed\xa0\x80"), "???"},
    {"too long", SLICE("0123456789Käse"), "0123456789K"},
};

Test(customer_notice, what_others_wrote_is_made_clean)
{
    for (size_t i = 0; i < ARRAY_SIZE(odd); i++) {
        struct buf out;

        buf_init(&out, 0);
        notice_mime_clean(&out, odd[i].text, 12);
        cr_expect_str_eq(buf_text(&out), odd[i].clean, "%s", odd[i].name);
        buf_fini(&out);
    }
}
