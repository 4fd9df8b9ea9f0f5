/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the commands do: a function each, named NOUN_VERB, called with a parsed line and whatever
 * the table says the command needs.  The tables are in commands_*.c, a noun each; commands.c lists
 * them.
 */
#ifndef ADMIN_COMMANDS_H
#define ADMIN_COMMANDS_H

#include "admin/call.h"

extern const struct command *const commands[];

enum command_status schema_init(struct call *call);
enum command_status schema_migrate(struct call *call);
enum command_status schema_status(struct call *call);

enum command_status customer_add(struct call *call);
enum command_status customer_set(struct call *call);
enum command_status customer_show(struct call *call);
enum command_status customer_list(struct call *call);
enum command_status customer_suspend(struct call *call);
enum command_status customer_resume(struct call *call);
enum command_status customer_remove(struct call *call);

enum command_status recipient_add(struct call *call);
enum command_status recipient_import(struct call *call);
enum command_status recipient_list(struct call *call);
enum command_status recipient_forget(struct call *call);
/* In a change that has begun; refused for a list of none. */
enum command_status recipient_set_complete(struct call *call, const char *domain, bool is_complete);
enum command_status domain_add(struct call *call);
enum command_status domain_set(struct call *call);
enum command_status domain_show(struct call *call);
enum command_status domain_list(struct call *call);
enum command_status domain_remove(struct call *call);
enum command_status domain_check(struct call *call);
enum command_status domain_instructions(struct call *call);
enum command_status node_check(struct call *call);

enum command_status backend_add(struct call *call);
enum command_status backend_set(struct call *call);
enum command_status backend_show(struct call *call);
enum command_status backend_list(struct call *call);
enum command_status backend_hold(struct call *call);
enum command_status backend_release(struct call *call);
enum command_status backend_test(struct call *call);
enum command_status simulate(struct call *call);
enum command_status scan(struct call *call);
enum command_status scan_canary(struct call *call);
enum command_status scan_open_relay(struct call *call);
/* What audit --what takes: tables, "spool" and "node" for orders, "scan" for consents;
 * ends with NULL. */
extern const char *const audit_tables[];
enum command_status audit(struct call *call);
enum command_status completion(struct call *call);
enum command_status trace(struct call *call);
enum command_status explain(struct call *call);
enum command_status report_usage(struct call *call);
enum command_status backend_remove(struct call *call);

enum command_status greylist_list(struct call *call);
enum command_status greylist_forget(struct call *call);
enum command_status filter_add(struct call *call);
enum command_status filter_set(struct call *call);
enum command_status filter_show(struct call *call);
enum command_status filter_list(struct call *call);
enum command_status filter_remove(struct call *call);

/* Of block and of allow. */
enum command_status sender_rule_add(struct call *call);
enum command_status sender_rule_list(struct call *call);
enum command_status sender_rule_remove(struct call *call);

enum command_status registry_export(struct call *call);
enum command_status registry_import(struct call *call);

enum command_status spool_list(struct call *call);
enum command_status spool_show(struct call *call);
enum command_status spool_summary(struct call *call);
enum command_status spool_retry(struct call *call);
enum command_status spool_hold(struct call *call);
enum command_status spool_release(struct call *call);
enum command_status spool_extend(struct call *call);
enum command_status spool_redirect(struct call *call);
enum command_status spool_return(struct call *call);
enum command_status spool_remove(struct call *call);
enum command_status spool_export(struct call *call);

enum command_status node_list(struct call *call);
enum command_status node_show(struct call *call);
enum command_status node_drain(struct call *call);
enum command_status node_accept_registry(struct call *call);
enum command_status node_accept_spool(struct call *call);

enum command_status status_show(struct call *call);
/* In its place, when there is no configuration to look by. */
enum command_status status_not_looked(const struct call *call, enum command_status why);

#endif
