/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Says, in a node's shared table, that a worker is working on a message, as it would itself for the
 * moments in which it could die of it:
 *
 *      shared_probe RUN-DIR/shared COLUMN CLIENT-ADDRESS REVERSE-PATH FIRST-RCPT
 */
#include <stdio.h>
#include <stdlib.h>

#include "state/shared_table.h"

int
main(int argc, char **argv)
{
    struct shared_table *table;
    struct inet_endpoint client;

    if (argc != 6 || inet_endpoint_parse(slice_of(argv[3]), 25, &client) < 0 ||
        shared_table_attach(argv[1], &table) < 0) {
        fprintf(stderr, "usage: shared_probe FILE COLUMN CLIENT REVERSE-PATH FIRST-RCPT\n");
        return 2;
    }
    shared_worker_set_message(table, (unsigned)strtoul(argv[2], NULL, 10),
                              shared_fingerprint(table, &client, argv[4], argv[5], 0));
    shared_table_detach(&table);
    return 0;
}
