/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Ticket keys: random, never derived from one another, so that a key that leaks opens the tickets
 * of its own time alone.
 */
#include "net/tls_ticket.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <string.h>

#include "base/err.h"

static void
make_key(struct tls_ticket_key *key)
{
    CHECK(RAND_priv_bytes((unsigned char *)key, sizeof *key) == 1);
}

void
tls_ticket_keys_make(struct tls_ticket_keys *keys)
{
    for (size_t i = 0; i < ARRAY_SIZE(keys->keys); i++)
        make_key(&keys->keys[i]);
}

void
tls_ticket_keys_rotate(struct tls_ticket_keys *keys)
{
    keys->keys[TLS_TICKET_PREVIOUS] = keys->keys[TLS_TICKET_CURRENT];
    keys->keys[TLS_TICKET_CURRENT] = keys->keys[TLS_TICKET_NEXT];
    make_key(&keys->keys[TLS_TICKET_NEXT]);
}

static int
set_up(const struct tls_ticket_key *key, unsigned char *iv, EVP_CIPHER_CTX *cipher,
       EVP_MAC_CTX *mac, int encrypting)
{
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)key->mac, sizeof key->mac),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };

    return EVP_MAC_CTX_set_params(mac, params) == 1 &&
           EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->cipher, iv, encrypting) == 1;
}

int
tls_ticket_crypt(const struct tls_ticket_keys *keys, unsigned char name[16], unsigned char *iv,
                 EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int encrypting)
{
    const struct tls_ticket_key *current = &keys->keys[TLS_TICKET_CURRENT];

    if (encrypting) {
        memcpy(name, current->name, sizeof current->name);
        if (RAND_bytes(iv, TLS_TICKET_IV_SIZE) != 1)
            return -1;
        return set_up(current, iv, cipher, mac, 1) ? 1 : -1;
    }
    for (size_t i = 0; i < ARRAY_SIZE(keys->keys); i++) {
        const struct tls_ticket_key *key = &keys->keys[i];

        if (CRYPTO_memcmp(key->name, name, sizeof key->name) != 0)
            continue;
        if (!set_up(key, iv, cipher, mac, 0))
            return -1;
        return key == current ? 1 : 2;
    }
    return 0;
}
