/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A name is "!N.x" to the library: no name of DNS has an exclamation mark first, and the dot keeps
 * its warnings down.  An address is its difference from the client's, an IPv4 address in the last
 * 32 bits: that leaves every match of a prefix as it was, and the client is always "::".  So 127/8
 * and ::1, which pass in the library without being judged, are no more than any address.
 *
 * Records are handed to its compiler directly: its own way asks for the type SPF (99) first, then
 * looks through the TXT records, which we have done.  One request serves all runs, since nothing in
 * it changes but the client.
 *
 * It aborts when memory ends and when a look-up returns NULL; so does this process for its own.
 */
#include "spf/spf_library.h"

#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>

#define HAVE_NS_TYPE 1
#include <spf2/spf.h>
#include <spf2/spf_dns_rr.h>

#define FIRST_NAME "!0.x"
#define NAME_SIZE 24
#define DIGITS_SIZE 12

static SPF_server_t *server;
static SPF_request_t *request;

static struct {
    const struct spf_library_ops *ops;
    void *ctx;
    const struct inet_endpoint *client;
} current;

/* Returns its length. */
static size_t
write_number(unsigned number, char dst[DIGITS_SIZE])
{
    char digits[DIGITS_SIZE];
    size_t n = 0;

    do
        digits[n++] = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    for (size_t i = 0; i < n; i++)
        dst[i] = digits[n - 1 - i];
    return n;
}

static size_t
write_name(unsigned number, char dst[NAME_SIZE])
{
    size_t n = 1;

    dst[0] = '!';
    n += write_number(number, dst + n);
    memcpy(dst + n, ".x", sizeof ".x");
    return n + strlen(".x");
}

static bool
read_name(const char *name, unsigned *number)
{
    char *end;

    if (name[0] != '!')
        return false;
    *number = (unsigned)strtoul(name + 1, &end, 10);
    return strcmp(end, ".x") == 0;
}

/* --- Answers. */

static SPF_dns_rr_t *
answer_new(SPF_dns_server_t *dns, const char *name, ns_type type, enum spf_find find)
{
    static const SPF_dns_stat_t codes[] = {
        [SPF_FIND_OK] = NETDB_SUCCESS, [SPF_FIND_NOTHING] = NO_DATA, [SPF_FIND_STOP] = TRY_AGAIN};
    SPF_dns_rr_t *rr = SPF_dns_rr_new_init(dns, name, type, 0, codes[find]);

    CHECK(rr != NULL);
    return rr;
}

static void *
add_item(SPF_dns_rr_t *rr, size_t size)
{
    SPF_errcode_t err = SPF_dns_rr_buf_realloc(rr, rr->num_rr, size);

    CHECK(err == SPF_E_SUCCESS);
    return rr->rr[rr->num_rr++];
}

static SPF_dns_rr_t *
find_hosts(SPF_dns_server_t *dns, const char *name, unsigned number)
{
    struct spf_hosts hosts = {0};
    enum spf_find find = current.ops->hosts(current.ctx, number, &hosts);
    SPF_dns_rr_t *rr = answer_new(dns, name, ns_t_mx, find);

    for (unsigned i = 0; find == SPF_FIND_OK && i < hosts.count; i++)
        (void)write_name(hosts.items[i], add_item(rr, NAME_SIZE));
    return rr;
}

static struct in6_addr
difference(const uint8_t *address)
{
    size_t size = current.client->family == 4 ? 4 : 16;
    struct in6_addr d = {.s6_addr = {0}};

    for (size_t i = 0; i < size; i++)
        d.s6_addr[16 - size + i] = address[i] ^ current.client->addr[i];
    return d;
}

/* Type A is asked for "exists" alone: that there is an address is all that counts. */
static SPF_dns_rr_t *
find_addresses(SPF_dns_server_t *dns, const char *name, ns_type type, unsigned number)
{
    size_t size = type == ns_t_a ? sizeof(struct in_addr) : sizeof(struct in6_addr);
    struct spf_addresses addresses;
    enum spf_find find;
    SPF_dns_rr_t *rr;

    addresses.count = 0;
    find = current.ops->addresses(current.ctx, number, &addresses);
    rr = answer_new(dns, name, type, find);
    for (unsigned i = 0; find == SPF_FIND_OK && i < addresses.count; i++) {
        struct in6_addr d = difference(addresses.items[i]);

        memcpy(add_item(rr, size), &d, size);
    }
    return rr;
}

static SPF_dns_rr_t *
on_lookup(SPF_dns_server_t *dns, const char *name, ns_type type, int should_cache)
{
    unsigned number;

    (void)should_cache;
    if (!read_name(name, &number))
        return answer_new(dns, name, type, SPF_FIND_NOTHING);
    if (type == ns_t_mx)
        return find_hosts(dns, name, number);
    if (type == ns_t_a || type == ns_t_aaaa)
        return find_addresses(dns, name, type, number);
    return answer_new(dns, name, type, SPF_FIND_NOTHING);
}

/* The compiled record of the request's current name. */
static SPF_errcode_t
on_record(SPF_server_t *s, SPF_request_t *r, SPF_response_t *response, SPF_record_t **record)
{
    const char *text;
    unsigned number;

    if (!read_name(r->cur_dom, &number) ||
        current.ops->record(current.ctx, number, &text) != SPF_FIND_OK)
        return SPF_E_DNS_ERROR;
    return SPF_record_compile(s, response, record, text);
}

/* There is no explanation to be had. */
static SPF_errcode_t
on_explanation(SPF_server_t *s, const char *name, char **text, size_t *size)
{
    (void)s;
    (void)name;
    (void)text;
    (void)size;
    return SPF_E_NOT_SPF;
}

/* --- The library's state. */

static SPF_dns_server_t resolver = {
    .lookup = on_lookup,
    .get_spf = on_record,
    .get_exp = on_explanation,
    .name = "postern",
};

static void
open_library(void)
{
    SPF_response_t *response = NULL;
    SPF_errcode_t err;

    server = SPF_server_new_dns(&resolver, 0);
    CHECK(server != NULL);
    err = SPF_server_set_rec_dom(server, FIRST_NAME);
    CHECK(err == SPF_E_SUCCESS);
    err = SPF_server_set_explanation(server, "-", &response);
    CHECK(err == SPF_E_SUCCESS);
    SPF_response_free(response);
    (void)SPF_server_set_max_dns_mech(server, 1000); /* counted by us, over the whole tree */
    (void)SPF_server_set_max_dns_mx(server, SPF_LIBRARY_HOSTS_MAX);
    request = SPF_request_new(server);
    CHECK(request != NULL);
    err = SPF_request_set_ipv6(request, in6addr_any);
    CHECK(err == SPF_E_SUCCESS);
    err = SPF_request_set_helo_dom(request, FIRST_NAME);
    CHECK(err == SPF_E_SUCCESS);
    err = (SPF_errcode_t)SPF_request_set_env_from(request, "x@" FIRST_NAME);
    CHECK(err == SPF_E_SUCCESS);
}

void
spf_library_close(void)
{
    if (server == NULL)
        return;
    SPF_request_free(request);
    SPF_server_free(server);
    request = NULL;
    server = NULL;
}

/* --- Records for it. */

void
spf_library_put_version(struct buf *record)
{
    buf_add_text(record, "v=spf1");
}

void
spf_library_put(struct buf *record, char qualifier, const char *name, unsigned number,
                unsigned bits)
{
    char head[2] = {' ', qualifier}, text[NAME_SIZE];

    buf_add(record, head, sizeof head);
    buf_add_text(record, name);
    buf_add_text(record, ":");
    buf_add(record, text, write_name(number, text));
    if (bits >= SPF_LIBRARY_BITS)
        return;
    buf_add_text(record, "//");
    buf_add(record, text, write_number(bits, text));
}

void
spf_library_put_redirect(struct buf *record, unsigned number)
{
    char text[NAME_SIZE];

    buf_add_text(record, " redirect=");
    buf_add(record, text, write_name(number, text));
}

/* --- A run. */

static enum spf_ended
read_response(SPF_response_t *response, enum spf_verdict *verdict)
{
    if (SPF_response_errcode(response) != SPF_E_SUCCESS)
        return SPF_ENDED_ERROR;
    switch (SPF_response_result(response)) {
    case SPF_RESULT_NEUTRAL:
        *verdict = SPF_NEUTRAL;
        break;
    case SPF_RESULT_PASS:
        *verdict = SPF_PASS;
        break;
    case SPF_RESULT_FAIL:
        *verdict = SPF_FAIL;
        break;
    case SPF_RESULT_SOFTFAIL:
        *verdict = SPF_SOFTFAIL;
        break;
    case SPF_RESULT_INVALID:
    case SPF_RESULT_NONE:
    case SPF_RESULT_TEMPERROR:
    case SPF_RESULT_PERMERROR:
        return SPF_ENDED_ERROR;
    }
    return SPF_response_reason(response) == SPF_REASON_MECH ? SPF_ENDED_MATCH : SPF_ENDED_DEFAULT;
}

enum spf_ended
spf_library_run(const struct inet_endpoint *client, const struct spf_library_ops *ops, void *ctx,
                enum spf_verdict *verdict)
{
    SPF_response_t *response = NULL;
    enum spf_ended ended;

    if (server == NULL)
        open_library();
    current.client = client;
    current.ops = ops;
    current.ctx = ctx;
    (void)SPF_request_query_mailfrom(request, &response);
    CHECK(response != NULL);
    ended = read_response(response, verdict);
    SPF_response_free(response);
    return ended;
}
