/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Keys of session tickets: a ticket lives through one rotation and no longer, and a process that
 * has not heard of the rotation knows it as well.
 */
#include <criterion/criterion.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <string.h>

#include "net/tls_ticket.h"

struct ticket {
    unsigned char name[16], iv[TLS_TICKET_IV_SIZE], sealed[64];
    int n;
};

static const unsigned char content[] = "the state of a session";

static EVP_MAC_CTX *
new_mac(void)
{
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    EVP_MAC_CTX *ctx = EVP_MAC_CTX_new(mac);

    EVP_MAC_free(mac);
    cr_assert_not_null(ctx);
    return ctx;
}

static struct ticket
seal(const struct tls_ticket_keys *keys)
{
    EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
    EVP_MAC_CTX *mac = new_mac();
    struct ticket t = {0};
    int rest;

    cr_assert_eq(tls_ticket_crypt(keys, t.name, t.iv, cipher, mac, 1), 1);
    cr_assert_eq(EVP_EncryptUpdate(cipher, t.sealed, &t.n, content, sizeof content), 1);
    cr_assert_eq(EVP_EncryptFinal_ex(cipher, t.sealed + t.n, &rest), 1);
    t.n += rest;
    EVP_CIPHER_CTX_free(cipher);
    EVP_MAC_CTX_free(mac);
    return t;
}

/* What tls_ticket_crypt says; where it knows the key the content must come out. */
static int
unseal(const struct tls_ticket_keys *keys, struct ticket t)
{
    EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
    EVP_MAC_CTX *mac = new_mac();
    int said = tls_ticket_crypt(keys, t.name, t.iv, cipher, mac, 0), n, rest;
    unsigned char opened[64];

    if (said > 0) {
        cr_expect_eq(EVP_DecryptUpdate(cipher, opened, &n, t.sealed, t.n), 1);
        cr_expect_eq(EVP_DecryptFinal_ex(cipher, opened + n, &rest), 1);
        cr_expect_eq(memcmp(opened, content, sizeof content), 0);
    }
    EVP_CIPHER_CTX_free(cipher);
    EVP_MAC_CTX_free(mac);
    return said;
}

Test(tls_ticket, lives_through_one_rotation)
{
    struct tls_ticket_keys keys, behind;
    struct ticket old, fresh;

    tls_ticket_keys_make(&keys);
    old = seal(&keys);
    cr_expect_eq(unseal(&keys, old), 1);
    behind = keys;
    tls_ticket_keys_rotate(&keys);
    cr_expect_eq(unseal(&keys, old), 2, "known, and to be renewed");
    fresh = seal(&keys);
    cr_expect_neq(memcmp(fresh.name, old.name, sizeof old.name), 0);
    cr_expect_eq(unseal(&keys, fresh), 1);
    cr_expect_eq(unseal(&behind, fresh), 2, "a worker that has not heard of the rotation");
    tls_ticket_keys_rotate(&keys);
    cr_expect_eq(unseal(&keys, old), 0, "forgotten");
    cr_expect_eq(unseal(&keys, fresh), 2);
}

Test(tls_ticket, of_others_is_unknown)
{
    struct tls_ticket_keys ours, theirs;

    tls_ticket_keys_make(&ours);
    tls_ticket_keys_make(&theirs);
    cr_expect_eq(unseal(&ours, seal(&theirs)), 0);
    cr_expect_neq(memcmp(&ours.keys[0], &ours.keys[1], sizeof ours.keys[0]), 0);
}
