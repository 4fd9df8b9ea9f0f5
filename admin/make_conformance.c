/* SPDX-License-Identifier: BSD-2-Clause
 *
 * make_conformance: prints postern-conformance(7) from the table of findings (conformance.def), so
 * that the manual cannot be of another opinion.
 */
#include <stdio.h>
#include <string.h>

#include "base/mdoc.h"
#include "conformance/conformance.h"

static const char head[] =
    ".\\\" SPDX-License-Identifier: BSD-2-Clause\n"
    ".Dd November 30, 2026\n"
    ".Dt POSTERN-CONFORMANCE 7\n"
    ".Os\n"
    ".Sh NAME\n"
    ".Nm postern-conformance\n"
    ".Nd what Postern, the mail gate, needs of a customer's mail server\n"
    ".Sh DESCRIPTION\n"
    "What\n"
    ".Nm relayctl Cm backend test\n"
    "can find at a customer's mail server, by what is looked at.\n"
    "Each finding has a word, that of\n"
    ".Li finding\n"
    "in its JSON, and a verdict:\n"
    ".Cm pass ;\n"
    ".Cm warn ,\n"
    "mail goes, and not as well as it could;\n"
    ".Cm fail ,\n"
    "mail is lost, late, refused or in danger of it;\n"
    ".Cm unknown ,\n"
    "it could not be found out.\n"
    "Behind it stands what to tell the customer.\n"
    "In that,\n"
    ".Dq we\n"
    "and\n"
    ".Dq us\n"
    "are the provider.\n"
    ".Pp\n"
    "A test makes some twelve short connections, at most three at once, from the node's own\n"
    "address, and ends each transaction with RSET behind RCPT.\n"
    "An answer that takes longer than 15 seconds is none, and a test of one address ends after a\n"
    "minute.\n";

static const char tail[] = ".Sh SEE ALSO\n"
                           ".Xr postern.conf 5 ,\n"
                           ".Xr postern-replies 7 ,\n"
                           ".Xr relayctl 8\n";

static struct buf page;

static void
print_row(const struct conformance_row *row)
{
    buf_printf(&page, ".It Li %s Pq Cm %s\n", row->word, conformance_verdict_word(row->verdict));
    mdoc_add_lines(&page, row->text);
    if (row->remedy[0] == '\0')
        return;
    buf_printf(&page, ".br\n");
    mdoc_add_lines(&page, row->remedy);
}

int
main(void)
{
    const char *check = "";

    buf_printf(&page, "%s.Sh FINDINGS\n", head);
    for (unsigned id = 0; id < CONFORMANCE_ID_COUNT; id++) {
        const struct conformance_row *row = conformance_row_of((enum conformance_id)id);

        if (strcmp(check, row->check) != 0)
            buf_printf(&page, "%s.Ss %s\n.Bl -tag -width Ds\n", check[0] ? ".El\n" : "",
                       row->check);
        check = row->check;
        print_row(row);
    }
    buf_printf(&page, ".El\n%s", tail);
    fputs(buf_text(&page), stdout);
    buf_fini(&page);
    return fflush(stdout) == 0 ? 0 : 1;
}
