/* SPDX-License-Identifier: BSD-2-Clause
 *
 * One context for all backends; policy, name and session are set for each connection.
 *
 * Sessions lie in a small table, the newest of each (endpoint, name, verified or not); a full table
 * loses the oldest.  A session that was made without verifying is never offered where verifying is
 * asked, since a resumed handshake shows no certificate.
 */
#include "net/tls_client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "net/tls.h"

#define SESSIONS_MAX 256

struct kept_session {
    struct inet_endpoint endpoint;
    char name[INET_DOMAIN_SIZE];
    bool is_verified;
    uint64_t used; /* 0: the row is free */
    SSL_SESSION *session;
};

struct tls_client {
    SSL_CTX *ctx;
    uint64_t clock;
    size_t count; /* rows in use, or once used */
    struct kept_session sessions[SESSIONS_MAX];
};

/* --- policies --- */

static const char *const policy_texts[] = {
    [TLS_POLICY_NONE] = "none",
    [TLS_POLICY_MAY] = "may",
    [TLS_POLICY_ENCRYPT] = "encrypt",
    [TLS_POLICY_VERIFY] = "verify",
};

const char *
tls_policy_text(enum tls_policy policy)
{
    CHECK((size_t)policy < ARRAY_SIZE(policy_texts));
    return policy_texts[policy];
}

int
tls_policy_parse(struct slice text, enum tls_policy *policy)
{
    for (size_t i = 0; i < ARRAY_SIZE(policy_texts); i++)
        if (slice_equal_nocase(text, slice_of(policy_texts[i]))) {
            *policy = (enum tls_policy)i;
            return ERR_OK;
        }
    return ERR_SYNTAX;
}

/* --- sessions --- */

/* What a connection's session will be kept under; owned by the SSL (ex_data). */
struct session_key {
    struct tls_client *client;
    struct inet_endpoint endpoint;
    char name[INET_DOMAIN_SIZE];
    bool is_verified;
};

static void
free_key(void *parent, void *key, CRYPTO_EX_DATA *ad, int index, long argl, void *argp)
{
    (void)parent;
    (void)ad;
    (void)index;
    (void)argl;
    (void)argp;
    free(key);
}

static int
key_index(void)
{
    static int index = -1;

    if (index < 0)
        index = SSL_get_ex_new_index(0, NULL, NULL, NULL, free_key);
    CHECK(index >= 0);
    return index;
}

static struct kept_session *
find_session(struct tls_client *client, const struct session_key *key)
{
    for (size_t i = 0; i < client->count; i++) {
        struct kept_session *k = &client->sessions[i];

        if (k->session && k->is_verified == key->is_verified && strcmp(k->name, key->name) == 0 &&
            inet_endpoint_equal(&k->endpoint, &key->endpoint))
            return k;
    }
    return NULL;
}

static struct kept_session *
row_for(struct tls_client *client, const struct session_key *key)
{
    struct kept_session *row = find_session(client, key);

    if (row == NULL && client->count < SESSIONS_MAX)
        row = &client->sessions[client->count++];
    if (row == NULL) {
        row = &client->sessions[0];
        for (size_t i = 1; i < client->count; i++)
            if (client->sessions[i].used < row->used)
                row = &client->sessions[i];
    }
    row->endpoint = key->endpoint;
    row->is_verified = key->is_verified;
    memcpy(row->name, key->name, sizeof row->name);
    return row;
}

/* OpenSSL hands over its reference when this returns 1. */
static int
on_new_session(SSL *ssl, SSL_SESSION *session)
{
    const struct session_key *key = SSL_get_ex_data(ssl, key_index());
    struct kept_session *row = row_for(key->client, key);

    SSL_SESSION_free(row->session);
    row->session = session;
    row->used = ++key->client->clock;
    return 1;
}

static void
offer_session(struct tls_client *client, SSL *ssl, const struct session_key *key)
{
    struct kept_session *row = find_session(client, key);

    if (row == NULL || !SSL_SESSION_is_resumable(row->session))
        return;
    row->used = ++client->clock;
    SSL_set_session(ssl, row->session);
}

/* --- connections --- */

static void
expect_name(SSL *ssl, const char *name, const struct inet_endpoint *endpoint)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    char address[INET_ENDPOINT_SIZE];

    if (name == NULL)
        name = inet_address_text(endpoint, address);
    if (X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1)
        return;
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    CHECK(X509_VERIFY_PARAM_set1_host(param, name, 0) == 1);
}

static bool
is_address(const char *name)
{
    unsigned char octets[16];

    return inet_pton(AF_INET, name, octets) == 1 || inet_pton(AF_INET6, name, octets) == 1;
}

SSL *
tls_client_ssl(struct tls_client *client, enum tls_policy policy, const char *name,
               const struct inet_endpoint *endpoint)
{
    struct session_key *key = mem_alloc(sizeof *key);
    SSL *ssl = SSL_new(client->ctx);

    CHECK(ssl != NULL && policy != TLS_POLICY_NONE);
    key->client = client;
    key->endpoint = *endpoint;
    key->is_verified = policy == TLS_POLICY_VERIFY;
    if (name && !slice_to_text(slice_of(name), key->name, sizeof key->name))
        key->name[0] = '\0';
    CHECK(SSL_set_ex_data(ssl, key_index(), key) == 1);
    SSL_set_connect_state(ssl);
    if (name && !is_address(name))
        SSL_set_tlsext_host_name(ssl, name);
    if (policy == TLS_POLICY_VERIFY) {
        SSL_set_verify(ssl, SSL_VERIFY_PEER, NULL);
        expect_name(ssl, name, endpoint);
    }
    offer_session(client, ssl, key);
    return ssl;
}

/* --- life --- */

/* Files only: folders of hashed names would be read at each check, when nothing may be opened. A
 * file that the environment names stands for the system's, as it does with OpenSSL itself. */
static void
load_system_store(SSL_CTX *ctx)
{
    const char *named = getenv(X509_get_default_cert_file_env());
    const char *files[] = {named ? named : "/etc/ssl/certs/ca-certificates.crt",
                           named ? NULL : X509_get_default_cert_file()};

    for (size_t i = 0; i < ARRAY_SIZE(files); i++)
        if (files[i] && SSL_CTX_load_verify_file(ctx, files[i]) == 1)
            return;
    ERR_clear_error();
}

static int
load_authorities(SSL_CTX *ctx, const char *ca_file, struct buf *problems)
{
    char text[TLS_ERROR_SIZE];

    if (ca_file[0] == '\0') {
        load_system_store(ctx);
        return ERR_OK;
    }
    errno = 0;
    if (SSL_CTX_load_verify_file(ctx, ca_file) == 1)
        return ERR_OK;
    buf_printf(problems,
               "%s: no trusted certificates can be read from it: %s; name a readable file with "
               "PEM certificates\n",
               ca_file, errno ? strerror(errno) : tls_error_text(text));
    return errno ? ERR_IO : ERR_SYNTAX;
}

int
tls_client_new(const char *ca_file, struct buf *problems, struct tls_client **client)
{
    struct tls_client *c = mem_alloc(sizeof *c);
    int rc;

    *client = NULL;
    c->ctx = tls_context_new(false);
    rc = load_authorities(c->ctx, ca_file, problems);
    if (rc < 0) {
        tls_client_free(&c);
        return rc;
    }
    SSL_CTX_set_verify(c->ctx, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_session_cache_mode(c->ctx,
                                   SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
    SSL_CTX_sess_set_new_cb(c->ctx, on_new_session);
    *client = c;
    return ERR_OK;
}

void
tls_client_free(struct tls_client **client)
{
    struct tls_client *c = *client;

    *client = NULL;
    if (c == NULL)
        return;
    for (size_t i = 0; i < c->count; i++)
        SSL_SESSION_free(c->sessions[i].session);
    SSL_CTX_free(c->ctx);
    free(c);
}
