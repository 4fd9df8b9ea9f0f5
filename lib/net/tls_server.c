/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Contexts by name.  Two names with the same certificates share a context.  Tickets belong to the
 * context that a connection begins with (the host name's), so one callback serves all names.
 */
#include "net/tls_server.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <strings.h>

#include "base/inet.h"
#include "net/tls.h"
#include "net/tls_certificate.h"

#define KINDS_MAX 4 /* RSA, EC, ED25519, ED448: one context holds one of each */

struct context {
    SSL_CTX *ctx;
    const struct tls_certificate *picks[KINDS_MAX]; /* in the order of the kinds of `server` */
};

struct named_context {
    const char *name; /* the certificate's, or the host name */
    SSL_CTX *ctx;
};

struct tls_server {
    char *hostname; /* lower case */
    struct tls_certificate **certificates;
    size_t certificate_count;
    const char *kinds[KINDS_MAX];
    size_t kind_count;
    struct context *contexts; /* [0]: the host name's */
    size_t context_count;
    struct named_context *names;
    size_t name_count;
    struct tls_ticket_keys ticket_keys;
    bool has_ticket_keys;
};

/* --- callbacks of OpenSSL --- */

static SSL_CTX *
context_of_name(const struct tls_server *s, const char *name)
{
    for (size_t i = 0; i < s->name_count; i++)
        if (strcmp(s->names[i].name, name) == 0)
            return s->names[i].ctx;
    return NULL;
}

static int
on_server_name(SSL *ssl, int *alert, void *arg)
{
    const struct tls_server *s = arg;
    const char *asked = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name), *dot;
    char name[INET_DOMAIN_SIZE + 1], wildcard[INET_DOMAIN_SIZE + 2] = "*";
    SSL_CTX *ctx;
    size_t n = asked ? strlen(asked) : 0;

    (void)alert;
    if (n == 0 || n >= INET_DOMAIN_SIZE)
        return SSL_TLSEXT_ERR_NOACK;
    for (size_t i = 0; i <= n; i++)
        name[i] = (char)(asked[i] >= 'A' && asked[i] <= 'Z' ? asked[i] + 32 : asked[i]);
    ctx = context_of_name(s, name);
    dot = strchr(name, '.');
    if (ctx == NULL && dot) {
        memcpy(wildcard + 1, dot, strlen(dot) + 1);
        ctx = context_of_name(s, wildcard);
    }
    if (ctx == NULL)
        return SSL_TLSEXT_ERR_NOACK;
    SSL_set_SSL_CTX(ssl, ctx);
    return SSL_TLSEXT_ERR_OK;
}

static int
on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
          EVP_MAC_CTX *mac, int encrypting)
{
    const struct tls_server *s = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

    if (!s->has_ticket_keys)
        return 0;
    return tls_ticket_crypt(&s->ticket_keys, name, iv, cipher, mac, encrypting);
}

/* --- building --- */

static int
add_kind(struct tls_server *s, const char *kind)
{
    for (size_t i = 0; i < s->kind_count; i++)
        if (strcmp(s->kinds[i], kind) == 0)
            return ERR_OK;
    if (s->kind_count == KINDS_MAX)
        return ERR_LIMIT;
    s->kinds[s->kind_count++] = kind;
    return ERR_OK;
}

/* The first of the kind that is for the name, else the first of the kind. */
static const struct tls_certificate *
pick(const struct tls_server *s, const char *kind, const char *name)
{
    const struct tls_certificate *other = NULL;

    for (size_t i = 0; i < s->certificate_count; i++) {
        const struct tls_certificate *c = s->certificates[i];

        if (strcmp(tls_certificate_kind(c), kind) != 0)
            continue;
        if (tls_certificate_is_for(c, name))
            return c;
        if (other == NULL)
            other = c;
    }
    return other;
}

static int
make_context(struct tls_server *s, struct context *c, int64_t ticket_lifetime_ms,
             struct buf *problems)
{
    static const unsigned char id[] = "postern";

    c->ctx = tls_context_new(true);
    SSL_CTX_set_app_data(c->ctx, s);
    SSL_CTX_set_session_cache_mode(c->ctx, SSL_SESS_CACHE_OFF);
    CHECK(SSL_CTX_set_session_id_context(c->ctx, id, sizeof id - 1) == 1);
    SSL_CTX_set_timeout(c->ctx, (long)(ticket_lifetime_ms / 1000));
    SSL_CTX_set_num_tickets(c->ctx, 1);
    SSL_CTX_set_tlsext_ticket_key_evp_cb(c->ctx, on_ticket);
    SSL_CTX_set_tlsext_servername_callback(c->ctx, on_server_name);
    SSL_CTX_set_tlsext_servername_arg(c->ctx, s);
    for (size_t k = 0; k < s->kind_count; k++)
        if (tls_certificate_use(c->picks[k], c->ctx, problems) < 0)
            return ERR_SYNTAX;
    return ERR_OK;
}

static int
add_name(struct tls_server *s, const char *name, int64_t ticket_lifetime_ms, struct buf *problems)
{
    struct context fresh = {0};
    size_t i;

    if (context_of_name(s, name))
        return ERR_OK;
    for (size_t k = 0; k < s->kind_count; k++)
        fresh.picks[k] = pick(s, s->kinds[k], name);
    for (i = 0; i < s->context_count; i++)
        if (memcmp(s->contexts[i].picks, fresh.picks, sizeof fresh.picks) == 0)
            break;
    if (i == s->context_count) {
        if (make_context(s, &fresh, ticket_lifetime_ms, problems) < 0) {
            SSL_CTX_free(fresh.ctx);
            return ERR_SYNTAX;
        }
        s->contexts = mem_realloc(s->contexts, (s->context_count + 1) * sizeof *s->contexts);
        s->contexts[s->context_count++] = fresh;
    }
    s->names = mem_realloc(s->names, (s->name_count + 1) * sizeof *s->names);
    s->names[s->name_count++] = (struct named_context){name, s->contexts[i].ctx};
    return ERR_OK;
}

static int
load_all(struct tls_server *s, char *const *certificates, char *const *keys, size_t count,
         struct buf *problems)
{
    int rc = ERR_OK, one;

    s->certificates = mem_alloc(count * sizeof *s->certificates);
    for (size_t i = 0; i < count; i++) {
        struct tls_certificate **c = &s->certificates[s->certificate_count];

        one = tls_certificate_load(certificates[i], keys[i], problems, c);
        if (one == ERR_OK && add_kind(s, tls_certificate_kind(*c)) == ERR_OK)
            s->certificate_count++;
        else if (one == ERR_OK) {
            buf_printf(problems, "tls-certificate %s: keys of kind %s are one kind too many\n",
                       certificates[i], tls_certificate_kind(*c));
            tls_certificate_free(c);
            one = ERR_LIMIT;
        }
        if (one < 0)
            rc = one;
    }
    return rc;
}

static int
build(struct tls_server *s, int64_t ticket_lifetime_ms, struct buf *problems)
{
    int rc = add_name(s, s->hostname, ticket_lifetime_ms, problems);

    for (size_t i = 0; i < s->certificate_count && rc == ERR_OK; i++)
        for (size_t n = 0; n < tls_certificate_name_count(s->certificates[i]) && rc == ERR_OK; n++)
            rc = add_name(s, tls_certificate_name(s->certificates[i], n), ticket_lifetime_ms,
                          problems);
    return rc;
}

int
tls_server_new(const char *hostname, char *const *certificates, char *const *keys, size_t count,
               int64_t ticket_lifetime_ms, struct buf *problems, struct tls_server **server)
{
    struct tls_server *s = mem_alloc(sizeof *s);
    int rc;

    CHECK(count > 0);
    *server = NULL;
    s->hostname = mem_strdup(hostname);
    for (char *p = s->hostname; *p; p++)
        *p = (char)(*p >= 'A' && *p <= 'Z' ? *p + 32 : *p);
    rc = load_all(s, certificates, keys, count, problems);
    if (rc == ERR_OK)
        rc = build(s, ticket_lifetime_ms, problems);
    if (rc < 0)
        tls_server_free(&s);
    *server = s;
    return rc;
}

void
tls_server_free(struct tls_server **server)
{
    struct tls_server *s = *server;

    *server = NULL;
    if (s == NULL)
        return;
    for (size_t i = 0; i < s->context_count; i++)
        SSL_CTX_free(s->contexts[i].ctx);
    for (size_t i = 0; i < s->certificate_count; i++)
        tls_certificate_free(&s->certificates[i]);
    OPENSSL_cleanse(&s->ticket_keys, sizeof s->ticket_keys);
    free(s->contexts);
    free(s->names);
    free(s->certificates);
    free(s->hostname);
    free(s);
}

/* --- use --- */

void
tls_server_set_ticket_keys(struct tls_server *s, const struct tls_ticket_keys *keys)
{
    s->ticket_keys = *keys;
    s->has_ticket_keys = true;
}

SSL *
tls_server_ssl(struct tls_server *s)
{
    SSL *ssl = SSL_new(s->contexts[0].ctx);

    if (ssl)
        SSL_set_accept_state(ssl);
    else
        ERR_clear_error();
    return ssl;
}

void
tls_server_warnings(const struct tls_server *s, int64_t wall_ms, struct buf *warnings)
{
    tls_certificates_warnings(s->certificates, s->certificate_count, s->hostname, wall_ms,
                              warnings);
}
