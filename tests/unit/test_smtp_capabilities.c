/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What a peer offers decides which parameters it is sent: tables of EHLO and of what MAIL and RCPT
 * look like then.
 */
#include <criterion/criterion.h>
#include <stdio.h>

#include "smtp/smtp_capabilities.h"

static struct smtp_capabilities
caps_of(const char *const *lines)
{
    struct smtp_capabilities caps = {.esmtp = true};

    for (; *lines != NULL; lines++)
        smtp_capabilities_take(&caps, slice_of(*lines));
    return caps;
}

#define ALL_OFFERED "SIZE 1000000", "8BITMIME", "SMTPUTF8", "DSN"

static const struct {
    const char *name;
    const char *ehlo[6];
    const char *want;
    struct smtp_mail mail;
} mails[] = {
    {"size and body",
     {"SIZE 9", "8BITMIME"},
     " SIZE=5 BODY=8BITMIME",
     {.has_size = true, .size_bytes = 5, .body = SMTP_BODY_8BITMIME}},
    {"no size known", {"SIZE 9", "8BITMIME"}, "", {.body = SMTP_BODY_7BIT}},
    {"size of nothing is not said", {"SIZE"}, "", {.has_size = true}},
    {"SIZE alone",
     {"size"},
     " SIZE=5",
     {.has_size = true, .size_bytes = 5, .body = SMTP_BODY_8BITMIME}},
    {"SIZE with nonsense", {"SIZE many"}, " SIZE=5", {.has_size = true, .size_bytes = 5}},
    {"8BITMIME in small letters",
     {"8bitmime"},
     " BODY=8BITMIME",
     {.has_size = true, .size_bytes = 5, .body = SMTP_BODY_8BITMIME}},
    {"a longer word is another", {"SIZES 5"}, "", {.has_size = true, .size_bytes = 5}},
    {"everything",
     {ALL_OFFERED},
     " SIZE=5 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=QQ+2B314159",
     {.has_size = true,
      .size_bytes = 5,
      .body = SMTP_BODY_8BITMIME,
      .smtputf8 = true,
      .dsn_ret = SMTP_DSN_RET_HDRS,
      .dsn_envid = "QQ+2B314159"}},
    {"RET=FULL alone", {"dsn"}, " RET=FULL", {.dsn_ret = SMTP_DSN_RET_FULL}},
    {"ENVID alone", {"DSN"}, " ENVID=x", {.dsn_envid = "x"}},
    {"nothing was given", {ALL_OFFERED}, "", {.body = SMTP_BODY_NONE}},
    {"a peer without DSN and SMTPUTF8 hears nothing of them",
     {"SIZE", "8BITMIME"},
     "",
     {.smtputf8 = true, .dsn_ret = SMTP_DSN_RET_FULL, .dsn_envid = "x"}},
    {"a peer that offers nothing",
     {NULL},
     "",
     {.has_size = true,
      .size_bytes = 5,
      .body = SMTP_BODY_8BITMIME,
      .smtputf8 = true,
      .dsn_ret = SMTP_DSN_RET_FULL,
      .dsn_envid = "x"}},
};

Test(smtp_capabilities, MAIL_has_the_parameters_that_are_offered)
{
    for (size_t i = 0; i < ARRAY_SIZE(mails); i++) {
        struct smtp_capabilities caps = caps_of(mails[i].ehlo);
        struct smtp_mail mail = mails[i].mail;
        char want[200];
        struct buf out;

        snprintf(mail.path.text, sizeof mail.path.text, "x@y.example");
        snprintf(want, sizeof want, "MAIL FROM:<x@y.example>%s\r\n", mails[i].want);
        buf_init(&out, 0);
        smtp_capabilities_write_mail(&caps, &mail, &out);
        cr_expect_str_eq(buf_text(&out), want, "%s: %s", mails[i].name, buf_text(&out));
        buf_fini(&out);
    }
}

static const struct {
    const char *name, *ehlo, *want;
    unsigned notify;
    const char *orcpt;
} rcpts[] = {
    {"none given", "DSN", "", 0, ""},
    {"never", "DSN", " NOTIFY=NEVER", SMTP_DSN_NOTIFY_NEVER, ""},
    {"three of them", "DSN", " NOTIFY=SUCCESS,FAILURE,DELAY",
     SMTP_DSN_NOTIFY_SUCCESS | SMTP_DSN_NOTIFY_FAILURE | SMTP_DSN_NOTIFY_DELAY, ""},
    {"as it came", "DSN", " NOTIFY=DELAY ORCPT=rfc822;Bob+2B@Ivory.EDU", SMTP_DSN_NOTIFY_DELAY,
     "rfc822;Bob+2B@Ivory.EDU"},
    {"the original recipient alone", "DSN", " ORCPT=utf-8;x", 0, "utf-8;x"},
    {"not offered", "SMTPUTF8", "", SMTP_DSN_NOTIFY_NEVER, "rfc822;x@y"},
};

Test(smtp_capabilities, RCPT_has_the_parameters_that_are_offered)
{
    for (size_t i = 0; i < ARRAY_SIZE(rcpts); i++) {
        struct smtp_capabilities caps = caps_of((const char *const[]){rcpts[i].ehlo, NULL});
        struct smtp_rcpt rcpt = {.dsn_notify = rcpts[i].notify};
        char want[200];
        struct buf out;

        snprintf(rcpt.path.text, sizeof rcpt.path.text, "\"r t\"@y.example");
        snprintf(rcpt.dsn_orcpt, sizeof rcpt.dsn_orcpt, "%s", rcpts[i].orcpt);
        snprintf(want, sizeof want, "RCPT TO:<\"r t\"@y.example>%s\r\n", rcpts[i].want);
        buf_init(&out, 0);
        smtp_capabilities_write_rcpt(&caps, &rcpt, &out);
        cr_expect_str_eq(buf_text(&out), want, "%s: %s", rcpts[i].name, buf_text(&out));
        buf_fini(&out);
    }
}

static const struct {
    const char *name;
    bool offered, from, to, want;
} needs[] = {
    {"ASCII", false, false, false, false},      {"sender", false, true, false, true},
    {"recipient", false, false, true, true},    {"both", false, true, true, true},
    {"both, offered", true, true, true, false},
};

Test(smtp_capabilities, what_needs_SMTPUTF8_is_not_for_a_peer_without_it)
{
    for (size_t i = 0; i < ARRAY_SIZE(needs); i++) {
        struct smtp_capabilities caps = {.smtputf8 = needs[i].offered};
        struct smtp_mail mail = {.smtputf8 = true, .path = {.needs_smtputf8 = needs[i].from}};
        struct smtp_path to = {.needs_smtputf8 = needs[i].to};

        cr_expect_eq(smtp_capabilities_lack_utf8(&caps, &mail, &to), needs[i].want, "%s",
                     needs[i].name);
        cr_expect_eq(smtp_capabilities_lack_utf8(&caps, &mail, NULL),
                     needs[i].from && !needs[i].offered, "%s, sender alone", needs[i].name);
    }
}
