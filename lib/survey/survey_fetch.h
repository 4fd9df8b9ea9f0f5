/* SPDX-License-Identifier: BSD-2-Clause
 *
 * One page over HTTPS, as RFC 8461 3.3 wants a policy fetched: a certificate for the host's name by
 * an authority that is trusted, status 200, no redirection followed.
 */
#ifndef SURVEY_FETCH_H
#define SURVEY_FETCH_H

#include "net/loop.h"
#include "net/tls_client.h"
#include "survey/survey.h"

#define SURVEY_FETCH_MAX (64 * 1024) /* octets of an answer */

struct survey_fetch;

/* Ends with one callback, never from inside, if it is cancelled at its deadline by the owner or
 * not at all.  `source` NULL: as the system chooses.  The page is borrowed. */
struct survey_fetch *
survey_fetch_start(struct loop *loop, struct tls_client *tls, const struct inet_endpoint *to,
                   const struct inet_endpoint *source, const char *host, const char *path,
                   void (*on_done)(void *ctx, const struct survey_page *page), void *ctx);
void survey_fetch_cancel(struct survey_fetch **fetch); /* NULL is fine */

/* An answer of HTTP as a page: state, content and why.  Pure. */
void survey_fetch_read(struct slice answer, struct survey_page *page);
/* Is it whole, by its own word (Content-Length)? */
bool survey_fetch_is_whole(struct slice answer);

#endif
