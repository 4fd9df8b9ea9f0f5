/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Is this log the one that this node had, or an older copy of it (a restored disk)?  An older one
 * does not know what has been delivered since, and would deliver it again.  So how far the outcomes
 * go is told to PostgreSQL, and asked back before anything is delivered:
 *
 *   ASKING --as far, or nothing known--> GOOD            --further--> OLD --accepted--> GOOD
 *      \--PostgreSQL is away, or silent for 5 s--> GOOD (P5), asked when it is there
 *
 * OLD outlives the keeper (spool-dir/identity): a restart without PostgreSQL delivers nothing
 * either, nor does one with a PostgreSQL that has forgotten.  Another log in its place (an empty
 * disk) is another name, and nothing is refused.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "spool/spool_identity.h"
#include "spoolmgr/keeper.h"

#define PATIENCE_MS 5000 /* so long PostgreSQL is waited for */

struct lineage {
    enum { ASKING, GOOD, OLD } state;
    struct spool_identity identity;
    struct spool_position began, told; /* when the log was opened; as PostgreSQL has it */
    int64_t patient_until_ms;          /* of the loop's clock */
    struct loop_timer timer;
    struct keeper *keeper;
};

static struct spool_position
position(const struct keeper *k)
{
    struct spool_store_stats stats;

    spool_store_get_stats(k->store, &stats);
    return (struct spool_position){stats.ledger_number, stats.ledger_bytes};
}

static void
keep_identity(struct keeper *k)
{
    if (spool_identity_write(k->config->spool_dir, &k->lineage->identity) != ERR_OK)
        log_line(LOG_LEVEL_WARN, NULL, "identity-not-kept",
                 "file=%s/identity effect=\"an older copy of this spool may not be noticed\"",
                 k->config->spool_dir);
}

static void
go_on(void *ctx)
{
    struct lineage *lineage = ctx;

    if (lineage->state != ASKING)
        return;
    lineage->state = GOOD;
    keeper_pump(lineage->keeper);
}

/* What became of the messages is not known: then it is another log from now on. */
static void
know_identity(struct keeper *k)
{
    struct lineage *lineage = k->lineage;
    int err = spool_identity_read(k->config->spool_dir, &lineage->identity);

    if (err == ERR_OK && k->outcomes_missing == NULL)
        return;
    if (err == ERR_IO || err == ERR_CORRUPT)
        log_line(LOG_LEVEL_WARN, NULL, "identity-unreadable",
                 "file=%s/identity why=\"%s\" effect=\"it is made anew\"", k->config->spool_dir,
                 err_text(err));
    spool_identity_make(&lineage->identity);
    keep_identity(k);
}

void
lineage_begin(struct keeper *k)
{
    struct lineage *lineage = mem_alloc(sizeof *lineage);

    k->lineage = lineage;
    lineage->keeper = k;
    loop_timer_init(&lineage->timer, k->loop, go_on, lineage);
    know_identity(k);
    lineage->began = lineage->identity.is_refused ? lineage->identity.position : position(k);
    if (k->mirror == NULL)
        lineage->state = GOOD;
    else if (lineage->identity.is_refused)
        lineage->state = OLD;
    else
        loop_timer_start(&lineage->timer, PATIENCE_MS);
}

void
lineage_end(struct keeper *k)
{
    if (k->lineage == NULL)
        return;
    loop_timer_cancel(&k->lineage->timer);
    free(k->lineage);
    k->lineage = NULL;
}

bool
lineage_permits(const struct keeper *k)
{
    return k->lineage->state == GOOD;
}

bool
lineage_is_old(const struct keeper *k)
{
    return k->lineage->state == OLD;
}

void
lineage_database_down(struct keeper *k)
{
    go_on(k->lineage);
}

/* --- What PostgreSQL is asked and told. */

/* On a later connection it has what it was told on an earlier one. */
static struct spool_position
known(const struct lineage *lineage)
{
    return spool_position_is_before(lineage->began, lineage->told) ? lineage->told : lineage->began;
}

struct numbers {
    char node[16], ledger[16], octets[24];
};

static void
print(const struct keeper *k, struct spool_position at, struct numbers *n)
{
    snprintf(n->node, sizeof n->node, "%u", k->config->node);
    snprintf(n->ledger, sizeof n->ledger, "%" PRIu32, at.ledger);
    snprintf(n->octets, sizeof n->octets, "%" PRIu64, at.octets);
}

void
lineage_ask(struct keeper *k, struct db *db, db_on_result on_result, void *ctx)
{
    struct lineage *lineage = k->lineage;
    struct numbers n;
    const char *params[] = {n.node, lineage->identity.log, n.ledger, n.octets,
                            lineage->state == OLD ? "true" : "false"};

    print(k, known(lineage), &n);
    db_query(db,
             "SELECT ledger, octets, accepted FROM postern.spool_log_seen($1::int, $2, "
             "$3::bigint, $4::bigint, $5::boolean)",
             ARRAY_SIZE(params), params, on_result, ctx);
}

static void
refuse(struct keeper *k, struct spool_position seen)
{
    struct lineage *lineage = k->lineage;

    if (lineage->state != OLD || !lineage->identity.is_refused) {
        log_line(LOG_LEVEL_ALARM, NULL, "spool-older",
                 "seen=%" PRIu32 "/%" PRIu64 " found=%" PRIu32 "/%" PRIu64
                 " open=%zu effect=\"nothing is delivered from it: what has been delivered since "
                 "this copy was made would be delivered again\" remedy=\"bring back the newest "
                 "spool, or accept this one: relayctl node accept-spool --reason TEXT\"",
                 seen.ledger, seen.octets, lineage->began.ledger, lineage->began.octets,
                 spool_store_open_count(k->store));
        lineage->identity.is_refused = true;
        lineage->identity.position = lineage->began;
        keep_identity(k);
    }
    lineage->state = OLD;
}

static void
name_duplicates(struct keeper *k)
{
    struct spool_message *m = NULL;

    while ((m = spool_store_next(k->store, m)) != NULL)
        if (m->open_count > 0 && m->received_at_ms <= k->started_at_ms)
            attempt_possible_duplicate(k, m, "the spool is an older copy that was accepted");
}

static void
believe(struct keeper *k, bool is_accepted)
{
    struct lineage *lineage = k->lineage;

    if (is_accepted) {
        log_line(LOG_LEVEL_INFO, NULL, "spool-accepted", "open=%zu effect=\"it is delivered\"",
                 spool_store_open_count(k->store));
        name_duplicates(k);
    }
    if (lineage->identity.is_refused) {
        lineage->identity.is_refused = false;
        keep_identity(k);
    }
    lineage->state = GOOD;
    keeper_pump(k);
}

bool
lineage_hear(struct keeper *k, const PGresult *result)
{
    struct spool_position seen = {0};

    if (PQntuples(result) > 0) {
        seen.ledger = (uint32_t)strtoul(PQgetvalue(result, 0, 0), NULL, 10);
        seen.octets = strtoull(PQgetvalue(result, 0, 1), NULL, 10);
    }
    if (PQntuples(result) > 0 && PQgetvalue(result, 0, 2)[0] == 't')
        believe(k, true);
    else if (k->lineage->state == OLD || spool_position_is_before(known(k->lineage), seen))
        refuse(k, seen);
    else
        believe(k, false);
    return k->lineage->state == GOOD;
}

bool
lineage_is_told(const struct keeper *k)
{
    struct spool_store_stats stats;

    spool_store_get_stats(k->store, &stats);
    return stats.ledger_is_broken || !spool_position_is_before(k->lineage->told, position(k));
}

void
lineage_tell(struct keeper *k, struct db *db, db_on_result on_result, void *ctx)
{
    struct lineage *lineage = k->lineage;
    struct numbers n;
    const char *params[] = {n.node, lineage->identity.log, n.ledger, n.octets};

    lineage->told = position(k);
    print(k, lineage->told, &n);
    db_query(db,
             "INSERT INTO postern.spool_logs AS l (node, log, ledger, octets) "
             "VALUES ($1::int, $2, $3::bigint, $4::bigint) ON CONFLICT (node, log) DO UPDATE SET "
             "ledger = EXCLUDED.ledger, octets = EXCLUDED.octets, seen_at = now(), "
             "refused_ledger = NULL, refused_octets = NULL, refused_at = NULL, accepted_at = NULL",
             ARRAY_SIZE(params), params, on_result, ctx);
}
