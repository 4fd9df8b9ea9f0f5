/* SPDX-License-Identifier: BSD-2-Clause
 *
 * make_replies: prints postern-replies(7) from the table that also makes the replies
 * (smtp_verdict.def), so that the manual cannot be of another opinion.
 */
#include <stdio.h>
#include <string.h>

#include "admin/replies.h"
#include "base/mdoc.h"

#define TEXT_SIZE 1024

static const char head[] =
    ".\\\" SPDX-License-Identifier: BSD-2-Clause\n"
    ".Dd November 30, 2026\n"
    ".Dt POSTERN-REPLIES 7\n"
    ".Os\n"
    ".Sh NAME\n"
    ".Nm postern-replies\n"
    ".Nd what Postern, the mail gate, answers, and what can be done about it\n"
    ".Sh DESCRIPTION\n"
    "Each reply that Postern gives of its own, by its code.\n"
    "The word behind the text is the verdict in the event log, of\n"
    ".Nm relayctl Cm trace Fl -verdict\n"
    "and of the counters.\n"
    "A reply that begins with the answer of the customer's own server is not here: that server "
    "has\n"
    "refused, and its log says why.\n"
    ".Pp\n"
    "At the end of a reply stands a reference in brackets, as in [P001-4KX3T-0B7Q2CF].\n"
    ".Nm relayctl Cm explain\n"
    "turns it into the whole story of that message;\n"
    ".Nm relayctl Cm help Ar code\n"
    "prints what is written here.\n"
    "A code of 400 to 499 is temporary: the sending server keeps the message and tries again.\n"
    "One of 500 to 599 is permanent: it returns the message to its sender.\n"
    "Sending it again helps only once the cause is removed.\n"
    "Where a check has found something, a reply has it in parentheses behind the text.\n"
    ".Pp\n"
    "In what we can do,\n"
    ".Ar CUSTOMER , ADDRESS\n"
    "(the sending server's),\n"
    ".Ar SENDER , RECIPIENT , DOMAIN\n"
    "(the recipient's),\n"
    ".Ar CHECK , RULE\n"
    "(the address, domain or network of an entry of a block list) and\n"
    ".Ar BACKEND\n"
    "(a customer's server, named CUSTOMER/N as in\n"
    ".Nm relayctl Cm backend list )\n"
    "stand for those of the case;\n"
    ".Nm relayctl Cm explain\n"
    "fills them in.\n"
    "An allow of an address or network lets its mail past all checks, one of a sender past all "
    "but\n"
    "SPF fail, since a sender can be forged.\n"
    "With the action\n"
    ".Li mark\n"
    "a check no longer refuses: the message is delivered with a header field X-Postern that names\n"
    "the check.\n"
    "That a server is away means that it cannot be reached, or refuses everything.\n";

static const char tail[] = ".Sh SEE ALSO\n"
                           ".Xr postern.conf 5 ,\n"
                           ".Xr relayctl 8 ,\n"
                           ".Xr relayd 8\n";

static struct buf page;

/* Prose, and each command as a line of its own. */
static void
print_remedy(const char *remedy)
{
    struct replies_part part;
    char text[TEXT_SIZE];

    while (replies_next_part(&remedy, &part)) {
        snprintf(text, sizeof text, "%.*s", (int)part.text.n, part.text.p);
        if (part.is_command) {
            buf_add_text(&page, ".Dl ");
            mdoc_add(&page, text);
            buf_add_text(&page, "\n");
        } else
            mdoc_add_lines(&page, text);
    }
}

static void
print_remedies(enum smtp_verdict verdict)
{
    for (int r = 0; r < SMTP_REMEDY_COUNT; r++) {
        const char *remedy = smtp_verdict_remedy(verdict, (enum smtp_remedy)r);

        if (remedy[0] == '\0')
            continue;
        buf_printf(&page, ".It \"%s:\"\n", replies_remedy_label((enum smtp_remedy)r));
        print_remedy(remedy);
    }
}

static void
print_word(enum smtp_verdict verdict)
{
    enum smtp_verdict other = 0;

    buf_printf(&page, "\"\n.Pq Li %s\n", smtp_verdict_word(verdict));
    for (; replies_next_of_word(verdict, &other); other++) {
        struct smtp_reply reply = smtp_verdict_reply(other);

        buf_printf(&page, "This is also the word of %u\n.Dq \"", reply.code);
        mdoc_add(&page, reply.text);
        buf_printf(&page, "\" .\n");
    }
    buf_printf(&page, ".Pp\n");
}

static void
print_verdict(enum smtp_verdict verdict)
{
    struct smtp_reply reply = smtp_verdict_reply(verdict);
    char line[SMTP_REPLY_LINE_SIZE];

    buf_add_text(&page, ".It \""); /* quoted: some of its words are macros */
    mdoc_add(&page, smtp_reply_text(&reply, line, sizeof line));
    print_word(verdict);
    mdoc_add_lines(&page, smtp_verdict_help(verdict));
    if (reply.code < 400)
        return;
    buf_printf(&page, ".Bl -tag -width \"The customer:\" -compact\n");
    print_remedies(verdict);
    buf_printf(&page, ".El\n");
}

static void
print_section(const char *title, unsigned from, unsigned to)
{
    buf_printf(&page, ".Sh %s\n.Bl -tag -width Ds\n", title);
    for (unsigned code = from; code < to; code++)
        for (unsigned v = 0; v < SMTP_VERDICT_COUNT; v++)
            if (smtp_verdict_reply((enum smtp_verdict)v).code == code)
                print_verdict((enum smtp_verdict)v);
    buf_printf(&page, ".El\n");
}

int
main(void)
{
    buf_add_text(&page, head);
    print_section("TEMPORARY REFUSALS", 400, 500);
    print_section("PERMANENT REFUSALS", 500, 600);
    print_section("OTHER REPLIES", 200, 400);
    buf_add_text(&page, tail);
    fputs(buf_text(&page), stdout);
    buf_fini(&page);
    return fflush(stdout) == 0 ? 0 : 1;
}
