/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The parent's part in TLS: it reads the certificates, towards clients and of those whom backends
 * are trusted by, since workers open no file; says what an operator should know of them, at start,
 * reload and once a day; and makes the keys of session tickets, which all workers share, so that a
 * client is resumed by whichever it meets.
 *
 * A ticket key is the current one for ROTATE_MS and known for as long again: a ticket is good for
 * ROTATE_MS at least, which is the lifetime that clients are told.  Keys outlive a reload, not the
 * parent.
 */
#include "relayd/parent_private.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "net/tls_client.h"
#include "net/tls_server.h"

#define ROTATE_MS (12 * 3600 * 1000LL)
#define DAY_MS (24 * 3600 * 1000LL)

static_assert(sizeof(struct tls_ticket_keys) == 3 * (16 + 32 + 32), "RELAYD_TICKET_KEYS is dense");

/* --- Certificates. */

int
parent_tls_load(const struct config *c, struct buf *problems, struct tls_server **tls)
{
    *tls = NULL;
    if (c->tls_certificate.count == 0)
        return ERR_OK;
    return tls_server_new(c->hostname, c->tls_certificate.items, c->tls_key.items,
                          c->tls_certificate.count, ROTATE_MS, problems, tls);
}

int
parent_tls_load_client(const struct config *c, struct buf *problems, struct tls_client **tls)
{
    return tls_client_new(c->backend_ca_file, problems, tls);
}

static void
warn_if_unreadable(const struct config *c, const char *key, struct buf *warnings)
{
    int fd = open(key, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd >= 0)
        close(fd);
    else
        buf_printf(warnings,
                   "tls-key %s: user %s cannot read it (%s), so a reload will be refused; let that "
                   "user read it (its group, or an access control list)\n",
                   key, c->user, strerror(errno));
}

void
parent_tls_warnings(const struct config *c, const struct tls_server *tls, int64_t wall_ms,
                    struct buf *warnings)
{
    if (tls == NULL)
        return;
    tls_server_warnings(tls, wall_ms, warnings);
    for (size_t i = 0; i < c->tls_key.count; i++)
        warn_if_unreadable(c, c->tls_key.items[i], warnings);
}

void
parent_tls_log_warnings(struct parent *p, int64_t wall_ms)
{
    struct buf warnings;
    struct slice rest;

    p->warned_day = wall_ms / DAY_MS;
    buf_init(&warnings, 0);
    parent_tls_warnings(p->config, p->tls, wall_ms, &warnings);
    for (rest = buf_slice(&warnings); rest.n > 0;) {
        struct slice line = slice_split(&rest, '\n');

        log_line(LOG_LEVEL_WARN, NULL, "certificate-warning", "text=\"%.*s\"", (int)line.n, line.p);
    }
    buf_fini(&warnings);
}

/* --- Ticket keys. */

void
parent_send_ticket_keys(struct child *worker)
{
    struct tls_ticket_keys *keys = &worker->parent->ticket_keys;

    if (worker->channel &&
        channel_send(worker->channel, RELAYD_TICKET_KEYS,
                     (struct slice){(const char *)keys, sizeof *keys}, NULL, 0) < 0)
        log_line(LOG_LEVEL_WARN, NULL, "ticket-keys-not-sent",
                 "worker=%u effect=\"it resumes fewer sessions\"", worker->index);
}

void
parent_tls_tick(struct parent *p, int64_t monotonic_ms, int64_t wall_ms)
{
    if (p->ticket_rotate_at_ms == 0)
        p->ticket_rotate_at_ms = monotonic_ms + ROTATE_MS;
    if (monotonic_ms >= p->ticket_rotate_at_ms) {
        p->ticket_rotate_at_ms = monotonic_ms + ROTATE_MS;
        tls_ticket_keys_rotate(&p->ticket_keys);
        parent_each_worker(p, parent_send_ticket_keys);
    }
    if (wall_ms / DAY_MS != p->warned_day)
        parent_tls_log_warnings(p, wall_ms);
}

void
parent_tls_forget(struct parent *p, enum child_kind kind)
{
    explicit_bzero(&p->ticket_keys, sizeof p->ticket_keys); /* a worker is sent its copy */
    tls_server_free(&p->next_tls);
    tls_client_free(&p->next_tls_client);
    if (kind == CHILD_WORKER)
        return;
    tls_server_free(&p->tls);
    tls_client_free(&p->tls_client);
}
