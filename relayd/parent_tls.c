/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The parent's part in TLS towards clients: reads the certificates that the configuration names
 * (workers open no file) and says what an operator should know of them.
 */
#include "relayd/parent_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "net/tls_server.h"

#define TICKET_LIFETIME_MS (12 * 3600 * 1000LL)

int
parent_tls_load(const struct config *c, struct buf *problems, struct tls_server **tls)
{
    *tls = NULL;
    if (c->tls_certificate.count == 0)
        return ERR_OK;
    return tls_server_new(c->hostname, c->tls_certificate.items, c->tls_key.items,
                          c->tls_certificate.count, TICKET_LIFETIME_MS, problems, tls);
}

void
parent_tls_log_warnings(const struct tls_server *tls)
{
    struct buf warnings;
    struct slice rest;

    if (tls == NULL)
        return;
    buf_init(&warnings, 0);
    tls_server_warnings(tls, clock_wall_ms(), &warnings);
    for (rest = buf_slice(&warnings); rest.n > 0;) {
        struct slice line = slice_split(&rest, '\n');

        log_line(LOG_LEVEL_WARN, NULL, "certificate-warning", "text=\"%.*s\"", (int)line.n, line.p);
    }
    buf_fini(&warnings);
}
