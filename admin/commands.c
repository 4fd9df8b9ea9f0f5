/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The table of relayctl's commands (DESIGN section 9): its nouns in the order of the help.  The
 * verbs of each are in the file of its group.
 */
#include "admin/commands_private.h"

const struct command_option commands_owner_options[] = {
    {"customer", "NAME", "only of this customer"},
    {0},
};

const struct command_option commands_spool_options[] = {
    {"spool", "keep|return", "what becomes of mail that waits"},
    {0},
};

const struct command *const commands[] = {
    commands_customer,  commands_domain,
    commands_recipient, commands_backend,
    commands_db,        commands_greylist,
    commands_filter,    commands_block,
    commands_allow,     commands_spool,
    commands_node,      commands_simulate,
    commands_scan,      commands_trace,
    commands_explain,   commands_audit,
    commands_export,    commands_import,
    commands_report,    commands_completion,
    commands_status,    NULL,
};
