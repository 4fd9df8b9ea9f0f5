/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Keywords of EHLO in, parameters of MAIL and RCPT out.  A parameter goes to a peer that offers its
 * extension and to no other; what a client gave is passed on as it came, octet by octet.  The last
 * guard against a second command inside a line stands here.
 */
#include "smtp/smtp_capabilities.h"

#include <inttypes.h>

#include "base/parse.h"

static void
take_size(struct smtp_capabilities *caps, struct slice parameter)
{
    caps->has_size = true;
    if (parse_u64(parameter, &caps->size_max_bytes) < 0)
        caps->size_max_bytes = 0; /* RFC 1870 4: none given, or nonsense: no fixed maximum */
}

static void
take_auth(struct smtp_capabilities *caps, struct slice mechanisms)
{
    while (mechanisms.p != NULL) {
        struct slice word = slice_split(&mechanisms, ' ');

        caps->auth_plain = caps->auth_plain || slice_equal_nocase(word, SLICE("PLAIN"));
        caps->auth_login = caps->auth_login || slice_equal_nocase(word, SLICE("LOGIN"));
    }
}

void
smtp_capabilities_take(struct smtp_capabilities *caps, struct slice line)
{
    const struct {
        struct slice word;
        bool *flag;
    } words[] = {
        {SLICE("PIPELINING"), &caps->pipelining}, {SLICE("8BITMIME"), &caps->eightbitmime},
        {SLICE("SMTPUTF8"), &caps->smtputf8},     {SLICE("DSN"), &caps->dsn},
        {SLICE("STARTTLS"), &caps->starttls},     {SLICE("ENHANCEDSTATUSCODES"), &caps->enhanced},
        {SLICE("SIZE"), &caps->has_size},
    };
    struct slice rest = line, word = slice_split(&rest, ' ');

    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (slice_equal_nocase(word, words[i].word))
            *words[i].flag = true;
    if (slice_equal_nocase(word, SLICE("SIZE")))
        take_size(caps, slice_trim(rest));
    if (slice_equal_nocase(word, SLICE("AUTH")))
        take_auth(caps, rest);
    if (slice_equal_nocase(word, SLICE("XFORWARD")))
        caps->xforward = smtp_xforward_offered(rest);
}

/* The parsers of path and parameters have seen to it; this is the last guard. A quoted local part
 * may hold a space. */
static void
check_path(const struct smtp_path *path)
{
    CHECK(path->text[strcspn(path->text, "\r\n")] == '\0');
}

static void
add_word(struct buf *out, const char *keyword, const char *value)
{
    CHECK(value[strcspn(value, " \r\n")] == '\0');
    buf_printf(out, " %s=%s", keyword, value);
}

void
smtp_capabilities_write_mail(const struct smtp_capabilities *caps, const struct smtp_mail *mail,
                             struct buf *out)
{
    check_path(&mail->path);
    buf_printf(out, "MAIL FROM:<%s>", mail->path.text);
    if (caps->has_size && mail->has_size && mail->size_bytes > 0)
        buf_printf(out, " SIZE=%" PRIu64, mail->size_bytes);
    if (caps->eightbitmime && mail->body == SMTP_BODY_8BITMIME)
        add_word(out, "BODY", "8BITMIME");
    if (caps->smtputf8 && mail->smtputf8)
        buf_add_text(out, " SMTPUTF8");
    if (caps->dsn && mail->dsn_ret != SMTP_DSN_RET_NONE)
        add_word(out, "RET", mail->dsn_ret == SMTP_DSN_RET_FULL ? "FULL" : "HDRS");
    if (caps->dsn && mail->dsn_envid[0] != '\0')
        add_word(out, "ENVID", mail->dsn_envid);
    buf_add_text(out, "\r\n");
}

static void
add_notify(struct buf *out, unsigned bits)
{
    static const struct {
        unsigned bit;
        const char *word;
    } words[] = {
        {SMTP_DSN_NOTIFY_NEVER, "NEVER"},
        {SMTP_DSN_NOTIFY_SUCCESS, "SUCCESS"},
        {SMTP_DSN_NOTIFY_FAILURE, "FAILURE"},
        {SMTP_DSN_NOTIFY_DELAY, "DELAY"},
    };
    const char *separator = " NOTIFY=";

    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        if (!(bits & words[i].bit))
            continue;
        buf_printf(out, "%s%s", separator, words[i].word);
        separator = ",";
    }
}

void
smtp_capabilities_write_rcpt(const struct smtp_capabilities *caps, const struct smtp_rcpt *rcpt,
                             struct buf *out)
{
    check_path(&rcpt->path);
    buf_printf(out, "RCPT TO:<%s>", rcpt->path.text);
    if (caps->dsn)
        add_notify(out, rcpt->dsn_notify);
    if (caps->dsn && rcpt->dsn_orcpt[0] != '\0')
        add_word(out, "ORCPT", rcpt->dsn_orcpt);
    buf_add_text(out, "\r\n");
}

bool
smtp_capabilities_lack_utf8(const struct smtp_capabilities *caps, const struct smtp_mail *mail,
                            const struct smtp_path *to)
{
    if (caps->smtputf8)
        return false;
    return mail->path.needs_smtputf8 || (to != NULL && to->needs_smtputf8);
}

bool
smtp_capabilities_lack_size(const struct smtp_capabilities *caps, const struct smtp_mail *mail)
{
    return caps->has_size && caps->size_max_bytes > 0 && mail->has_size &&
           mail->size_bytes > caps->size_max_bytes;
}
