/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What strangers say of themselves: the argument of HELO, and the name of an address.  A name that
 * comes out is a host's; the patterns end whatever the name is.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "sender/sender_dialin.h"
#include "sender/sender_helo.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
try_helo(const char *text, size_t size, const struct inet_endpoint *client)
{
    static char hostname[] = "mx1.isp.example";
    static const struct inet_endpoint local = {.family = 4, .addr = {198, 51, 100, 1}};
    struct config config = {.hostname = hostname};
    char name[INET_DOMAIN_SIZE];
    enum sender_helo helo =
        sender_helo_of((struct slice){text, size}, &config, client, &local, name);

    CHECK(strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") == strlen(name));
    CHECK((helo == SENDER_HELO_HOST) <= (strchr(name, '.') != NULL));
    CHECK(sender_helo_text(helo)[0] != '\0');
}

static void
try_name(const char *text, size_t size, const struct inet_endpoint *client)
{
    static struct sender_dialin *patterns;
    struct buf problems;
    char *name = mem_alloc(size + 1);

    if (patterns == NULL) {
        buf_init(&problems, 0);
        CHECK(sender_dialin_load("", &problems, &patterns) == ERR_OK);
        buf_fini(&problems);
    }
    memcpy(name, text, size);
    (void)sender_dialin_match(patterns, name, client);
    free(name);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct inet_endpoint client = {.family = 4};

    if (size < 17)
        return 0;
    client.family = data[0] & 1 ? 6 : 4;
    memcpy(client.addr, data + 1, client.family == 4 ? 4 : 16);
    try_helo((const char *)data + 17, size - 17, &client);
    try_name((const char *)data + 17, size - 17, &client);
    return 0;
}
