/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the tables of commands share.  Each noun has one: its verbs, in the order of the help; the
 * last row has noun NULL.
 */
#ifndef ADMIN_COMMANDS_PRIVATE_H
#define ADMIN_COMMANDS_PRIVATE_H

#include "admin/commands.h"

/* What many rows have in common. */
#define ONE_OPERAND(what) .operands = (what), .min_operands = 1, .max_operands = 1
#define CHANGES_REGISTRY .groups = COMMAND_CHANGES, .needs = COMMAND_NEEDS_REGISTRY

extern const struct command_option commands_owner_options[]; /* of lists */
extern const struct command_option commands_spool_options[]; /* of removals */

/* --- commands_customer.c */
extern const struct command commands_customer[];
extern const struct command commands_domain[];
extern const struct command commands_recipient[];

/* --- commands_backend.c */
extern const struct command commands_backend[];
extern const struct command commands_scan[];

/* --- commands_sender.c */
extern const struct command commands_filter[];
extern const struct command commands_block[];
extern const struct command commands_allow[];
extern const struct command commands_greylist[];

/* --- commands_spool.c */
extern const struct command commands_spool[];

/* --- commands_story.c */
extern const struct command commands_simulate[];
extern const struct command commands_trace[];
extern const struct command commands_explain[];
extern const struct command commands_audit[];
extern const struct command commands_report[];

/* --- commands_node.c */
extern const struct command commands_db[];
extern const struct command commands_node[];
extern const struct command commands_status[];
extern const struct command commands_completion[];
extern const struct command commands_export[];
extern const struct command commands_import[];

#endif
