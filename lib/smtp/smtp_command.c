/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Command line -> verb and parsed arguments.  Two tables: the words (verbs), and the parameters
 * that MAIL takes.  Nothing here knows the state of a session; when a command is permitted is the
 * engine's table.
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

/* --- Parameters (RFC 5321 4.1.2: esmtp-param). */

static enum smtp_verdict
parse_size(struct slice value, struct smtp_mail *mail) /* RFC 1870 4: 1*20DIGIT */
{
    if (mail->has_size || value.n > 20)
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
parse_body(struct slice value, struct smtp_mail *mail) /* RFC 6152 2 */
{
    if (mail->body != SMTP_BODY_NONE)
        return SMTP_VERDICT_BAD_PARAMETER;
    if (slice_equal_nocase(value, SLICE("7BIT")))
        mail->body = SMTP_BODY_7BIT;
    else if (slice_equal_nocase(value, SLICE("8BITMIME")))
        mail->body = SMTP_BODY_8BITMIME;
    else
        return SMTP_VERDICT_PARAMETER_NOT_OFFERED; /* BINARYMIME (RFC 3030) */
    return SMTP_VERDICT_OK;
}

static const struct {
    struct slice keyword;
    enum smtp_verdict (*parse)(struct slice value, struct smtp_mail *mail);
} mail_parameters[] = {
    {{"SIZE", 4}, parse_size},
    {{"BODY", 4}, parse_body},
};

/* esmtp-keyword ["=" esmtp-value]; *value.p is NULL where there is none. */
static bool
split_parameter(struct slice word, struct slice *keyword, struct slice *value)
{
    *value = word;
    *keyword = slice_split(value, '=');
    if (keyword->n == 0 || keyword->p[0] == '-')
        return false;
    for (size_t i = 0; i < keyword->n; i++) {
        char c = keyword->p[i];

        if (!((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
              c == '-'))
            return false;
    }
    return value->p == NULL || (is_graphic(*value) && memchr(value->p, '=', value->n) == NULL);
}

/* mail is NULL for RCPT, which has no parameters. */
static enum smtp_verdict
parse_parameter(struct slice word, struct smtp_mail *mail)
{
    struct slice keyword, value;

    if (!split_parameter(word, &keyword, &value))
        return SMTP_VERDICT_BAD_PARAMETER;
    for (size_t i = 0; mail != NULL && i < ARRAY_SIZE(mail_parameters); i++)
        if (slice_equal_nocase(keyword, mail_parameters[i].keyword))
            return value.p ? mail_parameters[i].parse(value, mail) : SMTP_VERDICT_BAD_PARAMETER;
    return SMTP_VERDICT_PARAMETER_NOT_OFFERED;
}

static enum smtp_verdict
parse_parameters(struct slice rest, struct smtp_mail *mail)
{
    while (rest.p != NULL) {
        struct slice word = slice_split(&rest, ' ');
        enum smtp_verdict verdict = word.n ? parse_parameter(word, mail) : SMTP_VERDICT_OK;

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
    if (parse(args, path, &consumed) < 0 || path->needs_smtputf8)
        return bad; /* SMTPUTF8 (RFC 6531) is not offered */
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
    return verdict == SMTP_VERDICT_OK ? parse_parameters(rest, mail) : verdict;
}

enum smtp_verdict
smtp_parse_rcpt(struct slice args, struct smtp_command *command)
{
    struct smtp_path *path = &command->rcpt.path;
    struct slice rest;
    enum smtp_verdict verdict;

    verdict = parse_path(args, SLICE("TO:"), path, smtp_path_parse_forward,
                         SMTP_VERDICT_BAD_RECIPIENT_SYNTAX, &rest);
    return verdict == SMTP_VERDICT_OK ? parse_parameters(rest, NULL) : verdict;
}
