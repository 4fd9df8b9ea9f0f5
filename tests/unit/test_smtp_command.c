/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Command lines: verbs, arguments, parameters.
 */
#include <criterion/criterion.h>

#include <stdint.h>

#include "smtp/smtp_command.h"

static const struct {
    const char *line;
    enum smtp_verb verb;
    const char *args;
} lines[] = {
    {"EHLO a", SMTP_VERB_EHLO, "a"},
    {"ehlo  a\t ", SMTP_VERB_EHLO, "a"},
    {"HeLo", SMTP_VERB_HELO, ""},
    {"MAIL FROM:<> SIZE=1", SMTP_VERB_MAIL, "FROM:<> SIZE=1"},
    {"RCPT TO:<a@b>", SMTP_VERB_RCPT, "TO:<a@b>"},
    {"DATA", SMTP_VERB_DATA, ""},
    {"DATA ", SMTP_VERB_DATA, ""},
    {"DATA\t", SMTP_VERB_DATA, ""},
    {"RSET", SMTP_VERB_RSET, ""},
    {"noop ", SMTP_VERB_NOOP, ""},
    {"VRFY x", SMTP_VERB_VRFY, "x"},
    {"HELP", SMTP_VERB_HELP, ""},
    {"QUIT", SMTP_VERB_QUIT, ""},
    {"STARTTLS", SMTP_VERB_STARTTLS, ""},
    {"AUTH PLAIN", SMTP_VERB_NOT_OFFERED, "PLAIN"},
    {"bdat 1", SMTP_VERB_NOT_OFFERED, "1"},
    {"SEND FROM:<a>", SMTP_VERB_NOT_OFFERED, "FROM:<a>"},
    {"", SMTP_VERB_UNKNOWN, ""},
    {" QUIT", SMTP_VERB_UNKNOWN, "QUIT"},
    {"QUITS", SMTP_VERB_UNKNOWN, ""},
    {"QUI", SMTP_VERB_UNKNOWN, ""},
    {"GET / HTTP/1.1", SMTP_VERB_OTHER_PROTOCOL, "/ HTTP/1.1"},
    {"MAIL\tFROM:<>", SMTP_VERB_UNKNOWN, ""},
};

Test(smtp_command, verbs)
{
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
        struct slice args;

        cr_expect_eq(smtp_verb_parse(slice_of(lines[i].line), &args), lines[i].verb, "'%s'",
                     lines[i].line);
        cr_expect(slice_equal(args, slice_of(lines[i].args)), "'%s': '" SLICE_FMT "'",
                  lines[i].line, SLICE_ARG(args));
    }
}

Test(smtp_command, words)
{
    for (int verb = 0; verb < SMTP_VERB_COUNT; verb++) {
        struct slice args;
        const char *word = smtp_verb_word((enum smtp_verb)verb);

        cr_expect_eq(smtp_verb_parse(slice_of(word), &args), verb, "%s", word);
    }
    cr_expect_str_empty(smtp_verb_word(SMTP_VERB_UNKNOWN));
    cr_expect_str_empty(smtp_verb_word(SMTP_VERB_NOT_OFFERED));
}

#define OK SMTP_VERDICT_OK
#define PARAMETER SMTP_VERDICT_BAD_PARAMETER
#define SENDER SMTP_VERDICT_BAD_SENDER_SYNTAX
#define RECIPIENT SMTP_VERDICT_BAD_RECIPIENT_SYNTAX
#define OFFERED SMTP_VERDICT_PARAMETER_NOT_OFFERED

static const struct {
    const char *args;
    enum smtp_verdict verdict;
    bool has_size;
    uint64_t size_bytes;
    enum smtp_body body;
} mails[] = {
    {"FROM:<>", OK, false, 0, SMTP_BODY_NONE},
    {"from: <a@b>", OK, false, 0, SMTP_BODY_NONE},
    {"FROM:<a@b>  SIZE=10  BODY=8BITMIME", OK, true, 10, SMTP_BODY_8BITMIME},
    {"FROM:<a@b> body=7bit size=0", OK, true, 0, SMTP_BODY_7BIT},
    {"FROM:<a@b> SIZE=18446744073709551615", OK, true, UINT64_MAX, SMTP_BODY_NONE},
    {"FROM:<a@b> SIZE=18446744073709551616", OK, true, UINT64_MAX, SMTP_BODY_NONE},
    {"FROM:<a@b> SIZE=00000000000000000001", OK, true, 1, SMTP_BODY_NONE},
    {"", PARAMETER, false, 0, SMTP_BODY_NONE},
    {"FROM", PARAMETER, false, 0, SMTP_BODY_NONE},
    {"FROM <a@b>", PARAMETER, false, 0, SMTP_BODY_NONE},
    {"TO:<a@b>", PARAMETER, false, 0, SMTP_BODY_NONE},
    {"FROM:", SENDER, false, 0, SMTP_BODY_NONE},
    {"FROM:a@b", SENDER, false, 0, SMTP_BODY_NONE},
    {"FROM:<a@b", SENDER, false, 0, SMTP_BODY_NONE},
    {"FROM:<a@b>SIZE=1", SENDER, false, 0, SMTP_BODY_NONE},
    {"FROM:<\xc3\xbc@b>", SMTP_VERDICT_SMTPUTF8_SENDER, false, 0, SMTP_BODY_NONE},
    {"FROM:<a@\xc3\xbc.example> SMTPUTF8", OK, false, 0, SMTP_BODY_NONE},
    {"FROM:<\xc3@b> SMTPUTF8", SENDER, false, 0, SMTP_BODY_NONE},
    {"FROM:<a@b> SIZE", PARAMETER, false, 0, SMTP_BODY_NONE},
    {"FROM:<a@b> SIZE=", PARAMETER, false, 0, SMTP_BODY_NONE},
    {"FROM:<a@b> SIZE=1x", PARAMETER, false, 0, SMTP_BODY_NONE},
    {"FROM:<a@b> SIZE=99999999999999999999x", PARAMETER, false, 0, SMTP_BODY_NONE},
    {"FROM:<a@b> SIZE=000000000000000000001", PARAMETER, false, 0, SMTP_BODY_NONE},
    {"FROM:<a@b> SIZE=1 SIZE=1", PARAMETER, false, 0, SMTP_BODY_NONE},
    {"FROM:<a@b> BODY=7BIT BODY=7BIT", PARAMETER, false, 0, SMTP_BODY_NONE},
    {"FROM:<a@b> =1", PARAMETER, false, 0, SMTP_BODY_NONE},
    {"FROM:<a@b> -X=1", PARAMETER, false, 0, SMTP_BODY_NONE},
    {"FROM:<a@b> X_Y", PARAMETER, false, 0, SMTP_BODY_NONE},
    {"FROM:<a@b> X=\x01", PARAMETER, false, 0, SMTP_BODY_NONE},
    {"FROM:<a@b> X=a=b", PARAMETER, false, 0, SMTP_BODY_NONE},
    {"FROM:<a@b> BODY=BINARYMIME", OFFERED, false, 0, SMTP_BODY_NONE},
    {"FROM:<a@b> AUTH=<>", OFFERED, false, 0, SMTP_BODY_NONE},
    {"FROM:<a@b> SMTPUTF8", OK, false, 0, SMTP_BODY_NONE},
    {"FROM:<a@b> RET=FULL ENVID=x", OK, false, 0, SMTP_BODY_NONE},
    {"FROM:<a@b> RET=FULL RET=FULL", PARAMETER, false, 0, SMTP_BODY_NONE},
    {"FROM:<a@b> RET", PARAMETER, false, 0, SMTP_BODY_NONE},
    {"FROM:<a@b> NOTIFY=NEVER", OFFERED, false, 0, SMTP_BODY_NONE},
    {"FROM:<a@b> ENVID=+", PARAMETER, false, 0, SMTP_BODY_NONE},
    {"FROM:<a@b> ENVID=+4", PARAMETER, false, 0, SMTP_BODY_NONE},
    {"FROM:<a@b> ENVID=+4a", PARAMETER, false, 0, SMTP_BODY_NONE},
    {"FROM:<a@b> ENVID=+00", PARAMETER, false, 0, SMTP_BODY_NONE},
    {"FROM:<a@b> ENVID=+7F", PARAMETER, false, 0, SMTP_BODY_NONE},
    {"FROM:<a@b> ENVID=\xc3\xbc", PARAMETER, false, 0, SMTP_BODY_NONE},
    {"FROM:<a@b> SMTPUTF8 ENVID=\xc3\xbc", PARAMETER, false, 0, SMTP_BODY_NONE},
};

Test(smtp_command, mail)
{
    for (size_t i = 0; i < ARRAY_SIZE(mails); i++) {
        struct smtp_command command;
        enum smtp_verdict verdict = smtp_parse_mail(slice_of(mails[i].args), &command);

        cr_expect_eq(verdict, mails[i].verdict, "%s: %s", mails[i].args,
                     smtp_verdict_word(verdict));
        if (verdict != OK)
            continue;
        cr_expect_eq(command.mail.has_size, mails[i].has_size, "%s", mails[i].args);
        cr_expect_eq(command.mail.size_bytes, mails[i].size_bytes, "%s", mails[i].args);
        cr_expect_eq(command.mail.body, mails[i].body, "%s", mails[i].args);
    }
}

Test(smtp_command, rcpt)
{
    static const struct {
        const char *args;
        enum smtp_verdict verdict;
    } cases[] = {
        {"TO:<a@b>", OK},
        {"to:  <postmaster>", OK},
        {"TO:<>", RECIPIENT},
        {"TO:a@b", RECIPIENT},
        {"TO:<a@b>,<c@d>", RECIPIENT},
        {"TO:<\xc3\xbc@b>", SMTP_VERDICT_SMTPUTF8_RECIPIENT},
        {"FROM:<a@b>", PARAMETER},
        {"TO:<a@b> NOTIFY=NEVER", OK},
        {"TO:<a@b> NOTIFY=", PARAMETER},
        {"TO:<a@b> NOTIFY", PARAMETER},
        {"TO:<a@b> NOTIFY=SUCCESS,", PARAMETER},
        {"TO:<a@b> NOTIFY=SUCCESS,SUCCESS", PARAMETER},
        {"TO:<a@b> NOTIFY=NEVER,SUCCESS", PARAMETER},
        {"TO:<a@b> ORCPT=rfc822;a@b", OK},
        {"TO:<a@b> ORCPT=rfc822;", PARAMETER},
        {"TO:<a@b> ORCPT=;a", PARAMETER},
        {"TO:<a@b> ORCPT=rfc 822;a", PARAMETER},
        {"TO:<a@b> ORCPT=rfc822;a+3Db", OK},
        {"TO:<a@b> ORCPT=rfc822;a=b", PARAMETER},
        {"TO:<a@b> ORCPT=utf-8;\\x{3B1}@b", OK},
        {"TO:<a@b> ORCPT=utf-8;\\x{D800}@b", PARAMETER},
        {"TO:<a@b> ORCPT=utf-8;\\x{110000}@b", PARAMETER},
        {"TO:<a@b> ORCPT=utf-8;\\x{}@b", PARAMETER},
        {"TO:<a@b> ORCPT=utf-8;\\x{0A}@b", PARAMETER},
        {"TO:<a@b> ORCPT=utf-8;\xc3\xbc@b", PARAMETER},
        {"TO:<a@b> RET=FULL", OFFERED},
        {"TO:<a@b> SIZE=1", OFFERED},
        {"TO:<a@b> =", PARAMETER},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct smtp_command command = {.smtputf8 = false};

        cr_expect_eq(smtp_parse_rcpt(slice_of(cases[i].args), &command), cases[i].verdict, "%s",
                     cases[i].args);
    }
}

Test(smtp_command, helo)
{
    static const struct {
        const char *args;
        enum smtp_verdict verdict;
    } cases[] = {
        {"mail.example", OK}, {"[192.0.2.1]", OK},     {"my_pc", OK},       {"*", OK},
        {"", PARAMETER},      {"my pc", PARAMETER},    {"a\tb", PARAMETER}, {"\xc3\xbc", PARAMETER},
        {"a\x7f", PARAMETER}, {"a\x1b[0m", PARAMETER},
    };
    char longest[SMTP_HELO_SIZE + 1];
    struct smtp_command command;

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        cr_expect_eq(smtp_parse_helo(slice_of(cases[i].args), &command), cases[i].verdict, "%s",
                     cases[i].args);
    memset(longest, 'x', sizeof longest);
    cr_expect_eq(smtp_parse_helo((struct slice){longest, 255}, &command), OK);
    cr_expect_eq(smtp_parse_helo((struct slice){longest, 256}, &command), PARAMETER);
}
