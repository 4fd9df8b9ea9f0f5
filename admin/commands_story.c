/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The commands that tell what became of mail, what would become of it, and who has changed what.
 */
#include "admin/commands_private.h"

static const struct command_option simulate_options[] = {
    {"ip", "ADDRESS", "that the mail would come from"},
    {"helo", "NAME", "that the client would give"},
    {"from", "ADDRESS", "the sender; \"<>\" is the null sender"},
    {"rcpt", "ADDRESS", "the recipient"},
    {"message", "FILE|-",
     "and the verdict on this message: size, loops, whom a filter had it from"},
    {"check", "spf", "this alone"},
    {0},
};

const struct command commands_simulate[] = {
    {
        .noun = "simulate",
        .options = simulate_options,
        .needs = COMMAND_NEEDS_CONFIG,
        .run = simulate,
        .summary = "Show what a sender would be told, and why",
        .example = "relayctl simulate --ip 192.0.2.10 --helo mail.example.net --from a@example.net "
                   "--rcpt info@acme.example",
        .more = "The running relayd judges as it would at RCPT, with its own registry, resolver "
                "and lists.\n"
                "Nothing is written down: no limit is used up, and the greylist does not see the "
                "contact.\n"
                "--check spf prints the result of SPF as its first word, and needs no recipient.",
    },
    {0},
};

#define OPTION_LOCAL                                                        \
    {                                                                       \
        "local", NULL, "ask the event log of this node, and not PostgreSQL" \
    }

static const struct command_option trace_options[] = {
    {"from", "ADDRESS", "of this sender; \"<>\" is the null sender, @example.net a whole domain"},
    {"rcpt", "ADDRESS", "to this recipient; @example.net is a whole domain"},
    {"domain", "DOMAIN", "to recipients of this domain; .example.net: of its subdomains"},
    {"customer", "NAME", "to this customer"},
    {"ip", "ADDRESS", "of this client, or network; its connections as well"},
    {"message-id", "ID", "with this Message-ID"},
    {"verdict", "WORD",
     "that ended so: spf-fail, delivered, refused (by the backend), spooled, ..."},
    {"id", "REF", "of this reference"},
    {"since", "TIME", "from then on: 2h (ago), 2026-12-01, \"2026-12-01 15:00\""},
    {"until", "TIME", "before then"},
    {"limit", "N", "the newest so many; default 100"},
    OPTION_LOCAL,
    {0},
};

const struct command commands_trace[] = {
    {
        .noun = "trace",
        .options = trace_options,
        .needs = COMMAND_NEEDS_CONFIG,
        .run = trace,
        .summary = "Find mail and refusals by sender, recipient, address and more",
        .example = "relayctl trace --rcpt info@acme.example --since 2d",
        .more = "Looks at the events of all nodes in PostgreSQL; at the event log of this node "
                "when the\n"
                "database is away, or with --local. The newest come first. Selectors are joined by "
                "\"and\".\n"
                "`relayctl explain ID` tells the whole story of one.",
    },
    {0},
};

static const struct command_option explain_options[] = {OPTION_LOCAL, {0}};

const struct command commands_explain[] = {
    {
        .noun = "explain",
        .operands = "REF ... | -",
        .min_operands = 1,
        .max_operands = COMMAND_MANY,
        .options = explain_options,
        .needs = COMMAND_NEEDS_CONFIG,
        .run = explain,
        .summary = "Tell the story of a message: who, what, why, and what can be done",
        .example = "relayctl explain \"550 5.7.23 SPF: the sending server may not ... "
                   "[P001-3EZAR-0R00QJV]\"",
        .more = "The reference is found in any pasted text, and there may be several; - reads "
                "standard input.\n"
                "It names node and minute, so that this node finds its own without the database.\n"
                "`relayctl help CODE` explains a reply without a reference.",
    },
    {0},
};

static const struct command_option audit_options[] = {
    {"customer", "NAME", "what was changed of this customer's, also of one that is gone"},
    {"by", "ROLE", "by this user of the database"},
    {"what", "TABLE", "of this: customers, domains, backends, spool, scan, ..."},
    {"since", "TIME", "from then on: 2h (ago), 2026-12-01, \"2026-12-01 15:00\""},
    {"until", "TIME", "before then"},
    {"limit", "N", "the newest so many; default 100"},
    {0},
};

const struct command commands_audit[] = {
    {
        .noun = "audit",
        .options = audit_options,
        .needs = COMMAND_NEEDS_REGISTRY,
        .run = audit,
        .summary = "Show who has changed what, when and why",
        .example = "relayctl audit --customer acme --since 30d",
        .more = "Every change of the registry, by whatever program, every order to a spool, and "
                "every reading of\n"
                "content. The name is that of the database's session, never an argument; nobody "
                "but the\n"
                "schema's owner can change a row. Orders and readings are --what spool, drained "
                "nodes --what node.",
    },
    {0},
};

static const struct command_option report_options[] = {
    {"by", "day|month", "a row a customer and day, or month; default month"},
    {"customer", "NAME", "of this customer, which may have been removed"},
    {"since", "DATE", "from this day on: 2026-12-01, 2026-12, 30d (ago); default: see above"},
    {"until", "DATE", "before this day"},
    {"csv", NULL, "as CSV (RFC 4180), with a header"},
    {0},
};

const struct command commands_report[] = {
    {
        .noun = "report",
        .options = report_options,
        .needs = COMMAND_NEEDS_REGISTRY,
        .run = report_usage,
        .summary = "Count each customer's mail, refusals, outages, by day or month",
        .example = "relayctl report --by month --since 2026-01 --until 2026-07 --csv",
        .more = "Sums are counted once and for all as events are copied to PostgreSQL, by the "
                "days of the setting\n"
                "timezone, and outlive the events (usage-retention). --by month with days of a "
                "part of a month\n"
                "counts these days alone. Without --since: this month, or with --by day the last "
                "seven days.",
    },
    {0},
};
