/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The commands on customers' servers, and on the tests of them all.
 */
#include "admin/commands_private.h"

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

static const struct command_option backend_add_options[] = {
    {"customer", "NAME", "whose server it is"},
    {"domain", "DOMAIN", "for this domain alone; else for all that have none of their own"},
    BACKEND_OPTIONS,
    {0}};

static const struct command_option backend_set_options[] = {
    {"address", "ADDRESS|NAME[:PORT]", "the server's new address or name"}, BACKEND_OPTIONS, {0}};

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

static const struct command_option backend_release_options[] = {
    {"address", "ADDRESS", "of a backend that is by name: which of its addresses"},
    {0},
};

const struct command commands_backend[] = {
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
        .options = commands_owner_options,
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
        .options = commands_spool_options,
        CHANGES_REGISTRY,
        .run = backend_remove,
        .summary = "Remove a backend",
        .example = "relayctl backend remove acme/2 --reason \"replaced\"",
        .more = "--reason is required; if it is the last and mail waits, --spool too.",
    },
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
    {"outage", NULL, "hold its servers meanwhile: it must go into the spool, and out again"},
    {"reason", "TEXT", "why --outage holds them; kept in the audit"},
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

const struct command commands_scan[] = {
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
            "1: refused, or not answered.\nWith --outage (operators, for a customer of your own) "
            "exit 0: it "
            "was kept, and delivered after the\nrelease; 1: anything else.",
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
    {0},
};
