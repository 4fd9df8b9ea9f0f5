/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Two batches: one that is filled, one that the committer's thread writes.  The routes of domains
 * are numbers like all routes: places in a table, which another domain gets when nothing is queued
 * under it any more.
 */
#include "config.h"

#include "spoolmgr/own.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/outbound.h"
#include "base/test_value.h"
#include "spoolmgr/keeper.h"

#define CONNECTIONS 4 /* to one host, at once */
#define SMTP_PORT 25

struct waiting {
    struct waiting *next;
    own_on_written on_written;
    void *ctx;
};

struct batch {
    struct spool_own *mails; /* NULL: none */
    struct waiting *first, **last;
};

struct own {
    struct keeper *keeper;
    struct outbound outbound;
    enum outbound_tls tls;
    struct outbound_credentials secrets;
    struct smtp_credentials credentials; /* user NULL: none */
    int dir_fd;
    struct batch filling, writing;
    bool is_due;
    char **domains; /* by the number of their route */
    size_t domain_count;
};

/* --- Into the spool. */

static void
batch_init(struct batch *b)
{
    *b = (struct batch){.mails = NULL};
    b->last = &b->first;
}

static void
batch_drop(struct batch *b)
{
    while (b->first != NULL) {
        struct waiting *w = b->first;

        b->first = w->next;
        free(w);
    }
    spool_own_free(&b->mails);
}

static void
start(void *ctx)
{
    struct own *own = ctx;

    own->is_due = false;
    if (own->writing.mails != NULL || own->filling.mails == NULL)
        return;
    own->writing = own->filling;
    batch_init(&own->filling);
    committer_own(own->keeper->committer, own->writing.mails, own->dir_fd);
}

static void
start_soon(struct own *own)
{
    if (own->is_due)
        return;
    own->is_due = true;
    loop_defer(own->keeper->loop, start, own);
}

void
own_submit(struct keeper *k, const struct spool_envelope *envelope, struct slice content,
           own_on_written on_written, void *ctx)
{
    struct own *own = k->own;
    struct waiting *w = mem_alloc(sizeof *w);

    *w = (struct waiting){NULL, on_written, ctx};
    if (own->filling.mails == NULL)
        own->filling.mails = spool_own_new((uint16_t)k->config->node);
    spool_own_add(own->filling.mails, envelope, content);
    *own->filling.last = w;
    own->filling.last = &w->next;
    start_soon(own);
}

void
own_written(struct keeper *k, int err)
{
    struct own *own = k->own;
    struct batch done = own->writing;

    batch_init(&own->writing);
    while (done.first != NULL) {
        struct waiting *w = done.first;

        done.first = w->next;
        w->on_written(w->ctx, err);
        free(w);
    }
    spool_own_free(&done.mails);
    start_soon(own);
}

bool
own_is_idle(const struct keeper *k)
{
    return k->own->filling.mails == NULL && k->own->writing.mails == NULL;
}

/* --- Its way. */

static bool
is_free(struct keeper *k, size_t number)
{
    const struct schedule_queue *queue = schedule_queue_of(&k->schedule, ROUTE_OWN | number);

    return queue->ready.count + queue->waiting.count + queue->running == 0;
}

/* A number for this domain: the one it has, one that is free, a new one. */
static size_t
number_of(struct own *own, const char *domain)
{
    size_t at = own->domain_count;

    for (size_t i = 0; i < own->domain_count; i++)
        if (strcmp(own->domains[i], domain) == 0)
            return i;
    for (size_t i = 0; i < own->domain_count && at == own->domain_count; i++)
        if (is_free(own->keeper, i))
            at = i;
    if (at == own->domain_count) {
        own->domains = mem_realloc(own->domains, (at + 1) * sizeof *own->domains);
        own->domains[own->domain_count++] = NULL;
    }
    free(own->domains[at]);
    own->domains[at] = mem_strdup(domain);
    return at;
}

uint64_t
own_route(struct keeper *k, const char *domain)
{
    if (k->own->outbound.kind != OUTBOUND_MX)
        return ROUTE_OWN;
    return ROUTE_OWN | number_of(k->own, domain);
}

static struct registry_backend
smarthost(const struct own *own)
{
    struct registry_backend b = {
        .endpoint = own->outbound.endpoint,
        .weight = 1,
        .max_connections = CONNECTIONS,
        .tls = (enum registry_tls)own->tls,
    };

    memcpy(b.host, own->outbound.host, sizeof own->outbound.host);
    return b;
}

static uint16_t
smtp_port(void)
{
    return (uint16_t)test_value("POSTERN_TEST_MX_PORT", SMTP_PORT);
}

static struct registry_backend
hosts_of(const char *domain)
{
    struct registry_backend b = {
        .endpoint = {.port = smtp_port()},
        .weight = 1,
        .max_connections = CONNECTIONS,
        .tls = REGISTRY_TLS_MAY,
        .lookup = REGISTRY_LOOKUP_MX,
    };

    snprintf(b.host, sizeof b.host, "%s", domain);
    return b;
}

unsigned
own_backends(const struct keeper *k, uint64_t route,
             struct registry_backend found[REGISTRY_BACKENDS_MAX])
{
    const struct own *own = k->own;
    size_t number = (size_t)(route & ~ROUTE_OWN);

    switch (own->outbound.kind) {
    case OUTBOUND_NONE:
        return 0;
    case OUTBOUND_MX:
        if (number >= own->domain_count)
            return 0;
        found[0] = hosts_of(own->domains[number]);
        return 1;
    case OUTBOUND_SMARTHOST:
        found[0] = smarthost(own);
        return 1;
    }
    return 0;
}

bool
own_is_missing(const struct keeper *k)
{
    return k->own->outbound.kind == OUTBOUND_NONE;
}

const struct smtp_credentials *
own_credentials(const struct keeper *k)
{
    return k->own->credentials.user ? &k->own->credentials : NULL;
}

/* --- Life. */

static int
read_credentials(struct own *own, const char *path)
{
    const char *wrong = path[0] ? outbound_credentials_read(path, &own->secrets) : NULL;

    if (wrong != NULL) {
        log_line(LOG_LEVEL_ALARM, NULL, "outbound-credentials-unusable",
                 "file=%s why=\"the file %s\" effect=\"spoolmgr does not start\"", path, wrong);
        return ERR_SYNTAX;
    }
    if (path[0] != '\0')
        own->credentials = (struct smtp_credentials){own->secrets.user, own->secrets.password};
    return ERR_OK;
}

int
own_new(struct keeper *k, struct own **own)
{
    const struct config *config = k->config;
    struct own *o = mem_alloc(sizeof *o);

    *own = o;
    o->keeper = k;
    batch_init(&o->filling);
    batch_init(&o->writing);
    /* The configuration has been checked. */
    (void)outbound_parse(config->outbound_route, &o->outbound);
    (void)outbound_tls_parse(config->outbound_tls, &o->tls);
    o->dir_fd = open(config->spool_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (o->outbound.kind == OUTBOUND_NONE)
        log_line(LOG_LEVEL_WARN, NULL, "no-outbound-route",
                 "effect=\"senders are not told of mail that cannot be delivered; it is recorded "
                 "with each message\" remedy=\"set outbound-route to mx or to a smarthost\"");
    return read_credentials(o, config->outbound_credentials);
}

void
own_free(struct own **held)
{
    struct own *own = *held;

    *held = NULL;
    if (own == NULL)
        return;
    batch_drop(&own->filling);
    batch_drop(&own->writing);
    for (size_t i = 0; i < own->domain_count; i++)
        free(own->domains[i]);
    free(own->domains);
    explicit_bzero(&own->secrets, sizeof own->secrets);
    if (own->dir_fd >= 0)
        close(own->dir_fd);
    free(own);
}
