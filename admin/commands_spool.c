/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The commands on the messages that wait.
 */
#include "admin/commands_private.h"

#define ORDERS_SPOOL_AS(more_groups)                          \
    .operands = "[ID ... | -]", .max_operands = COMMAND_MANY, \
    .groups = COMMAND_SELECTS | COMMAND_CHANGES | (more_groups), .needs = COMMAND_NEEDS_CONFIG
#define ORDERS_SPOOL ORDERS_SPOOL_AS(0)

static const struct command_option show_options[] = {
    {"body", NULL, "the whole content as well; needs --reason"},
    {"reason", "TEXT", "why the content is read; kept in the audit"},
    {0},
};

static const struct command_option summary_options[] = {
    {"by", "WORD", "customer (default), domain or backend"},
    {0},
};

#define OPTION_ALL                                                                      \
    {                                                                                   \
        "all", NULL, "all that wait on this node; without any selector it must be said" \
    }

static const struct command_option order_options[] = {OPTION_ALL, {0}};

static const struct command_option extend_options[] = {
    OPTION_ALL,
    {"until", "TIME", "how long they are kept: 2026-12-01, \"2026-12-01 15:00\", +2d"},
    {0},
};

static const struct command_option redirect_options[] = {
    OPTION_ALL,
    {"to", "CUSTOMER/N|none", "the backend; none: where their domain's mail goes"},
    {0},
};

static const struct command_option export_options[] = {
    OPTION_ALL,
    {"to", "FOLDER", "a file ID.eml for each; else one message goes to standard output"},
    {"reason", "TEXT", "why the content is read; kept in the audit"},
    {0},
};

const struct command commands_spool[] = {
    {
        .noun = "spool",
        .verb = "list",
        .operands = "[ID ... | -]",
        .max_operands = COMMAND_MANY,
        .groups = COMMAND_SELECTS,
        .needs = COMMAND_NEEDS_CONFIG,
        .run = spool_list,
        .summary = "List the messages that wait on this node",
        .example = "relayctl spool list --customer acme --older 2h",
        .more =
            "Selectors are joined by \"and\"; - reads ids from standard input. Messages that have\n"
            "ended are listed with --state ended, as long as the log still holds them.",
    },
    {
        .noun = "spool",
        .verb = "show",
        .operands = "ID ... | -",
        .min_operands = 1,
        .max_operands = COMMAND_MANY,
        .groups = COMMAND_SELECTS,
        .needs = COMMAND_NEEDS_CONFIG,
        .options = show_options,
        .run = spool_show,
        .summary = "Show all that is known of a message",
        .example = "relayctl spool show P001-4KX3T-0B7Q2CF",
        .more = "The id may be part of any text, such as a log line or a reply. The history goes "
                "back as far as\nthe spool's ledger does.",
    },
    {
        .noun = "spool",
        .verb = "summary",
        .groups = COMMAND_SELECTS,
        .needs = COMMAND_NEEDS_CONFIG,
        .options = summary_options,
        .run = spool_summary,
        .summary = "Count the messages that wait on this node, by customer, domain or backend",
        .example = "relayctl spool summary --by backend",
        .more = "A message counts in each row that it belongs to.",
    },
    {
        .noun = "spool",
        .verb = "retry",
        ORDERS_SPOOL_AS(COMMAND_BY_SUPPORT),
        .options = order_options,
        .run = spool_retry,
        .summary = "Try messages now, whatever their pause",
        .example = "relayctl spool retry --customer acme",
        .more = "Their servers that are down are asked as well, each with one message. Held "
                "messages are not\ntried.",
    },
    {
        .noun = "spool",
        .verb = "hold",
        ORDERS_SPOOL,
        .options = order_options,
        .run = spool_hold,
        .summary = "Keep messages from being tried",
        .example = "relayctl spool hold --customer acme --reason \"ticket 4711\"",
        .more = "--reason is required. Their deadline stays: behind it they wait on, and end when "
                "a try fails\nthat is made once they are released.",
    },
    {
        .noun = "spool",
        .verb = "release",
        ORDERS_SPOOL,
        .options = order_options,
        .run = spool_release,
        .summary = "Let held messages go",
        .example = "relayctl spool release --customer acme --state held",
        .more = "Also those that were held since their server takes them and does not answer: they "
                "are tried once\nmore, and may then be delivered twice.",
    },
    {
        .noun = "spool",
        .verb = "extend",
        ORDERS_SPOOL,
        .options = extend_options,
        .run = spool_extend,
        .summary = "Keep messages for longer",
        .example = "relayctl spool extend --customer acme --until +7d --reason \"new server\"",
        .more = "What is kept for that long already stays as it is.",
    },
    {
        .noun = "spool",
        .verb = "redirect",
        ORDERS_SPOOL,
        .options = redirect_options,
        .run = spool_redirect,
        .summary = "Send messages to one backend, whatever their route",
        .example = "relayctl spool redirect --customer acme --to acme/2 --reason \"ticket 4711\"",
        .more = "--reason is required. The backend is one of the customer's that serve all its "
                "domains. If it is\nremoved they wait as no-route. Mail that comes later is not "
                "touched.",
    },
    {
        .noun = "spool",
        .verb = "return",
        ORDERS_SPOOL,
        .options = order_options,
        .run = spool_return,
        .summary = "End messages as not delivered, and tell their senders",
        .example = "relayctl spool return --customer acme --reason \"the customer has left\"",
        .more =
            "--reason is required, and not told to anybody but operators. Only senders that "
            "were verified at\nreception get a notice, by outbound-route; of the others the end "
            "is recorded. `spool show` says\nwhich, and why.",
    },
    {
        .noun = "spool",
        .verb = "remove",
        ORDERS_SPOOL,
        .options = order_options,
        .run = spool_remove,
        .summary = "End messages: they are delivered to nobody, and nobody is told",
        .example = "relayctl spool remove P001-4KX3T-0B7Q2CF --reason \"a worm\"",
        .more = "--reason is required. That they are removed, by whom and why, stays in the "
                "ledger as long as\ntheir segment does, and in the log.",
    },
    {
        .noun = "spool",
        .verb = "export",
        .operands = "[ID ... | -]",
        .max_operands = COMMAND_MANY,
        .options = export_options,
        .groups = COMMAND_SELECTS,
        .needs = COMMAND_NEEDS_CONFIG,
        .run = spool_export,
        .summary = "Write messages into .eml files, or one to standard output",
        .example =
            "relayctl spool export --customer acme --to /var/tmp/acme --reason \"handed over\"",
        .more = "--reason is required: that the content was read is kept in the audit. The "
                "messages stay in\nthe spool. A file that is there is not written over.",
    },
    {0},
};
