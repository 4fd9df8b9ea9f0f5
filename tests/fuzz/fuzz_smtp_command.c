/* SPDX-License-Identifier: BSD-2-Clause
 *
 * One command line: the verb and the parser of its arguments.  What a parser lets through holds no
 * octet that could end a line anywhere, and an address that it took is taken again.
 */
#include "smtp/smtp_command.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_clean(const char *text, bool may_have_space)
{
    for (; *text != '\0'; text++)
        CHECK((unsigned char)*text >= (may_have_space ? 0x20 : 0x21) && *text != 0x7f);
}

static void
check_path(const struct smtp_path *path)
{
    char key[SMTP_PATH_SIZE];
    struct smtp_path again;

    check_clean(path->text, true);
    check_clean(path->domain, false);
    CHECK(path->local_length <= SMTP_LOCAL_MAX && strlen(path->text) + 2 <= SMTP_PATH_MAX);
    smtp_path_key(path, key);
    check_clean(key, true);
    if (path->is_null || path->is_postmaster)
        return;
    CHECK(smtp_path_parse_mailbox(slice_of(path->text), &again) == ERR_OK);
    CHECK(strcmp(again.domain, path->domain) == 0 && again.local_length == path->local_length);
}

static void
check_mail(const struct smtp_mail *mail)
{
    check_path(&mail->path);
    check_clean(mail->dsn_envid, false);
    CHECK(!mail->path.needs_smtputf8 || mail->smtputf8);
}

static void
check_rcpt(const struct smtp_rcpt *rcpt, bool smtputf8)
{
    check_path(&rcpt->path);
    check_clean(rcpt->dsn_orcpt, false);
    CHECK(!rcpt->path.is_null && (!rcpt->path.needs_smtputf8 || smtputf8));
    CHECK(!(rcpt->dsn_notify & SMTP_DSN_NOTIFY_NEVER) || rcpt->dsn_notify == SMTP_DSN_NOTIFY_NEVER);
}

static void
check_xclient(const struct smtp_xclient *x)
{
    const char *const texts[] = {x->name, x->reverse_name, x->helo, x->login};

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        check_clean(texts[i], false);
    CHECK(x->given != 0 && !(x->unavailable & ~x->given) && !(x->temporary & ~x->given));
    CHECK(!(x->unavailable & x->temporary));
}

static void
parse(enum smtp_verb verb, struct slice args, struct smtp_command *c)
{
    switch (verb) {
    case SMTP_VERB_EHLO:
    case SMTP_VERB_HELO:
        if (smtp_parse_helo(args, c) == SMTP_VERDICT_OK)
            check_clean(c->helo, false);
        break;
    case SMTP_VERB_ETRN:
        if (smtp_parse_etrn(args, c) == SMTP_VERDICT_OK)
            check_clean(c->etrn, false);
        break;
    case SMTP_VERB_MAIL:
        if (smtp_parse_mail(args, c) == SMTP_VERDICT_OK)
            check_mail(&c->mail);
        break;
    case SMTP_VERB_RCPT:
        if (smtp_parse_rcpt(args, c) == SMTP_VERDICT_OK)
            check_rcpt(&c->rcpt, c->smtputf8);
        break;
    case SMTP_VERB_XCLIENT:
        if (smtp_parse_xclient(args, c) == SMTP_VERDICT_OK)
            check_xclient(&c->xclient);
        break;
    case SMTP_VERB_DATA:
    case SMTP_VERB_RSET:
    case SMTP_VERB_NOOP:
    case SMTP_VERB_VRFY:
    case SMTP_VERB_HELP:
    case SMTP_VERB_QUIT:
    case SMTP_VERB_STARTTLS:
    case SMTP_VERB_NOT_OFFERED:
    case SMTP_VERB_UNKNOWN:
    case SMTP_VERB_OTHER_PROTOCOL:
        break;
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice line = {(const char *)data, size}, args;
    enum smtp_verb verb = smtp_verb_parse(line, &args);

    for (int smtputf8 = 0; smtputf8 < 2; smtputf8++) {
        struct smtp_command command = {.verb = verb, .smtputf8 = smtputf8};

        parse(verb, args, &command);
    }
    return 0;
}
