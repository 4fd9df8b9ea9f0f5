/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Bans an address for a customer in state.mdb, as the state process would; relayd must not run.
 *
 *   ban_scribe STATE_DIR CUSTOMER_ID ADDRESS
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "state/state.h"

#define DAY_MS (24 * 60 * 60 * 1000LL)

int
main(int argc, char **argv)
{
    struct state_store_settings settings = {.positive_ttl_ms = DAY_MS,
                                            .negative_ttl_ms = DAY_MS,
                                            .map_size_bytes = UINT64_C(1) << 30,
                                            .bounce_threshold = 1,
                                            .bounce_window_ms = DAY_MS,
                                            .ban_ms = 4 * DAY_MS};
    struct state_backscatter what = {.word = STATE_BACKSCATTER_COUNTED};
    struct inet_endpoint address;
    struct state_store *store;
    bool set_aside;

    if (argc != 4 || inet_endpoint_parse(slice_of(argv[3]), 25, &address) != ERR_OK) {
        fprintf(stderr, "usage: ban_scribe STATE_DIR CUSTOMER_ID ADDRESS\n");
        return 2;
    }
    settings.dir = argv[1];
    if (state_store_open(&settings, &store, &set_aside) != ERR_OK)
        return 1;
    for (unsigned i = 0; i < 2; i++)
        what = state_store_learn_bounce(store, (uint32_t)strtoul(argv[2], NULL, 10), &address,
                                        clock_wall_ms());
    state_store_close(&store);
    return what.word != STATE_BACKSCATTER_BANNED;
}
