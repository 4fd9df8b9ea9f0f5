/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The commands on who may send: filters before us, blocks and allows, the greylist.
 */
#include "admin/commands_private.h"

#define FILTER_OPTIONS                                                                            \
    {"exempt", "LIST|none",                                                                       \
     "checks that are not made of the filter: ptr, helo, dnsbl, greylist; default all of them. "  \
     "SPF "                                                                                       \
     "never is"},                                                                                 \
    {                                                                                             \
        "origin", "WORD",                                                                         \
            "SPF and DNSBL judge who connects (connection, the default), or the client that the " \
            "filter's own Received line names (received)"                                         \
    }

static const struct command_option filter_add_options[] = {
    {"customer", "NAME", "whose filter it is"},
    {"label", "LABEL", "its name, as in acme/barracuda; default filter"},
    {"spf-include", "NAME", "its networks are those that the SPF record of this name allows"},
    FILTER_OPTIONS,
    {"only", NULL, "nobody but the customer's filters may send to it from now on"},
    {0},
};

static const struct command_option filter_set_options[] = {
    {"label", "LABEL", "its new name"},
    FILTER_OPTIONS,
    {"filters-only", "yes|no", "may only the customer's filters send to it?"},
    {0},
};

const struct command commands_filter[] = {
    {
        .noun = "filter",
        .verb = "add",
        .operands = "[NETWORK ...]",
        .max_operands = COMMAND_MANY,
        .options = filter_add_options,
        CHANGES_REGISTRY,
        .run = filter_add,
        .summary = "Register a mail filter that stands before us",
        .example = "relayctl filter add 203.0.113.0/24 --customer acme --label barracuda",
        .more =
            "It is exempt from SPF for this customer's domains, since the connecting host is not "
            "the sender.\nIts address never grants relay. It is then named CUSTOMER/LABEL; each "
            "network is CUSTOMER/N too.",
    },
    {
        .noun = "filter",
        .verb = "set",
        ONE_OPERAND("CUSTOMER/LABEL"),
        .options = filter_set_options,
        CHANGES_REGISTRY,
        .run = filter_set,
        .summary = "Change a filter",
        .example = "relayctl filter set acme/barracuda --origin received",
    },
    {
        .noun = "filter",
        .verb = "show",
        ONE_OPERAND("CUSTOMER/LABEL|CUSTOMER/N"),
        .needs = COMMAND_NEEDS_REGISTRY,
        .run = filter_show,
        .summary = "Show one filter with all its networks",
        .example = "relayctl filter show acme/barracuda",
    },
    {
        .noun = "filter",
        .verb = "list",
        .options = commands_owner_options,
        .needs = COMMAND_NEEDS_REGISTRY,
        .run = filter_list,
        .summary = "List filters",
        .example = "relayctl filter list --customer acme",
    },
    {
        .noun = "filter",
        .verb = "remove",
        ONE_OPERAND("CUSTOMER/LABEL|CUSTOMER/N"),
        CHANGES_REGISTRY,
        .run = filter_remove,
        .summary = "Remove a filter, or one of its networks",
        .example = "relayctl filter remove acme/barracuda --reason \"contract ended\"",
        .more = "--reason is required.",
    },
    {0},
};

#define RULE_OWNER                                                                    \
    {"customer", "NAME", "for one customer"},                                         \
    {                                                                                 \
        "node-wide", NULL, "for every customer of every node: addresses and networks" \
    }

static const struct command_option rule_add_options[] = {
    RULE_OWNER,
    {"until", "TIME", "it ends by itself: 2026-12-01, \"2026-12-01 15:00\", +2d, +90m"},
    {0},
};

static const struct command_option rule_options[] = {RULE_OWNER, {0}};

const struct command commands_block[] = {
    {
        .noun = "block",
        .verb = "add",
        .operands = "WHAT ...",
        .min_operands = 1,
        .max_operands = COMMAND_MANY,
        .options = rule_add_options,
        CHANGES_REGISTRY,
        .run = sender_rule_add,
        .summary = "Refuse clients or senders",
        .example = "relayctl block add 203.0.113.7 .bad.example --customer acme --until +7d "
                   "--reason \"sends junk\"",
        .more = "It is of the client (203.0.113.7, 203.0.113.0/24), of the sender "
                "(sam@sender.example), or of\n"
                "its domain (sender.example; .sender.example is what is below it). The most "
                "specific one\n"
                "holds, and an allow before a block of the same.",
    },
    {
        .noun = "block",
        .verb = "list",
        .options = rule_options,
        .needs = COMMAND_NEEDS_REGISTRY,
        .run = sender_rule_list,
        .summary = "List what is blocked",
        .example = "relayctl block list --customer acme",
        .more = "Among them are the sources of backscatter that the relay on this node has banned: "
                "null-sender\n"
                "mail of theirs is refused.",
    },
    {
        .noun = "block",
        .verb = "remove",
        .operands = "WHAT ...",
        .min_operands = 1,
        .max_operands = COMMAND_MANY,
        .options = rule_options,
        CHANGES_REGISTRY,
        .run = sender_rule_remove,
        .summary = "Block no longer",
        .example = "relayctl block remove 203.0.113.7 --customer acme --reason \"ticket 4711\"",
        .more = "--reason is required. It ends a ban by the relay on this node, too.",
    },
    {0},
};

const struct command commands_allow[] = {
    {
        .noun = "allow",
        .verb = "add",
        .operands = "WHAT ...",
        .min_operands = 1,
        .max_operands = COMMAND_MANY,
        .options = rule_add_options,
        CHANGES_REGISTRY,
        .run = sender_rule_add,
        .summary = "Let clients or senders in before any check",
        .example = "relayctl allow add partner.example 203.0.113.7 --customer acme",
        .more = "It is of the client (203.0.113.7, 203.0.113.0/24), of the sender "
                "(sam@sender.example), or of\n"
                "its domain (sender.example; .sender.example is what is below it). The most "
                "specific one\n"
                "holds, and an allow before a block of the same.",
    },
    {
        .noun = "allow",
        .verb = "list",
        .options = rule_options,
        .needs = COMMAND_NEEDS_REGISTRY,
        .run = sender_rule_list,
        .summary = "List what is allowed",
        .example = "relayctl allow list --customer acme",
    },
    {
        .noun = "allow",
        .verb = "remove",
        .operands = "WHAT ...",
        .min_operands = 1,
        .max_operands = COMMAND_MANY,
        .options = rule_options,
        CHANGES_REGISTRY,
        .run = sender_rule_remove,
        .summary = "Allow no longer",
        .example = "relayctl allow remove partner.example --customer acme --reason \"ticket 4711\"",
        .more = "--reason is required.",
    },
    {0},
};

static const struct command_option greylist_list_options[] = {
    {"customer", "NAME", "only first contacts with this customer"},
    {0},
};

static const struct command_option greylist_forget_options[] = {
    {"all", NULL, "everybody who has come to this node"},
    {0},
};

const struct command commands_greylist[] = {
    {
        .noun = "greylist",
        .verb = "list",
        .operands = "[ADDRESS|NETWORK|DOMAIN]",
        .max_operands = 1,
        .options = greylist_list_options,
        .needs = COMMAND_NEEDS_CONFIG,
        .run = greylist_list,
        .summary = "List who waits for having come first, and who is known",
        .example = "relayctl greylist list 192.0.2.0/24",
        .more = "Of this node. Networks (/24, of IPv6 /64) and domains that SPF has authorised a "
                "client for\n"
                "are known for 36 days since they were last seen; nothing of them waits. First "
                "contacts\n"
                "are counted by customer; senders and recipients are not kept.",
    },
    {
        .noun = "greylist",
        .verb = "forget",
        .operands = "[ADDRESS|NETWORK|DOMAIN ...]",
        .max_operands = COMMAND_MANY,
        .options = greylist_forget_options,
        .groups = COMMAND_CHANGES | COMMAND_BY_SUPPORT,
        .needs = COMMAND_NEEDS_CONFIG,
        .run = greylist_forget,
        .summary = "Make this node forget who has come",
        .example = "relayctl greylist forget 192.0.2.0/24 mail.example",
        .more = "What comes of them next is a first contact. An address stands for its network.",
    },
    {0},
};
