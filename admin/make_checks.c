/* SPDX-License-Identifier: BSD-2-Clause
 *
 * make_checks: prints postern-checks(7) from the table that also makes the findings (survey.def),
 * so that the manual cannot be of another opinion.
 */
#include <stdio.h>
#include <string.h>

#include "base/mdoc.h"
#include "survey/survey.h"

static const char head[] =
    ".\\\" SPDX-License-Identifier: BSD-2-Clause\n"
    ".Dd November 30, 2026\n"
    ".Dt POSTERN-CHECKS 7\n"
    ".Os\n"
    ".Sh NAME\n"
    ".Nm postern-checks\n"
    ".Nd what Postern, the mail gate, finds in DNS and on its own host, and what can be done\n"
    ".Sh DESCRIPTION\n"
    "Everything that\n"
    ".Nm relayctl Cm domain check\n"
    "and\n"
    ".Nm relayctl Cm node check\n"
    "can find, by what was looked at.\n"
    "Before each stands its verdict, behind it its name in JSON: the section is the field\n"
    ".Li check ,\n"
    "the name the field\n"
    ".Li finding .\n"
    "The verdicts are\n"
    ".Li pass ,\n"
    ".Li warn\n"
    "(it works, but not as well as it could),\n"
    ".Li fail\n"
    "(mail is lost, refused or goes another way, or will) and\n"
    ".Li unknown\n"
    "(it could not be found out now).\n"
    ".Pp\n"
    "In the sentences\n"
    ".Ar DOMAIN\n"
    "stands for what is checked (a domain, an address, a node),\n"
    ".Ar HOST\n"
    "for the host, address or file that is meant,\n"
    ".Ar OURS\n"
    "for the names of the setting mx-names, and\n"
    ".Ar DETAIL\n"
    "for what was seen.\n";

static const char tail[] = ".Sh SEE ALSO\n"
                           ".Xr postern.conf 5 ,\n"
                           ".Xr postern-replies 7 ,\n"
                           ".Xr relayctl 8\n";

static struct buf page;

static void
print_row(const struct survey_row *row)
{
    buf_printf(&page, ".It %s Pq Li %s\n", survey_verdict_word(row->verdict), row->word);
    mdoc_add_lines(&page, row->text);
    if (row->remedy[0])
        mdoc_add_lines(&page, row->remedy);
}

int
main(void)
{
    const char *section = "";

    buf_add_text(&page, head);
    for (unsigned i = 0; i < SURVEY_FINDING_COUNT; i++) {
        const struct survey_row *row = survey_row((enum survey_finding_id)i);

        if (strcmp(section, row->check) != 0)
            buf_printf(&page, "%s.Ss %s\n.Bl -tag -width unknown\n",
                       section[0] ? ".El\n" : ".Sh CHECKS\n", row->check);
        section = row->check;
        print_row(row);
    }
    buf_printf(&page, ".El\n%s", tail);
    fputs(buf_text(&page), stdout);
    buf_fini(&page);
    return fflush(stdout) == 0 ? 0 : 1;
}
