/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The commands on what a node stands on, and on how it is: database, registry as a file, shells.
 */
#include "admin/commands_private.h"

const struct command commands_db[] = {
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
    {0},
};

static const struct command_option drain_options[] = {
    {"end", NULL, "take connections again"},
    {0},
};

static const struct command_option accept_spool_options[] = {
    {"node", "NUMBER", "of which node; this one without it"},
    {0},
};

const struct command commands_node[] = {
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
    {0},
};

static const struct command_option status_options[] = {
    {"watch", NULL, "look again every two seconds, and show rates"},
    {"nagios", NULL, "a line and an exit status as Monitoring Plugins have them"},
    {0},
};

const struct command commands_status[] = {
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

static const struct command_option completion_options[] = {
    {"words", NULL, "complete the last of the operands, for the shell's function"},
    {0},
};

const struct command commands_completion[] = {
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
    {0},
};

static const struct command_option registry_export_options[] = {
    {"customer", "NAME", "of this customer alone"},
    {"recipients", NULL, "with the registered recipients"},
    {0},
};

const struct command commands_export[] = {
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
    {0},
};

static const struct command_option registry_import_options[] = {
    {"prune", NULL, "remove what the file has no line of; needs --reason"},
    {"spool", "keep|return", "with --prune: what becomes of mail that waits"},
    {0},
};

const struct command commands_import[] = {
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
    {0},
};
