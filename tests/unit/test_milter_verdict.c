/* SPDX-License-Identifier: BSD-2-Clause
 *
 * P5, P6: every outcome with every wish; what the sender is told.
 */
#include <criterion/criterion.h>
#include <stdio.h>

#include "milter/milter_verdict.h"

#define AWAY MILTER_OUTCOME_OPEN /* here: it was not asked */

Test(milter_verdict, P5_P6_every_outcome_and_wish)
{
    static const struct {
        const char *name;
        enum milter_outcome outcome;
        const char *reply, *quarantine;
        bool defers;
        enum milter_effect effects[3]; /* as it says, for now, mark only */
        const char *replies[2];
    } cases[] = {
        {"accepted",
         MILTER_OUTCOME_ACCEPTED,
         "",
         "",
         true,
         {MILTER_PASSES, MILTER_PASSES, MILTER_PASSES},
         {"", ""}},
        {"quarantine",
         MILTER_OUTCOME_ACCEPTED,
         "",
         "virus",
         false,
         {MILTER_HELD, MILTER_HELD, MILTER_MARKED},
         {"", ""}},
        {"refused",
         MILTER_OUTCOME_REFUSED,
         "",
         "",
         false,
         {MILTER_REFUSED, MILTER_REFUSED, MILTER_MARKED},
         {"550 5.7.1 Message refused by a content scanner (x)",
          "450 4.7.1 Message refused by a content scanner, try again later (x)"}},
        {"refused and held",
         MILTER_OUTCOME_REFUSED,
         "",
         "virus",
         false,
         {MILTER_REFUSED, MILTER_REFUSED, MILTER_MARKED},
         {"550 5.7.1 Message refused by a content scanner (x)",
          "450 4.7.1 Message refused by a content scanner, try again later (x)"}},
        {"its reply",
         MILTER_OUTCOME_REFUSED,
         "554 5.6.0 spam",
         "",
         false,
         {MILTER_REFUSED, MILTER_REFUSED, MILTER_MARKED},
         {"554 5.6.0 spam",
          "450 4.7.1 Message refused by a content scanner, try again later (x: spam)"}},
        {"an odd code",
         MILTER_OUTCOME_REFUSED,
         "521 spam",
         "",
         false,
         {MILTER_REFUSED, MILTER_REFUSED, MILTER_MARKED},
         {"550 5.7.1 spam",
          "450 4.7.1 Message refused by a content scanner, try again later (x: spam)"}},
        {"discarded",
         MILTER_OUTCOME_DISCARDED,
         "",
         "",
         false,
         {MILTER_REFUSED, MILTER_REFUSED, MILTER_MARKED},
         {"550 5.7.1 Message refused by a content scanner (x)",
          "450 4.7.1 Message refused by a content scanner, try again later (x)"}},
        {"later",
         MILTER_OUTCOME_LATER,
         "",
         "",
         false,
         {MILTER_REFUSED, MILTER_REFUSED, MILTER_MARKED},
         {"451 4.7.1 A content scanner asks you to try again later (x)",
          "451 4.7.1 A content scanner asks you to try again later (x)"}},
        {"its reply for now",
         MILTER_OUTCOME_LATER,
         "421 busy",
         "",
         false,
         {MILTER_REFUSED, MILTER_REFUSED, MILTER_MARKED},
         {"451 4.7.1 busy", "451 4.7.1 busy"}},
        {"failed",
         MILTER_OUTCOME_FAILED,
         "",
         "",
         false,
         {MILTER_UNSURE, MILTER_UNSURE, MILTER_UNSURE},
         {"", ""}},
        {"failed behind its reply",
         MILTER_OUTCOME_FAILED,
         "550 no",
         "virus",
         false,
         {MILTER_UNSURE, MILTER_UNSURE, MILTER_UNSURE},
         {"", ""}},
        {"failed, and mail waits",
         MILTER_OUTCOME_FAILED,
         "",
         "",
         true,
         {MILTER_REFUSED, MILTER_REFUSED, MILTER_UNSURE},
         {"451 4.7.1 Message cannot be scanned now, try again later (x)",
          "451 4.7.1 Message cannot be scanned now, try again later (x)"}},
        {"away", AWAY, "", "", false, {MILTER_UNSURE, MILTER_UNSURE, MILTER_UNSURE}, {"", ""}},
        {"away, and mail waits",
         AWAY,
         "",
         "",
         true,
         {MILTER_REFUSED, MILTER_REFUSED, MILTER_UNSURE},
         {"451 4.7.1 Message cannot be scanned now, try again later (x)",
          "451 4.7.1 Message cannot be scanned now, try again later (x)"}},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        for (unsigned wish = 0; wish < 3; wish++) {
            struct milter_entry entry = {.name = "x", .defers = cases[i].defers};
            struct milter_talk talk = {.outcome = cases[i].outcome};
            struct milter_verdict v;
            char text[SMTP_REPLY_LINE_SIZE];

            if (cases[i].reply[0])
                cr_assert_eq(smtp_reply_from_text(slice_of(cases[i].reply), &talk.reply), ERR_OK);
            snprintf(talk.quarantine, sizeof talk.quarantine, "%s", cases[i].quarantine);
            v = milter_verdict_of(&entry, cases[i].outcome == AWAY ? NULL : &talk,
                                  (enum milter_wish)wish);
            cr_expect_eq(v.effect, cases[i].effects[wish], "%s, %u", cases[i].name, wish);
            if (v.effect == MILTER_REFUSED)
                cr_expect_str_eq(smtp_reply_text(&v.reply, text, sizeof text),
                                 cases[i].replies[wish], "%s, %u: %s", cases[i].name, wish, text);
        }
}
