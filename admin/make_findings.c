/* SPDX-License-Identifier: BSD-2-Clause
 *
 * make_findings PAGE: prints postern-checks(7) or postern-conformance(7) from the tables that also
 * make the findings (survey.def, conformance.def), so that the manual cannot be of another opinion.
 */
#include <stdio.h>
#include <string.h>

#include "base/mdoc.h"
#include "conformance/conformance.h"
#include "survey/survey.h"

static const char checks_head[] =
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
    "Each finding has a word, that of\n"
    ".Li finding\n"
    "in its JSON, where\n"
    ".Li check\n"
    "is its section, and a verdict:\n"
    ".Cm pass ;\n"
    ".Cm warn ,\n"
    "it works, but not as well as it could;\n"
    ".Cm fail ,\n"
    "mail is lost, refused or goes another way, or will;\n"
    ".Cm unknown ,\n"
    "it could not be found out now.\n"
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

static const char conformance_head[] =
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

static const struct page {
    const char *name, *head;
    const struct finding_row *rows;
    size_t count;
} pages[] = {
    {"checks", checks_head, survey_rows, SURVEY_FINDING_COUNT},
    {"conformance", conformance_head, conformance_rows, CONFORMANCE_ID_COUNT},
};

static void
write_row(struct buf *out, const struct finding_row *row)
{
    buf_printf(out, ".It Li %s Pq Cm %s\n", row->word, finding_verdict_word(row->verdict));
    mdoc_add_lines(out, row->text);
    if (row->remedy[0] == '\0')
        return;
    buf_add_text(out, ".br\n");
    mdoc_add_lines(out, row->remedy);
}

static void
write_page(struct buf *out, const struct page *page)
{
    const char *check = "";

    buf_printf(out, "%s.Sh FINDINGS\n", page->head);
    for (size_t i = 0; i < page->count; i++) {
        const struct finding_row *row = &page->rows[i];

        if (strcmp(check, row->check) != 0)
            buf_printf(out, "%s.Ss %s\n.Bl -tag -width Ds\n", check[0] ? ".El\n" : "", row->check);
        check = row->check;
        write_row(out, row);
    }
    buf_printf(out, ".El\n%s", tail);
}

static const struct page *
page_of(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(pages); i++)
        if (strcmp(name, pages[i].name) == 0)
            return &pages[i];
    return NULL;
}

int
main(int argc, char **argv)
{
    const struct page *page = argc == 2 ? page_of(argv[1]) : NULL;
    struct buf out;

    if (page == NULL)
        return 2;
    buf_init(&out, 0);
    write_page(&out, page);
    fputs(buf_text(&out), stdout);
    buf_fini(&out);
    return fflush(stdout) == 0 ? 0 : 1;
}
