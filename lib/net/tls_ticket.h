/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The keys of session tickets (RFC 5077, RFC 8446 4.6.1), so that a client that comes back is
 * resumed by whichever worker it meets.  The parent makes and rotates them and hands the set to its
 * workers.  Three keys: a worker that has not heard of a rotation yet knows the new key already
 * (`next`), and tickets live through one rotation (`previous`).  A plain value.
 */
#ifndef NET_TLS_TICKET_H
#define NET_TLS_TICKET_H

#include <openssl/types.h>
#include <stdint.h>

struct tls_ticket_key {
    uint8_t name[16];
    uint8_t cipher[32]; /* AES-256-CBC */
    uint8_t mac[32];    /* HMAC-SHA-256 */
};

enum tls_ticket_slot { TLS_TICKET_NEXT, TLS_TICKET_CURRENT, TLS_TICKET_PREVIOUS };

struct tls_ticket_keys {
    struct tls_ticket_key keys[TLS_TICKET_PREVIOUS + 1];
};

void tls_ticket_keys_make(struct tls_ticket_keys *keys);
void tls_ticket_keys_rotate(struct tls_ticket_keys *keys); /* forgets the previous one */

/* For SSL_CTX_set_tlsext_ticket_key_evp_cb; returns what that wants: 1 use it, 2 use it and give
 * the client a new one, 0 no such key, -1 failure. */
#define TLS_TICKET_IV_SIZE 16
int tls_ticket_crypt(const struct tls_ticket_keys *keys, unsigned char name[16], unsigned char *iv,
                     EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int encrypting);

#endif
