/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The commands on whose mail it is: customers, their domains, and their recipients.
 */
#include "admin/commands_private.h"

#define CUSTOMER_OPTIONS                                                                           \
    {"contact", "ADDRESS", "where the customer's staff is told of trouble"},                       \
        {"language", "WORD", "in which it is told: en (the default), de, nl or da"},               \
        {"max-recipients-per-message", "N|none", "recipients of one message; default 50"},         \
        {"max-messages-per-connection", "N|none", "messages on one connection; default 50"},       \
        {"max-connections-per-hour", "N|none", "in any 60 minutes, on each node; default 200"},    \
        {"connections-scope", "WORD",                                                              \
         "that limit counts all of the customer's connections (customer, the default) or those "   \
         "of each client (client)"},                                                               \
        {"max-message-size", "SIZE|none",                                                          \
         "octets of content, default 20MiB; none: the node's own maximum"},                        \
        {"retention-days", "N|none", "full calendar days in the spool; default 5"},                \
        {"max-spool-messages", "N|none", "that may wait here at once; default none"},              \
        {"max-spool-size", "SIZE|none", "octets of their content together; default none"},         \
        {"live-4xx", "WORD",                                                                       \
         "a known recipient that the server defers: pass that on (pass, the default) or take and " \
         "keep the message here (keep)"},                                                          \
        {"policy", "POLICY",                                                                       \
         "what is checked of senders: strict, standard (for new customers) or off, and "           \
         "CHECK=ACTION "                                                                           \
         "for what differs, as in spf=mark; commas between"},                                      \
        {"filters-only", "yes|no", "only its filters may send to it; default no"},                 \
    {                                                                                              \
        "bare-lf", "WORD",                                                                         \
            "a line end without CR in content: refuse (default), or normalise to CR LF"            \
    }

static const struct command_option customer_add_options[] = {CUSTOMER_OPTIONS, {0}};

static const struct command_option customer_set_options[] = {
    CUSTOMER_OPTIONS,
    {"until", "TIME",
     "the change ends by itself: 2026-12-01 (its first minute), \"2026-12-01 15:00\", +2d, +90m"},
    {0},
};

static const struct command_option customer_list_options[] = {
    {"use", NULL, "show what each uses of its hourly limit, and today's mail, on this node"},
    {0},
};

static const struct command_option suspend_options[] = {
    {"refuse", NULL, "refuse mail for good (550) instead of for now (450)"},
    {0},
};

const struct command commands_customer[] = {
    {
        .noun = "customer",
        .verb = "add",
        ONE_OPERAND("NAME"),
        .options = customer_add_options,
        CHANGES_REGISTRY,
        .run = customer_add,
        .summary = "Add a customer",
        .example = "relayctl customer add acme --contact ops@acme.example",
        .more = "Names are lower-case letters, digits, dots, hyphens and underscores.",
    },
    {
        .noun = "customer",
        .verb = "set",
        ONE_OPERAND("NAME"),
        .options = customer_set_options,
        CHANGES_REGISTRY,
        .run = customer_set,
        .summary = "Change a customer's contact and limits",
        .example = "relayctl customer set acme --max-message-size 50MiB --retention-days 7",
        .more = "Every limit takes none. With --until the limits given end by themselves, on every "
                "node, also when\nPostgreSQL is away; then the lasting values hold again. A change "
                "without --until ends a\ntemporary one of the same limit.",
    },
    {
        .noun = "customer",
        .verb = "show",
        ONE_OPERAND("NAME"),
        .needs = COMMAND_NEEDS_REGISTRY,
        .run = customer_show,
        .summary = "Show one customer: its limits, and today's use of them on this node",
        .example = "relayctl customer show acme",
    },
    {
        .noun = "customer",
        .verb = "list",
        .options = customer_list_options,
        .needs = COMMAND_NEEDS_REGISTRY,
        .run = customer_list,
        .summary = "List all customers",
        .example = "relayctl customer list --json",
    },
    {
        .noun = "customer",
        .verb = "suspend",
        ONE_OPERAND("NAME"),
        .options = suspend_options,
        CHANGES_REGISTRY,
        .run = customer_suspend,
        .summary = "Stop taking a customer's mail",
        .example = "relayctl customer suspend acme --reason \"ticket 4711\"",
        .more =
            "--reason is required. Senders are told to come back (450), or refused with --refuse. "
            "Waiting mail stays.",
    },
    {
        .noun = "customer",
        .verb = "resume",
        ONE_OPERAND("NAME"),
        CHANGES_REGISTRY,
        .run = customer_resume,
        .summary = "Take a suspended customer's mail again",
        .example = "relayctl customer resume acme",
    },
    {
        .noun = "customer",
        .verb = "remove",
        ONE_OPERAND("NAME"),
        .options = commands_spool_options,
        CHANGES_REGISTRY,
        .run = customer_remove,
        .summary = "Remove a customer without domains and backends",
        .example = "relayctl customer remove acme --reason \"contract ended\"",
        .more = "Its domains and backends must have been removed before. --reason is required; "
                "with mail\n"
                "waiting, --spool too.",
    },
    {0},
};

#define DOMAIN_OPTIONS                                                                            \
    {"customer", "NAME", "whose domain it is"},                                                   \
        {"when-down", "WORD",                                                                     \
         "unknown recipients while the backend is down: accept (default), defer or reject"},      \
        {"mode", "WORD",                                                                          \
         "mx (default): this relay is the first MX; fallback: the customer's own server is, and " \
         "we "                                                                                    \
         "stand behind it"},                                                                      \
        {"verify-ownership", NULL,                                                                \
         "the customer shall prove that it is its domain, by a token in a TXT record"},           \
        {"no-verify-ownership", NULL, "no proof is wanted (the default)"},                        \
    {                                                                                             \
        "primary-up", "WORD",                                                                     \
            "in fallback mode, while the customer's server is up: strict (default; a first "      \
            "contact waits "                                                                      \
            "for greylist-delay), defer (for fallback-delay), or accept"                          \
    }

static const struct command_option domain_add_options[] = {DOMAIN_OPTIONS, {0}};

static const struct command_option domain_set_options[] = {
    DOMAIN_OPTIONS,
    {"recipients", "WORD",
     "complete: the registered recipients are all there are, and others are refused; listed: "
     "there may be others"},
    {0},
};

static const struct command_option domain_check_options[] = {
    {"customer", "NAME", "all domains of this customer"},
    {"all", NULL, "all domains"},
    {"sender", "ADDRESS",
     "look at a customer's own outgoing server; with DOMAIN, at SPF for it as well"},
    {"helo", "NAME", "what that server calls itself"},
    {0},
};

static const struct command_option domain_instructions_options[] = {
    {"language", "en|de|nl|da", "default: the customer's"},
    {0},
};

const struct command commands_domain[] = {
    {
        .noun = "domain",
        .verb = "add",
        ONE_OPERAND("DOMAIN"),
        .options = domain_add_options,
        CHANGES_REGISTRY,
        .run = domain_add,
        .summary = "Serve a domain",
        .example = "relayctl domain add acme.example --customer acme",
        .more = "Internationalised names are kept as A-labels; .acme.example takes its subdomains.",
    },
    {
        .noun = "domain",
        .verb = "set",
        ONE_OPERAND("DOMAIN"),
        .options = domain_set_options,
        CHANGES_REGISTRY,
        .run = domain_set,
        .summary = "Change a domain",
        .example = "relayctl domain set acme.example --when-down defer",
    },
    {
        .noun = "domain",
        .verb = "show",
        ONE_OPERAND("DOMAIN"),
        .needs = COMMAND_NEEDS_REGISTRY,
        .run = domain_show,
        .summary = "Show one domain",
        .example = "relayctl domain show acme.example",
    },
    {
        .noun = "domain",
        .verb = "list",
        .options = commands_owner_options,
        .needs = COMMAND_NEEDS_REGISTRY,
        .run = domain_list,
        .summary = "List domains",
        .example = "relayctl domain list --customer acme",
    },
    {
        .noun = "domain",
        .verb = "check",
        .operands = "[DOMAIN ...]",
        .max_operands = COMMAND_MANY,
        .options = domain_check_options,
        .needs = COMMAND_NEEDS_REGISTRY,
        .run = domain_check,
        .summary = "Look at domains as the world sees them, and say what to mend",
        .example = "relayctl domain check acme.example",
        .more = "Everything is asked of the resolver of postern.conf. postern-checks(7) has all "
                "that can "
                "be found.\n"
                "Exit status 1 if anything fails.",
    },
    {
        .noun = "domain",
        .verb = "instructions",
        ONE_OPERAND("DOMAIN"),
        .options = domain_instructions_options,
        .needs = COMMAND_NEEDS_REGISTRY,
        .run = domain_instructions,
        .summary =
            "Print what to tell the customer: MX records, firewall, exemptions on its server",
        .example = "relayctl domain instructions acme.example --language de",
        .more = "Our addresses are looked up by the setting mx-names.",
    },
    {
        .noun = "domain",
        .verb = "remove",
        ONE_OPERAND("DOMAIN"),
        .options = commands_spool_options,
        CHANGES_REGISTRY,
        .run = domain_remove,
        .summary = "Stop serving a domain: its mail is refused at once",
        .example = "relayctl domain remove acme.example --reason \"moved away\"",
        .more = "--reason is required; with mail waiting, --spool too.",
    },
    {0},
};

static const struct command_option recipient_import_options[] = {
    {"domain", "DOMAIN", "of which domain they are"},
    {"complete", NULL, "these are all there are: others are refused without asking the server"},
    {"not-complete", NULL, "there may be others: the customer's server is asked about them"},
    {"replace", NULL, "those that are not in the file are removed; else the file's are added"},
    {0},
};

static const struct command_option recipient_list_options[] = {
    {"domain", "DOMAIN", "only of this domain"},
    {"customer", "NAME", "only of this customer"},
    {0},
};

static const struct command_option recipient_forget_options[] = {
    {"domain", "DOMAIN", "all recipients of this domain"},
    {0},
};

const struct command commands_recipient[] = {
    {
        .noun = "recipient",
        .verb = "add",
        .operands = "ADDRESS ...",
        .min_operands = 1,
        .max_operands = COMMAND_MANY,
        CHANGES_REGISTRY,
        .run = recipient_add,
        .summary = "Register recipients: they are known to be valid",
        .example = "relayctl recipient add info@acme.example sales@acme.example",
    },
    {
        .noun = "recipient",
        .verb = "import",
        ONE_OPERAND("FILE|-"),
        .options = recipient_import_options,
        CHANGES_REGISTRY,
        .run = recipient_import,
        .summary = "Register the recipients in a file",
        .example = "relayctl recipient import users.csv --domain acme.example --complete --replace",
        .more = "One address a line; of a CSV file the first column counts, and a header line is "
                "left out.\n"
                "A wrong line is told with its number, and nothing is changed. With a complete "
                "list\n"
                "others are refused with 550 5.1.1; postmaster never is. What stands behind a + "
                "in a\n"
                "local part is a part of it.",
    },
    {
        .noun = "recipient",
        .verb = "list",
        .options = recipient_list_options,
        .needs = COMMAND_NEEDS_REGISTRY,
        .run = recipient_list,
        .summary = "List registered recipients",
        .example = "relayctl recipient list --domain acme.example --json",
        .more = "What a node has learned of other recipients is not listed.",
    },
    {
        .noun = "recipient",
        .verb = "forget",
        .operands = "[ADDRESS ...]",
        .max_operands = COMMAND_MANY,
        .options = recipient_forget_options,
        .groups = COMMAND_CHANGES | COMMAND_BY_SUPPORT,
        .needs = COMMAND_NEEDS_REGISTRY,
        .run = recipient_forget,
        .summary = "Remove registered recipients, and what this node has learned of them",
        .example = "relayctl recipient forget former@acme.example",
        .more = "With --domain learning begins anew. A list that is empty then is complete no "
                "more.\nSupport staff may forget addresses, a whole domain operators alone.",
    },
    {0},
};
