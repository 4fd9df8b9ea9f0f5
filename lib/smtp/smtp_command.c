/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Command line -> verb and parsed arguments.  Two tables: the words (verbs), and the parameters
 * that MAIL and RCPT take.  Nothing here knows the state of a session; when a command is permitted
 * is the engine's table.
 */
#include "smtp/smtp_command.h"

#include "base/parse.h"

static const struct {
    struct slice word;
    enum smtp_verb verb;
} verbs[] = {
    [SMTP_VERB_EHLO] = {{"EHLO", 4}, SMTP_VERB_EHLO},
    [SMTP_VERB_HELO] = {{"HELO", 4}, SMTP_VERB_HELO},
    [SMTP_VERB_MAIL] = {{"MAIL", 4}, SMTP_VERB_MAIL},
    [SMTP_VERB_RCPT] = {{"RCPT", 4}, SMTP_VERB_RCPT},
    [SMTP_VERB_DATA] = {{"DATA", 4}, SMTP_VERB_DATA},
    [SMTP_VERB_RSET] = {{"RSET", 4}, SMTP_VERB_RSET},
    [SMTP_VERB_NOOP] = {{"NOOP", 4}, SMTP_VERB_NOOP},
    [SMTP_VERB_VRFY] = {{"VRFY", 4}, SMTP_VERB_VRFY},
    [SMTP_VERB_HELP] = {{"HELP", 4}, SMTP_VERB_HELP},
    [SMTP_VERB_QUIT] = {{"QUIT", 4}, SMTP_VERB_QUIT},
    [SMTP_VERB_STARTTLS] = {{"STARTTLS", 8}, SMTP_VERB_STARTTLS}, /* RFC 3207 */
    [SMTP_VERB_ETRN] = {{"ETRN", 4}, SMTP_VERB_ETRN},             /* RFC 1985 */
    [SMTP_VERB_XCLIENT] = {{"XCLIENT", 7}, SMTP_VERB_XCLIENT},    /* Postfix */
    /* Known, not offered. */
    {{"ATRN", 4}, SMTP_VERB_NOT_OFFERED},     /* RFC 2645 */
    {{"AUTH", 4}, SMTP_VERB_NOT_OFFERED},     /* RFC 4954 */
    {{"BDAT", 4}, SMTP_VERB_NOT_OFFERED},     /* RFC 3030 */
    {{"BURL", 4}, SMTP_VERB_NOT_OFFERED},     /* RFC 4468 */
    {{"EXPN", 4}, SMTP_VERB_NOT_OFFERED},     /* RFC 5321 4.1.1.7 */
    {{"SAML", 4}, SMTP_VERB_NOT_OFFERED},     /* RFC 821, as SEND, SOML, TURN */
    {{"SEND", 4}, SMTP_VERB_NOT_OFFERED},     /* */
    {{"SOML", 4}, SMTP_VERB_NOT_OFFERED},     /* */
    {{"TURN", 4}, SMTP_VERB_NOT_OFFERED},     /* */
    {{"XFORWARD", 8}, SMTP_VERB_NOT_OFFERED}, /* Postfix */
    /* What browsers and proxies say that were made to talk to this port. */
    {{"CONNECT", 7}, SMTP_VERB_OTHER_PROTOCOL},
    {{"GET", 3}, SMTP_VERB_OTHER_PROTOCOL},
    {{"HEAD", 4}, SMTP_VERB_OTHER_PROTOCOL},
    {{"OPTIONS", 7}, SMTP_VERB_OTHER_PROTOCOL},
    {{"POST", 4}, SMTP_VERB_OTHER_PROTOCOL},
    {{"PUT", 3}, SMTP_VERB_OTHER_PROTOCOL},
};

enum smtp_verb
smtp_verb_parse(struct slice line, struct slice *args)
{
    struct slice rest = line, word = slice_split(&rest, ' ');

    *args = rest.p ? slice_trim(rest) : (struct slice){"", 0};
    if (rest.p == NULL)
        word = slice_trim(word); /* a tab behind a lone verb */
    for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
        if (slice_equal_nocase(word, verbs[i].word))
            return verbs[i].verb;
    return SMTP_VERB_UNKNOWN;
}

const char *
smtp_verb_word(enum smtp_verb verb)
{
    return verb < SMTP_VERB_COUNT ? verbs[verb].word.p : "";
}

size_t
smtp_verb_line_max(enum smtp_verb verb)
{
    return verb == SMTP_VERB_MAIL   ? SMTP_LINE_MAX_MAIL
           : verb == SMTP_VERB_RCPT ? SMTP_LINE_MAX_RCPT
                                    : SMTP_LINE_MAX;
}

enum smtp_verdict
smtp_parse_nothing(struct slice args, struct smtp_command *command)
{
    (void)command;
    return args.n == 0 ? SMTP_VERDICT_OK : SMTP_VERDICT_BAD_PARAMETER;
}

enum smtp_verdict
smtp_parse_anything(struct slice args, struct smtp_command *command)
{
    (void)args, (void)command;
    return SMTP_VERDICT_OK;
}

enum smtp_verdict
smtp_parse_something(struct slice args, struct smtp_command *command)
{
    (void)command;
    return args.n > 0 ? SMTP_VERDICT_OK : SMTP_VERDICT_BAD_PARAMETER;
}

static bool
is_graphic(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < 0x21 || s.p[i] > 0x7e)
            return false;
    return s.n > 0;
}

enum smtp_verdict
smtp_parse_helo(struct slice args, struct smtp_command *command)
{
    if (!is_graphic(args) || !slice_to_text(args, command->helo, sizeof command->helo))
        return SMTP_VERDICT_BAD_PARAMETER;
    return SMTP_VERDICT_OK;
}

enum smtp_verdict
smtp_parse_etrn(struct slice args, struct smtp_command *command)
{
    if (!is_graphic(args) || !slice_to_text(args, command->etrn, sizeof command->etrn))
        return SMTP_VERDICT_BAD_PARAMETER;
    return SMTP_VERDICT_OK;
}

enum smtp_verdict
smtp_parse_xclient(struct slice args, struct smtp_command *command)
{
    if (args.n == 0)
        return SMTP_VERDICT_BAD_PARAMETER;
    return smtp_xclient_parse(args, &command->xclient) == ERR_OK ? SMTP_VERDICT_OK
                                                                 : SMTP_VERDICT_XCLIENT_SYNTAX;
}

/* --- Values of parameters. */

static bool
is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F');
}

static int
hex_value(char c)
{
    return c <= '9' ? c - '0' : c - 'A' + 10;
}

/* One xtext character (RFC 3461 4) at s.p: how many octets it takes, 0 if it is none; what it
 * stands for must be printable ASCII or a space, so that nothing hides a line end in it. */
static size_t
xtext_length(struct slice s)
{
    int c = (unsigned char)s.p[0];

    if (c != '+')
        return c > 32 && c < 127 && c != '=' ? 1 : 0;
    if (s.n < 3 || !is_hex(s.p[1]) || !is_hex(s.p[2]))
        return 0;
    c = hex_value(s.p[1]) * 16 + hex_value(s.p[2]);
    return c >= 32 && c < 127 ? 3 : 0;
}

/* "\x{3B1}" of RFC 6533 3: a character beyond ASCII, no surrogate. */
static size_t
embedded_length(struct slice s)
{
    uint32_t c = 0;
    size_t n = 3;

    if (s.n < 5 || memcmp(s.p, "\\x{", 3) != 0)
        return 0;
    for (; n < s.n && n < 9 && is_hex(s.p[n]); n++)
        c = c * 16 + (uint32_t)hex_value(s.p[n]);
    if (n == 3 || n == s.n || s.p[n] != '}' || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
        return 0;
    return c >= 32 && c != 127 ? n + 1 : 0;
}

/* utf-8-addr-xtext, or with SMTPUTF8 utf-8-addr-unitext. */
static size_t
unitext_length(struct slice s, bool smtputf8)
{
    if ((unsigned char)s.p[0] > 0x7f)
        return smtputf8 ? smtp_utf8_length(s) : 0;
    return s.p[0] == '\\' ? embedded_length(s) : xtext_length(s);
}

static bool
is_xtext(struct slice s)
{
    size_t n = 1;

    for (; s.n > 0 && n > 0; s.p += n, s.n -= n)
        n = xtext_length(s);
    return n > 0;
}

static bool
is_unitext(struct slice s, bool smtputf8)
{
    size_t n = 1;

    for (; s.n > 0 && n > 0; s.p += n, s.n -= n)
        n = unitext_length(s, smtputf8);
    return n > 0;
}

static bool
is_keyword(struct slice s) /* esmtp-keyword, and addr-type of RFC 3461 */
{
    if (s.n == 0 || s.p[0] == '-')
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];

        if (!((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
              c == '-'))
            return false;
    }
    return true;
}

/* --- Parameters (RFC 5321 4.1.2: esmtp-param).  A value without its "=" has p == NULL. */

static enum smtp_verdict
parse_size(struct slice value, struct smtp_command *command) /* RFC 1870 4: 1*20DIGIT */
{
    struct smtp_mail *mail = &command->mail;

    if (value.n == 0 || value.n > 20)
        return SMTP_VERDICT_BAD_PARAMETER;
    for (size_t i = 0; i < value.n; i++)
        if (value.p[i] < '0' || value.p[i] > '9')
            return SMTP_VERDICT_BAD_PARAMETER;
    if (parse_u64(value, &mail->size_bytes) < 0)
        mail->size_bytes = UINT64_MAX;
    mail->has_size = true;
    return SMTP_VERDICT_OK;
}

static enum smtp_verdict
parse_body(struct slice value, struct smtp_command *command) /* RFC 6152 2 */
{
    if (value.n == 0)
        return SMTP_VERDICT_BAD_PARAMETER;
    if (slice_equal_nocase(value, SLICE("7BIT")))
        command->mail.body = SMTP_BODY_7BIT;
    else if (slice_equal_nocase(value, SLICE("8BITMIME")))
        command->mail.body = SMTP_BODY_8BITMIME;
    else
        return SMTP_VERDICT_PARAMETER_NOT_OFFERED; /* BINARYMIME (RFC 3030) */
    return SMTP_VERDICT_OK;
}

static enum smtp_verdict
parse_smtputf8(struct slice value, struct smtp_command *command) /* RFC 6531 3.4 */
{
    command->mail.smtputf8 = true;
    return value.p == NULL ? SMTP_VERDICT_OK : SMTP_VERDICT_BAD_PARAMETER;
}

static enum smtp_verdict
parse_ret(struct slice value, struct smtp_command *command) /* RFC 3461 4.3 */
{
    if (slice_equal_nocase(value, SLICE("FULL")))
        command->mail.dsn_ret = SMTP_DSN_RET_FULL;
    else if (slice_equal_nocase(value, SLICE("HDRS")))
        command->mail.dsn_ret = SMTP_DSN_RET_HDRS;
    else
        return SMTP_VERDICT_BAD_PARAMETER;
    return SMTP_VERDICT_OK;
}

static enum smtp_verdict
parse_envid(struct slice value, struct smtp_command *command) /* RFC 3461 4.4 */
{
    char *dst = command->mail.dsn_envid;

    if (value.n == 0 || !is_xtext(value) ||
        !slice_to_text(value, dst, sizeof command->mail.dsn_envid))
        return SMTP_VERDICT_BAD_PARAMETER;
    return SMTP_VERDICT_OK;
}

static unsigned
notify_bit(struct slice word)
{
    static const struct {
        struct slice word;
        unsigned bit;
    } words[] = {
        {{"NEVER", 5}, SMTP_DSN_NOTIFY_NEVER},
        {{"SUCCESS", 7}, SMTP_DSN_NOTIFY_SUCCESS},
        {{"FAILURE", 7}, SMTP_DSN_NOTIFY_FAILURE},
        {{"DELAY", 5}, SMTP_DSN_NOTIFY_DELAY},
    };

    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (slice_equal_nocase(word, words[i].word))
            return words[i].bit;
    return 0;
}

static enum smtp_verdict
parse_notify(struct slice value, struct smtp_command *command) /* RFC 3461 4.1 */
{
    unsigned bits = 0;

    while (value.p != NULL) {
        unsigned bit = notify_bit(slice_split(&value, ','));

        if (bit == 0 || (bits & bit))
            return SMTP_VERDICT_BAD_PARAMETER;
        bits |= bit;
    }
    if (bits == 0 || ((bits & SMTP_DSN_NOTIFY_NEVER) && bits != SMTP_DSN_NOTIFY_NEVER))
        return SMTP_VERDICT_BAD_PARAMETER;
    command->rcpt.dsn_notify = bits;
    return SMTP_VERDICT_OK;
}

static enum smtp_verdict
parse_orcpt(struct slice value, struct smtp_command *command) /* RFC 3461 4.2, RFC 6533 3 */
{
    struct slice address = value, type = slice_split(&address, ';');
    bool is_utf8 = slice_equal_nocase(type, SLICE("utf-8"));

    if (!is_keyword(type) || address.n == 0 ||
        !(is_utf8 ? is_unitext(address, command->smtputf8) : is_xtext(address)) ||
        !slice_to_text(value, command->rcpt.dsn_orcpt, sizeof command->rcpt.dsn_orcpt))
        return SMTP_VERDICT_BAD_PARAMETER;
    return SMTP_VERDICT_OK;
}

struct parameter {
    struct slice keyword;
    enum smtp_verdict (*parse)(struct slice value, struct smtp_command *command);
};

static const struct parameter mail_parameters[] = {
    {{"SIZE", 4}, parse_size}, {{"BODY", 4}, parse_body},   {{"SMTPUTF8", 8}, parse_smtputf8},
    {{"RET", 3}, parse_ret},   {{"ENVID", 5}, parse_envid}, {{NULL, 0}, NULL},
};

static const struct parameter rcpt_parameters[] = {
    {{"NOTIFY", 6}, parse_notify},
    {{"ORCPT", 5}, parse_orcpt},
    {{NULL, 0}, NULL},
};

/* esmtp-value with RFC 6531 3.3: no control octet, no space, no "=". */
static bool
is_value(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];

        if (c <= 32 || c == 127 || c == '=')
            return false;
    }
    return s.n > 0;
}

/* *seen has a bit for each row that was there. */
static enum smtp_verdict
parse_parameter(struct slice word, const struct parameter *table, struct smtp_command *command,
                unsigned *seen)
{
    struct slice value = word, keyword = slice_split(&value, '=');

    if (!is_keyword(keyword) || (value.p != NULL && !is_value(value)))
        return SMTP_VERDICT_BAD_PARAMETER;
    for (unsigned i = 0; table[i].parse != NULL; i++) {
        if (!slice_equal_nocase(keyword, table[i].keyword))
            continue;
        if (*seen & (1u << i))
            return SMTP_VERDICT_BAD_PARAMETER;
        *seen |= 1u << i;
        return table[i].parse(value, command);
    }
    return SMTP_VERDICT_PARAMETER_NOT_OFFERED;
}

static enum smtp_verdict
parse_parameters(struct slice rest, const struct parameter *table, struct smtp_command *command)
{
    unsigned seen = 0;

    while (rest.p != NULL) {
        struct slice word = slice_split(&rest, ' ');
        enum smtp_verdict verdict =
            word.n ? parse_parameter(word, table, command, &seen) : SMTP_VERDICT_OK;

        if (verdict != SMTP_VERDICT_OK)
            return verdict;
    }
    return SMTP_VERDICT_OK;
}

/* "FROM:" or "TO:", then the path; *rest is what stands behind the path. */
static enum smtp_verdict
parse_path(struct slice args, struct slice word, struct smtp_path *path,
           int (*parse)(struct slice, struct smtp_path *, size_t *), enum smtp_verdict bad,
           struct slice *rest)
{
    size_t consumed;

    if (!slice_starts_nocase(args, word))
        return SMTP_VERDICT_BAD_PARAMETER;
    args = slice_trim((struct slice){args.p + word.n, args.n - word.n});
    if (parse(args, path, &consumed) < 0)
        return bad;
    *rest = (struct slice){args.p + consumed, args.n - consumed};
    return rest->n == 0 || rest->p[0] == ' ' ? SMTP_VERDICT_OK : bad;
}

enum smtp_verdict
smtp_parse_mail(struct slice args, struct smtp_command *command)
{
    struct smtp_mail *mail = &command->mail;
    struct slice rest;
    enum smtp_verdict verdict;

    *mail = (struct smtp_mail){.body = SMTP_BODY_NONE};
    verdict = parse_path(args, SLICE("FROM:"), &mail->path, smtp_path_parse_reverse,
                         SMTP_VERDICT_BAD_SENDER_SYNTAX, &rest);
    if (verdict == SMTP_VERDICT_OK)
        verdict = parse_parameters(rest, mail_parameters, command);
    if (verdict == SMTP_VERDICT_OK && mail->path.needs_smtputf8 && !mail->smtputf8)
        verdict = SMTP_VERDICT_SMTPUTF8_SENDER;
    return verdict;
}

enum smtp_verdict
smtp_parse_rcpt(struct slice args, struct smtp_command *command)
{
    struct smtp_rcpt *rcpt = &command->rcpt;
    struct slice rest;
    enum smtp_verdict verdict;

    *rcpt = (struct smtp_rcpt){0};
    verdict = parse_path(args, SLICE("TO:"), &rcpt->path, smtp_path_parse_forward,
                         SMTP_VERDICT_BAD_RECIPIENT_SYNTAX, &rest);
    if (verdict == SMTP_VERDICT_OK)
        verdict = parse_parameters(rest, rcpt_parameters, command);
    if (verdict == SMTP_VERDICT_OK && rcpt->path.needs_smtputf8 && !command->smtputf8)
        verdict = SMTP_VERDICT_SMTPUTF8_RECIPIENT;
    return verdict;
}
