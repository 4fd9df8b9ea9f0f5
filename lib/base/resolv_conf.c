/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Line by line; what does not parse is passed over, as libc does.
 */
#include "base/resolv_conf.h"

#include <stdio.h>

#define DNS_PORT 53

static bool
is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* The first word of a text; the rest behind it. */
static struct slice
take_word(struct slice *rest)
{
    struct slice word;

    while (rest->n > 0 && is_blank(*rest->p)) {
        rest->p++;
        rest->n--;
    }
    word = (struct slice){rest->p, 0};
    while (word.n < rest->n && !is_blank(word.p[word.n]))
        word.n++;
    rest->p += word.n;
    rest->n -= word.n;
    return word;
}

static bool
take_address(struct slice address, struct inet_endpoint *e)
{
    char text[INET_ENDPOINT_SIZE], bracketed[INET_ENDPOINT_SIZE + 2];

    if (!slice_to_text(address, text, sizeof text))
        return false;
    snprintf(bracketed, sizeof bracketed, strchr(text, ':') ? "[%s]" : "%s", text);
    return inet_endpoint_parse(slice_of(bracketed), DNS_PORT, e) == ERR_OK && e->port == DNS_PORT;
}

int
resolv_conf_first(struct slice text, struct inet_endpoint *nameserver)
{
    while (text.p != NULL) {
        struct slice line = slice_split(&text, '\n');

        if (slice_equal(take_word(&line), SLICE("nameserver")) &&
            take_address(take_word(&line), nameserver))
            return ERR_OK;
    }
    return ERR_NOT_FOUND;
}
