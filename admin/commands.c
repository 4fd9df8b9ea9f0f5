/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The table of relayctl's commands (DESIGN section 9).
 */
#include "admin/commands.h"

const struct command commands[] = {
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
