/* SPDX-License-Identifier: BSD-2-Clause
 *
 * SIGHUP.  A file with a problem (also of a certificate that it names), or with a setting that
 * only a restart can change, changes nothing. A good one makes new workers beside the old ones,
 * which end with their sessions.
 *
 * At most two generations are alive: while workers of the generation before the last linger, they
 * are told to hurry and the reload waits for them (the last file wins).  So the table of workers
 * always has room, and every socket is served by a worker of the newest generation: sockets are
 * added when there are more workers than ever before, and never closed, since a closed one would
 * reset what is queued at it.
 */
#include "relayd/parent_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "net/tls_client.h"
#include "net/tls_server.h"
#include "relayd/capacity.h"
#include "sender/sender_dialin.h"

#define RETIRE_MS 30000 /* for what an old worker's clients are in the middle of */
#define HURRY_MS 5000   /* when the next reload waits */

/* --- The files. */

static bool
same_text(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

static bool
same_addresses(const struct config *a, const struct config *b)
{
    if (a->listen.count != b->listen.count)
        return false;
    for (size_t i = 0; i < a->listen.count; i++)
        if (!inet_endpoint_equal(&a->listen.items[i], &b->listen.items[i]))
            return false;
    return true;
}

/* Settings that only a restart can change; NULL: none. */
static const char *
needs_restart(const struct config *a, const struct config *b)
{
    if (!same_addresses(a, b))
        return "listen";
    if (a->node != b->node)
        return "node";
    if (!same_text(a->spool_dir, b->spool_dir) || !same_text(a->state_dir, b->state_dir) ||
        !same_text(a->run_dir, b->run_dir) || !same_text(a->log_dir, b->log_dir))
        return "spool-dir, state-dir, run-dir or log-dir";
    if (!same_text(a->timezone, b->timezone))
        return "timezone";
    if (!same_text(a->user, b->user) || !same_text(a->worker_user, b->worker_user))
        return "user or worker-user";
    if (!same_text(a->control_group, b->control_group))
        return "control-group";
    return NULL;
}

static struct config *
read_files(struct parent *p, struct tls_server **tls, struct tls_client **client,
           struct sender_dialin **dialin)
{
    struct config *fresh;
    struct buf problems;
    const char *why;

    buf_init(&problems, 0);
    if (config_load(p->config->path, &problems, &fresh) < 0 ||
        parent_tls_load(fresh, &problems, tls) < 0 ||
        parent_tls_load_client(fresh, &problems, client) < 0 ||
        sender_dialin_load(fresh->dialin_patterns, &problems, dialin) < 0) {
        log_line(LOG_LEVEL_ALARM, NULL, "reload-refused",
                 "problems=\"%s\" effect=\"nothing has changed\"", buf_text(&problems));
        config_free(&fresh);
        tls_server_free(tls);
        tls_client_free(client);
    } else if ((why = needs_restart(p->config, fresh)) != NULL) {
        log_line(LOG_LEVEL_ALARM, NULL, "reload-refused",
                 "setting=\"%s\" effect=\"nothing has changed\" remedy=\"restart relayd\"", why);
        config_free(&fresh);
        tls_server_free(tls);
        tls_client_free(client);
        sender_dialin_free(dialin);
    }
    buf_fini(&problems);
    return fresh;
}

/* --- Generations. */

static bool
is_lingering(const struct child *child)
{
    return child->kind == CHILD_WORKER && child->pid && !child->wanted;
}

static unsigned
count_lingering(const struct parent *p)
{
    unsigned count = 0;

    for (size_t i = WORKERS_AT; i < CHILDREN_MAX; i++)
        count += is_lingering(&p->children[i]);
    return count;
}

static struct child *
spare_row(struct parent *p)
{
    for (size_t i = WORKERS_AT; i < CHILDREN_MAX; i++)
        if (!p->children[i].wanted && p->children[i].pid == 0)
            return &p->children[i];
    CHECK(!"two generations of workers fit into the table");
    return NULL;
}

static void
start_workers(struct parent *p, struct child *fresh[SHARED_WORKERS_MAX])
{
    for (unsigned i = 0; i < p->config->workers; i++) {
        fresh[i] = spare_row(p);
        fresh[i]->index = i;
        fresh[i]->wanted = true;
        parent_start_child(fresh[i]);
    }
}

static void
replace_workers(struct parent *p)
{
    struct child *fresh[SHARED_WORKERS_MAX], *old[CHILDREN_MAX];
    size_t old_count = 0;

    for (size_t i = WORKERS_AT; i < CHILDREN_MAX; i++)
        if (p->children[i].wanted)
            old[old_count++] = &p->children[i];
    start_workers(p, fresh);
    for (size_t i = 0; i < old_count; i++) {
        old[i]->wanted = false;
        parent_stop_child(old[i], true, RETIRE_MS);
    }
}

/* They start anew, with the new file, when they have ended. */
static void
replace_helpers(struct parent *p)
{
    parent_stop_child(parent_state_child(p), false, RETIRE_MS);
    for (size_t i = 0; i < WORKERS_AT; i++)
        if (p->children[i].kind == CHILD_CONTROL)
            parent_stop_child(&p->children[i], false, RETIRE_MS);
}

static void
take_over(struct parent *p)
{
    struct config *before = p->config;
    struct tls_server *tls_before = p->tls;
    struct tls_client *client_before = p->tls_client;
    struct sender_dialin *dialin_before = p->dialin;

    if (parent_add_sockets(p, p->next_config->workers) < 0) {
        log_line(LOG_LEVEL_ALARM, NULL, "reload-refused",
                 "setting=\"workers\" error=\"%s\" effect=\"nothing has changed\"",
                 strerror(errno));
        config_free(&p->next_config);
        tls_server_free(&p->next_tls);
        tls_client_free(&p->next_tls_client);
        sender_dialin_free(&p->next_dialin);
        return;
    }
    log_line(LOG_LEVEL_INFO, NULL, "reloading", "path=%s workers=%u", p->next_config->path,
             p->next_config->workers);
    p->config = p->next_config;
    p->next_config = NULL;
    p->tls = p->next_tls;
    p->next_tls = NULL;
    p->tls_client = p->next_tls_client;
    p->next_tls_client = NULL;
    p->dialin = p->next_dialin;
    p->next_dialin = NULL;
    parent_tls_log_warnings(p, clock_wall_ms());
    capacity_raise(p->config);
    replace_workers(p);
    replace_helpers(p);
    config_free(&before);
    tls_server_free(&tls_before);
    tls_client_free(&client_before);
    sender_dialin_free(&dialin_before);
}

void
parent_go_on_reloading(struct parent *p)
{
    if (p->next_config != NULL && !p->stopping && count_lingering(p) == 0)
        take_over(p);
}

static void
hurry(struct parent *p)
{
    int64_t by_ms = clock_monotonic_ms() + HURRY_MS;

    for (size_t i = WORKERS_AT; i < CHILDREN_MAX; i++)
        if (is_lingering(&p->children[i]) && p->children[i].stop_by_ms > by_ms)
            parent_stop_child(&p->children[i], true, HURRY_MS);
}

void
parent_on_reload_signal(void *ctx, int signo)
{
    struct parent *p = ctx;
    struct tls_server *tls = NULL;
    struct tls_client *client = NULL;
    struct sender_dialin *dialin = NULL;
    struct config *fresh = p->stopping ? NULL : read_files(p, &tls, &client, &dialin);

    (void)signo;
    if (fresh == NULL)
        return;
    config_free(&p->next_config);
    tls_server_free(&p->next_tls);
    tls_client_free(&p->next_tls_client);
    sender_dialin_free(&p->next_dialin);
    p->next_config = fresh;
    p->next_tls = tls;
    p->next_tls_client = client;
    p->next_dialin = dialin;
    if (count_lingering(p) > 0) {
        log_line(LOG_LEVEL_INFO, NULL, "reload-waits",
                 "workers=%u why=\"workers of an earlier reload have sessions\" seconds-at-most=%d",
                 count_lingering(p), HURRY_MS / 1000);
        hurry(p);
    }
    parent_go_on_reloading(p);
}
