/* SPDX-License-Identifier: BSD-2-Clause
 *
 * relayctl node: what this node remembers of the registry, and the operator's word that a registry
 * which control has refused is right all the same (DESIGN section 2: the replica never shrinks by
 * surprise).  Control writes state-dir/registry-offered (lines "database_id ...", "version ...",
 * "why
 * ..."); we answer with state-dir/accept-registry, which names exactly what was offered, so that
 * nothing else is accepted by it.  And the word that a spool which the keeper has refused is to be
 * delivered (spoolmgr/lineage.c): that goes through PostgreSQL, which has made it refuse.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "admin/commands.h"
#include "admin/database.h"
#include "admin/node_registry.h"
#include "base/parse.h"
#include "spool/spool_identity.h"

#define NODE_MAX 32767 /* as base/ref.h */

static void
take_line(struct node_offer *offer, char *line)
{
    char *value = strchr(line, ' ');

    line[strcspn(line, "\r\n")] = '\0';
    if (value == NULL)
        return;
    *value++ = '\0';
    if (strcmp(line, "database_id") == 0)
        snprintf(offer->database_id, sizeof offer->database_id, "%s", value);
    else if (strcmp(line, "version") == 0)
        snprintf(offer->version, sizeof offer->version, "%s", value);
    else if (strcmp(line, "why") == 0)
        snprintf(offer->why, sizeof offer->why, "%s", value);
}

bool
node_offer_read(const struct call *call, struct node_offer *offer)
{
    char path[CALL_PATH_SIZE], line[1024];
    FILE *f;

    *offer = (struct node_offer){.is_there = false};
    f = fopen(call_path(path, call->config->state_dir, NODE_OFFERED_FILE), "re");
    if (f == NULL)
        return false;
    while (fgets(line, sizeof line, f))
        take_line(offer, line);
    fclose(f);
    offer->is_there = offer->database_id[0] && offer->version[0];
    return offer->is_there;
}

/* --- show */

static const char *
spool_word(int rc, const struct spool_identity *identity)
{
    if (rc == ERR_OK)
        return identity->is_refused ? "refused" : "ok";
    return rc == ERR_NOT_FOUND ? "new" : rc == ERR_CORRUPT ? "damaged" : "unknown";
}

static const char *
replica_word(int rc)
{
    if (rc == ERR_IO)
        return "unknown";
    return rc == ERR_OK ? "ok" : rc == ERR_NOT_FOUND ? "missing" : "damaged";
}

/* Of a replica that can not be read nothing is known. */
static void
print_count(struct printer *p, int rc, uint64_t count)
{
    if (rc == ERR_OK)
        printer_number(p, (int64_t)count);
    else
        printer_none(p, "-");
}

static void
print_offer(struct printer *p, const struct node_offer *offer)
{
    uint64_t version;

    printer_text(p, offer->is_there ? offer->database_id : NULL);
    if (offer->is_there && parse_u64(slice_of(offer->version), &version) == ERR_OK)
        printer_number(p, (int64_t)version);
    else
        printer_none(p, "-");
    printer_text(p, offer->is_there && offer->why[0] ? offer->why : NULL);
}

#define OFFER_COLUMNS 3

enum command_status
node_show(struct call *call)
{
    static const struct printer_column columns[] = {
        {"node", "Node", PRINTER_LEFT},
        {"replica", "Replica", PRINTER_LEFT},
        {"database_id", "Of database", PRINTER_LEFT},
        {"registry_version", "Version", PRINTER_LEFT},
        {"domains", "Domains", PRINTER_LEFT},
        {"written_at", "Written", PRINTER_LEFT},
        {"spool", "Spool", PRINTER_LEFT},
        {"refused_database_id", "Refused database", PRINTER_LEFT},
        {"refused_registry_version", "Refused version", PRINTER_LEFT},
        {"refused_reason", "Refused because", PRINTER_LEFT},
    };
    struct registry_version none = {.version = 0};
    struct registry *registry = NULL;
    char path[CALL_PATH_SIZE];
    struct node_offer offer;
    struct spool_identity identity;
    int spool_rc = spool_identity_read(call->config->spool_dir, &identity);
    int rc =
        registry_open_path(call_path(path, call->config->state_dir, NODE_REPLICA_FILE), &registry);
    int why = errno;
    const struct registry_version *v = rc == ERR_OK ? registry_get_version(registry) : &none;
    bool with_offer = node_offer_read(call, &offer) || call->printing.json;
    struct printer *p = printer_new(&call->printing, PRINTER_ONE, columns,
                                    ARRAY_SIZE(columns) - (with_offer ? 0 : OFFER_COLUMNS));

    printer_number(p, call->config->node);
    printer_word(p, replica_word(rc));
    printer_text(p, v->database_id[0] ? v->database_id : NULL);
    print_count(p, rc, v->version);
    print_count(p, rc, v->domain_count);
    printer_time(p, v->written_at_ms);
    printer_word(p, spool_word(spool_rc, &identity));
    if (with_offer)
        print_offer(p, &offer);
    printer_finish(&p);
    registry_close(&registry);
    if (rc == ERR_IO)
        call_complain("%s cannot be read: %s; run relayctl as the user of the daemons or as root",
                      path, strerror(why));
    if (offer.is_there)
        call_complain(
            "the node has refused the registry and serves the last good one; if the new one "
            "is right: relayctl node accept-registry --reason TEXT");
    if (spool_rc == ERR_OK && identity.is_refused)
        call_complain("nothing is delivered from the spool, since it is older than PostgreSQL has "
                      "seen it; if this one is to be delivered all the same: relayctl node "
                      "accept-spool --reason TEXT");
    return offer.is_there || rc < 0 || (spool_rc == ERR_OK && identity.is_refused) ? COMMAND_FAILED
                                                                                   : COMMAND_DONE;
}

/* --- accept-registry */

static enum command_status
write_marker(const struct call *call, const struct node_offer *offer)
{
    char path[CALL_PATH_SIZE], path_new[CALL_PATH_SIZE], text[256];
    int n = snprintf(text, sizeof text, "database_id %s\nversion %s\n", offer->database_id,
                     offer->version);
    bool ok = false;
    int fd;

    call_path(path, call->config->state_dir, NODE_ACCEPT_FILE);
    call_path(path_new, call->config->state_dir, NODE_ACCEPT_FILE ".new");
    fd = open(path_new, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd >= 0) {
        ok = write(fd, text, (size_t)n) == n && fsync(fd) == 0;
        ok = close(fd) == 0 && ok && rename(path_new, path) == 0;
    }
    if (ok)
        return COMMAND_DONE;
    call_complain("%s can not be written: %s; run relayctl as the user of relayd or as root", path,
                  strerror(errno));
    return COMMAND_FAILED;
}

enum command_status
node_accept_registry(struct call *call)
{
    struct node_offer offer;
    enum command_status status = call_need_reason(call);

    if (status != COMMAND_DONE)
        return status;
    if (!node_offer_read(call, &offer)) {
        call_complain("this node has refused no registry; there is nothing to accept");
        return COMMAND_NOTHING;
    }
    if (!call->printing.json)
        fprintf(call->printing.out, "Refused: version %s of database %s, because %s.\n",
                offer.version, offer.database_id,
                offer.why[0] ? offer.why : "of no recorded reason");
    status = call_confirm(call, "Serve by this registry from now on?");
    if (status == COMMAND_DONE && !call->dry_run)
        status = write_marker(call, &offer);
    if (status == COMMAND_DONE)
        call_done(call, "accepted", "registry", offer.database_id);
    return status;
}

/* --- accept-spool */

static enum command_status
show_refused(struct call *call, const char *node)
{
    const char *params[] = {node};
    PGresult *result;
    enum command_status status =
        database_query(call,
                       "SELECT ledger, octets, refused_ledger, refused_octets, "
                       "to_char(seen_at, 'YYYY-MM-DD HH24:MI') FROM postern.spool_logs "
                       "WHERE node = $1::int AND refused_at IS NOT NULL AND accepted_at IS NULL",
                       1, params, &result);

    if (status != COMMAND_DONE)
        return status;
    if (PQntuples(result) == 0) {
        call_complain("node %s has refused no spool; there is nothing to accept", node);
        status = COMMAND_NOTHING;
    }
    for (int i = 0; i < PQntuples(result) && !call->printing.json; i++)
        fprintf(
            call->printing.out,
            "Refused: a spool whose ledger ends at %s/%s; at %s it had come to %s/%s.\nWhat was "
            "delivered in between is delivered again.\n",
            PQgetvalue(result, i, 2), PQgetvalue(result, i, 3), PQgetvalue(result, i, 4),
            PQgetvalue(result, i, 0), PQgetvalue(result, i, 1));
    PQclear(result);
    return status;
}

static enum command_status
accept_spool(struct call *call, const char *node)
{
    const char *params[] = {node};
    enum command_status status = database_begin_change(call);
    PGresult *result = NULL;

    if (status == COMMAND_DONE)
        status = database_query(call, "SELECT postern.accept_spool($1::int)", 1, params, &result);
    PQclear(result);
    return database_end(call, status);
}

static enum command_status
which_node(struct call *call, char node[16])
{
    const char *given = call_value(call, "node");
    uint64_t number = call->config->node;

    if (given && (parse_u64(slice_of(given), &number) < 0 || number == 0 || number > NODE_MAX)) {
        call_complain("--node \"%s\": a node is a number from 1 to %d", given, NODE_MAX);
        return COMMAND_USAGE;
    }
    snprintf(node, 16, "%" PRIu64, number);
    return COMMAND_DONE;
}

enum command_status
node_accept_spool(struct call *call)
{
    enum command_status status = call_need_reason(call);
    char node[16];

    if (status == COMMAND_DONE)
        status = which_node(call, node);
    if (status == COMMAND_DONE)
        status = show_refused(call, node);
    if (status == COMMAND_DONE)
        status = call_confirm(call, "Deliver from this spool all the same?");
    if (status == COMMAND_DONE)
        status = accept_spool(call, node);
    if (status == COMMAND_DONE)
        call_done(call, "accepted", "spool of node", node);
    return status;
}
