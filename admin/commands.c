/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The table of relayctl's commands (DESIGN section 9).
 */
#include "admin/commands.h"

/* What many rows have in common. */
#define ONE_OPERAND(what) .operands = (what), .min_operands = 1, .max_operands = 1
#define ORDERS_SPOOL_AS(more_groups)                          \
    .operands = "[ID ... | -]", .max_operands = COMMAND_MANY, \
    .groups = COMMAND_SELECTS | COMMAND_CHANGES | (more_groups), .needs = COMMAND_NEEDS_CONFIG
#define ORDERS_SPOOL ORDERS_SPOOL_AS(0)
#define CHANGES_REGISTRY .groups = COMMAND_CHANGES, .needs = COMMAND_NEEDS_REGISTRY

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

static const struct command_option customer_list_options[] = {
    {"use", NULL, "show what each uses of its hourly limit, and today's mail, on this node"},
    {0},
};

static const struct command_option suspend_options[] = {
    {"refuse", NULL, "refuse mail for good (550) instead of for now (450)"},
    {0},
};

static const struct command_option status_options[] = {
    {"watch", NULL, "look again every two seconds, and show rates"},
    {"nagios", NULL, "a line and an exit status as Monitoring Plugins have them"},
    {0},
};

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

#define OPTION_LOCAL                                                        \
    {                                                                       \
        "local", NULL, "ask the event log of this node, and not PostgreSQL" \
    }

static const struct command_option trace_options[] = {
    {"from", "ADDRESS", "of this sender; \"<>\" is the null sender, @example.net a whole domain"},
    {"rcpt", "ADDRESS", "to this recipient"},
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

static const struct command_option report_options[] = {
    {"by", "day|month", "a row a customer and day, or month; default month"},
    {"customer", "NAME", "of this customer, which may have been removed"},
    {"since", "DATE", "from this day on: 2026-12-01, 2026-12, 30d (ago); default: see above"},
    {"until", "DATE", "before this day"},
    {"csv", NULL, "as CSV (RFC 4180), with a header"},
    {0},
};

static const struct command_option completion_options[] = {
    {"words", NULL, "complete the last of the operands, for the shell's function"},
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

static const struct command_option explain_options[] = {OPTION_LOCAL, {0}};

static const struct command_option drain_options[] = {
    {"end", NULL, "take connections again"},
    {0},
};

static const struct command_option accept_spool_options[] = {
    {"node", "NUMBER", "of which node; this one without it"},
    {0},
};

static const struct command_option spool_options[] = {
    {"spool", "keep|return", "what becomes of mail that waits"},
    {0},
};

static const struct command_option registry_export_options[] = {
    {"customer", "NAME", "of this customer alone"},
    {"recipients", NULL, "with the registered recipients"},
    {0},
};

static const struct command_option registry_import_options[] = {
    {"prune", NULL, "remove what the file has no line of; needs --reason"},
    {"spool", "keep|return", "with --prune: what becomes of mail that waits"},
    {0},
};

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

static const struct command_option greylist_list_options[] = {
    {"customer", "NAME", "only first contacts with this customer"},
    {0},
};

static const struct command_option greylist_forget_options[] = {
    {"all", NULL, "everybody who has come to this node"},
    {0},
};

static const struct command_option owner_options[] = {
    {"customer", "NAME", "only of this customer"},
    {0},
};

static const struct command_option domain_instructions_options[] = {
    {"language", "en|de", "default: the customer's, where it is one of these, or else en"},
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

#define BACKEND_OPTIONS                                                                           \
    {"priority", "N", "lower is tried first; 10 unless given at add"},                            \
        {"weight", "N", "its share among those of its priority; 1 unless given"},                 \
        {"mx", NULL, "the name's MX hosts are the servers"},                                      \
        {"source-address", "ADDRESS|none", "connect to it from this address"},                    \
        {"tls", "WORD", "none, may (the default), encrypt or verify"},                            \
        {"tls-name", "NAME|none", "what its certificate must be for; none: its name or address"}, \
        {"xforward", "yes|no", "it trusts us, and is told who the client is"},                    \
    {                                                                                             \
        "max-connections", "N|none",                                                              \
            "at most so many at once; none: the node's backend-connections"                       \
    }

static const struct command_option backend_test_options[] = {
    {"customer", "NAME", "all backends of this customer"},
    {"rcpt", "ADDRESS",
     "a recipient that is valid; else one that is registered or lately got mail"},
    {"address", "ADDRESS", "of a backend that is by name: this address of it alone"},
    {"sink", "ADDRESS", "an address of yours elsewhere, for open relays: messages are sent to it"},
    {"spf-probe", "ADDRESS", "a sender whose SPF record lets nobody send (v=spf1 -all)"},
    {"content", NULL, "send the test messages of spam and virus scanners to --rcpt"},
    {"probe-message", NULL, "send a message to --rcpt, to see whether a bounce comes late"},
    {"steps", NULL, "one conversation alone, by the running relayd; its outcome counts as a probe"},
    {0},
};

static const struct command_option scan_options[] = {
    {"customer", "NAME", "this customer's servers and domains alone"},
    {"kind", "backend|domain", "only servers, or only domains"},
    {"changes", NULL, "show only what is not as it was at the last scan"},
    {"per-minute", "N", "start at most so many tests a minute; default 60"},
    {0},
};

static const struct command_option scan_canary_options[] = {
    {"rcpt", "ADDRESS", "who gets it"},
    {"domain", "NAME", "instead: its postmaster gets it"},
    {0},
};

static const struct command_option scan_relay_options[] = {
    {"network", "CIDR", "the addresses; at most 4096"},
    {"consent", "TEXT", "who has agreed, when and how; it is written down in the audit"},
    {"port", "N", "of the servers; default 25"},
    {"sink", "ADDRESS", "an address of yours elsewhere: what is taken for it is sent to it"},
    {"per-minute", "N", "start at most so many tests a minute; default 60"},
    {0},
};

static const struct command_option backend_release_options[] = {
    {"address", "ADDRESS", "of a backend that is by name: which of its addresses"},
    {0},
};

static const struct command_option backend_add_options[] = {
    {"customer", "NAME", "whose server it is"},
    {"domain", "DOMAIN", "for this domain alone; else for all that have none of their own"},
    BACKEND_OPTIONS,
    {0}};

static const struct command_option backend_set_options[] = {
    {"address", "ADDRESS|NAME[:PORT]", "the server's new address or name"}, BACKEND_OPTIONS, {0}};

const struct command commands[] = {
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
            "Senders are told to come back (450), or refused with --refuse. Waiting mail stays.",
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
        .options = spool_options,
        CHANGES_REGISTRY,
        .run = customer_remove,
        .summary = "Remove a customer without domains and backends",
        .example = "relayctl customer remove acme --reason \"contract ended\"",
        .more = "Its domains and backends must have been removed before. --reason is required; "
                "with mail\n"
                "waiting, --spool too.",
    },
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
        .options = owner_options,
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
        .options = spool_options,
        CHANGES_REGISTRY,
        .run = domain_remove,
        .summary = "Stop serving a domain: its mail is refused at once",
        .example = "relayctl domain remove acme.example --reason \"moved away\"",
        .more = "--reason is required; with mail waiting, --spool too.",
    },
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
    {
        .noun = "backend",
        .verb = "add",
        ONE_OPERAND("ADDRESS|NAME[:PORT]"),
        .options = backend_add_options,
        CHANGES_REGISTRY,
        .run = backend_add,
        .summary = "Add a customer's mail server",
        .example = "relayctl backend add 192.0.2.10:25 --customer acme",
        .more =
            "IPv6 with a port is written [2001:db8::1]:25. The port is 25 if none is given. A "
            "name is looked\nup when mail is to be sent; with --mx its MX hosts are the servers. "
            "The backend is\nthen named CUSTOMER/N.",
    },
    {
        .noun = "backend",
        .verb = "set",
        ONE_OPERAND("CUSTOMER/N"),
        .options = backend_set_options,
        CHANGES_REGISTRY,
        .run = backend_set,
        .summary = "Change a backend",
        .example = "relayctl backend set acme/1 --priority 5 --tls encrypt",
    },
    {
        .noun = "backend",
        .verb = "show",
        ONE_OPERAND("CUSTOMER/N"),
        .needs = COMMAND_NEEDS_REGISTRY,
        .run = backend_show,
        .summary = "Show one backend",
        .example = "relayctl backend show acme/1",
    },
    {
        .noun = "backend",
        .verb = "list",
        .options = owner_options,
        .needs = COMMAND_NEEDS_REGISTRY,
        .run = backend_list,
        .summary = "List backends",
        .example = "relayctl backend list --customer acme",
    },
    {
        .noun = "backend",
        .verb = "test",
        .operands = "[CUSTOMER/N ...]",
        .max_operands = COMMAND_MANY,
        .options = backend_test_options,
        .needs = COMMAND_NEEDS_CONFIG,
        .run = backend_test,
        .summary = "Find out whether a customer's server does what a relay needs of it",
        .example = "relayctl backend test acme/1 --rcpt info@acme.example",
        .more = "Each finding is pass, warn, fail or unknown, with what to tell the customer; "
                "postern-conformance(7)\nhas them all. relayctl makes the connections, from "
                "source-address. Nothing is delivered unless\n--sink, --content or --probe-message "
                "says so. While the database is away this node's copy of\nthe registry is used. "
                "Exit 1: something failed. With --steps: it is not up.",
    },
    {
        .noun = "backend",
        .verb = "hold",
        ONE_OPERAND("CUSTOMER/N"),
        CHANGES_REGISTRY,
        .run = backend_hold,
        .summary = "Send nothing to a backend; its mail waits",
        .example = "relayctl backend hold acme/1 --reason \"maintenance\"",
        .more = "--reason is required.",
    },
    {
        .noun = "backend",
        .verb = "release",
        ONE_OPERAND("CUSTOMER/N"),
        .options = backend_release_options,
        CHANGES_REGISTRY,
        .run = backend_release,
        .summary = "Use a backend again that is held, or that refuses known recipients",
        .example = "relayctl backend release acme/1",
        .more = "On this node, a backend whose health is \"refusing\" (it is back from an outage "
                "and refuses\nrecipients that it took before) is recovering then: its next twenty "
                "verdicts are watched.",
    },
    {
        .noun = "backend",
        .verb = "remove",
        ONE_OPERAND("CUSTOMER/N"),
        .options = spool_options,
        CHANGES_REGISTRY,
        .run = backend_remove,
        .summary = "Remove a backend",
        .example = "relayctl backend remove acme/2 --reason \"replaced\"",
        .more = "--reason is required; if it is the last and mail waits, --spool too.",
    },
    {
        .noun = "db",
        .verb = "init",
        .groups = COMMAND_CHANGES,
        .needs = COMMAND_NEEDS_DATABASE,
        .run = schema_init,
        .summary = "Create Postern's schema and roles in an empty database",
        .example = "relayctl db init",
        .more = "Safe to repeat: a database that is up to date stays as it is.",
    },
    {
        .noun = "db",
        .verb = "migrate",
        .groups = COMMAND_CHANGES,
        .needs = COMMAND_NEEDS_DATABASE,
        .run = schema_migrate,
        .summary = "Bring the schema up to date",
        .example = "relayctl db migrate --dry-run",
        .more = "All missing migrations run in one transaction. There is no way back but a backup.",
    },
    {
        .noun = "db",
        .verb = "status",
        .needs = COMMAND_NEEDS_DATABASE,
        .run = schema_status,
        .summary = "Show which schema the database has",
        .example = "relayctl db status --json",
    },
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
        .options = owner_options,
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
    },
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
    {
        .noun = "node",
        .verb = "list",
        .needs = COMMAND_NEEDS_REGISTRY,
        .run = node_list,
        .summary = "List the nodes that PostgreSQL has heard of, and what waits on each",
        .example = "relayctl node list",
        .more = "silent: its spoolmgr has not been heard of for a minute; refused: nothing is "
                "delivered from its\n"
                "spool until `relayctl node accept-spool`.",
    },
    {
        .noun = "node",
        .verb = "show",
        .needs = COMMAND_NEEDS_CONFIG,
        .run = node_show,
        .summary = "Show what this node knows of the registry, and what it has refused",
        .example = "relayctl node show",
    },
    {
        .noun = "node",
        .verb = "check",
        .needs = COMMAND_NEEDS_CONFIG,
        .run = node_check,
        .summary = "Look at this node as the world sees it, and at what it stands on",
        .example = "relayctl node check",
        .more = "Run it on the node, as the daemons' user or as root. postern-checks(7) has all "
                "that can "
                "be\nfound. Exit status 1 if anything fails.",
    },
    {
        .noun = "node",
        .verb = "drain",
        .options = drain_options,
        .groups = COMMAND_CHANGES,
        .needs = COMMAND_NEEDS_CONFIG,
        .run = node_drain,
        .summary = "Take no new connections on this node, before work on it",
        .example = "relayctl node drain --reason \"new kernel\"",
        .more =
            "New clients are told 421, those that are here hear it between two messages; they go "
            "to another\n"
            "node or come again. The spool is delivered as ever. `relayctl status` says how many "
            "are left.\n"
            "It ends with --end, or when relayd is started anew. --reason is required without "
            "--end.",
    },
    {
        .noun = "node",
        .verb = "accept-registry",
        .groups = COMMAND_CHANGES,
        .needs = COMMAND_NEEDS_CONFIG,
        .run = node_accept_registry,
        .summary = "Serve by a registry that this node has refused as suspicious",
        .example = "relayctl node accept-registry --reason \"moved to a new database\"",
        .more = "A node refuses a registry with another id, a lower version, or one in which many "
                "domains\n"
                "are gone without having been removed by relayctl. --reason is required.",
    },
    {
        .noun = "node",
        .verb = "accept-spool",
        .options = accept_spool_options,
        .groups = COMMAND_CHANGES,
        .needs = COMMAND_NEEDS_REGISTRY,
        .run = node_accept_spool,
        .summary = "Deliver from a spool that the node has refused as an older copy",
        .example = "relayctl node accept-spool --reason \"the disk is gone, this is the backup\"",
        .more = "PostgreSQL is told how far each node's spool goes. One that goes less far, as a "
                "restored\n"
                "disk does, would deliver again what has been delivered since; so nothing is "
                "delivered from it\n"
                "until it is accepted. Each message that may go out twice is then logged as "
                "possible-duplicate.\n"
                "--reason is required.",
    },
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
    {
        .noun = "scan",
        .verb = "open-relay",
        .options = scan_relay_options,
        .groups = COMMAND_BY_OPERATOR,
        .needs = COMMAND_NEEDS_REGISTRY,
        .run = scan_open_relay,
        .summary = "Find the open relays in a network whose owner has agreed",
        .example = "relayctl scan open-relay --network 192.0.2.0/24 --consent \"contract 4711, 6\"",
        .more = "Asks each address, four at once; nothing is delivered without --sink. "
                "--consent is\nrequired. Exit 1: there is an open relay.",
    },
    {
        .noun = "scan",
        .verb = "canary",
        .options = scan_canary_options,
        .needs = COMMAND_NEEDS_CONFIG,
        .run = scan_canary,
        .summary = "Send a marked message through our own listener, and say what becomes of it",
        .example = "relayctl scan canary --rcpt canary@test.example",
        .more =
            "Judged as any client's mail is; `relayctl allow add` this node's address for the "
            "customer where its\npolicy refuses it. Exit 0: delivered; 4: it waits in the spool; "
            "1: refused, or not answered.",
    },
    {
        .noun = "scan",
        .options = scan_options,
        .groups = COMMAND_BY_OPERATOR,
        .needs = COMMAND_NEEDS_REGISTRY,
        .run = scan,
        .summary = "Test all customers' servers and domains, gently, and keep what was found",
        .example = "relayctl scan --changes",
        .more =
            "Runs `relayctl backend test` for every backend that is not held and `relayctl domain "
            "check` for every domain, two at once, and writes down in\nPostgreSQL what was found "
            "and "
            "since when. Shows all that is not "
            "\"pass\", or with --changes what\nbegan, got worse or was mended since the last "
            "scan: nothing, if all is as it was, so that cron\nmails news alone. Exit 1: "
            "something of what is shown failed.",
    },
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
                "schema's owner can change a row. Orders and readings are --what spool.",
    },
    {
        .noun = "export",
        .options = registry_export_options,
        .needs = COMMAND_NEEDS_REGISTRY,
        .run = registry_export,
        .summary = "Write the registry as JSON Lines",
        .example = "relayctl export --recipients >registry.jsonl",
        .more = "Customers with their limits and temporary changes, domains, backends, filters, "
                "blocks and\n"
                "allows. `relayctl import` reads it. It holds no password: the registry has none.",
    },
    {
        .noun = "import",
        ONE_OPERAND("FILE|-"),
        .options = registry_import_options,
        CHANGES_REGISTRY,
        .run = registry_import,
        .summary = "Make the registry what a file of JSON Lines says",
        .example = "relayctl import registry.jsonl --dry-run",
        .more = "All of it or nothing. Of what is there the fields that a line has are set; the "
                "rest stays, and so\n"
                "does what the file has no line of, but with --prune: then it is removed, as far "
                "as the export that\n"
                "made the file reached. --dry-run prints the difference. A second import changes "
                "nothing.",
    },
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
    {
        .noun = "completion",
        .operands = "bash|zsh|fish",
        .max_operands = COMMAND_MANY,
        .options = completion_options,
        .needs = COMMAND_NEEDS_NOTHING,
        .run = completion,
        .summary = "Print what makes a shell complete relayctl's words",
        .example = "source <(relayctl completion bash)",
        .more = "Nouns, verbs, options, their words, and the names of customers, domains, backends "
                "and filters.",
    },
    {
        .noun = "status",
        .options = status_options,
        .needs = COMMAND_NEEDS_CONFIG,
        .run = status_show,
        .summary = "Show how this node is; exit status 1 if something needs an operator",
        .example = "relayctl status",
        .more =
            "Looks at locks, files and the database; needs none of the daemons. A part that is\n"
            "\"unknown\" may not be read by this user. A backend that is down is news, not "
            "trouble.\n"
            "For Nagios, Icinga and the like, 0 OK, 1 warning, 2 critical, 3 unknown:\n"
            "    relayctl status --nagios",
    },
    {0},
};
