/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The header of the PROXY protocol: the first octet says where the rest is cut.  A beginning asks
 * for more, or says what the whole says; what is taken lies inside the input.
 */
#include <stdint.h>
#include <stdlib.h>

#include "net/proxy_protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy_protocol_header whole, beginning;
    size_t whole_size, beginning_size, cut;
    struct slice input;
    char *copy;
    int rc, early;

    if (size == 0)
        return 0;
    input = (struct slice){(const char *)data + 1, size - 1};
    cut = input.n * data[0] / 256;
    copy = malloc(cut + 1);
    memcpy(copy, input.p, cut);
    rc = proxy_protocol_parse(input, &whole, &whole_size);
    early = proxy_protocol_parse((struct slice){copy, cut}, &beginning, &beginning_size);
    CHECK(early == ERR_AGAIN || early == rc);
    if (rc == ERR_OK) {
        CHECK(whole_size > 0 && whole_size <= input.n && whole_size <= PROXY_PROTOCOL_MAX);
        CHECK(whole.is_own == (whole.source.family == 0));
        CHECK(whole.is_own || whole.source.family == 4 || whole.source.family == 6);
    }
    if (early == ERR_OK)
        CHECK(beginning_size == whole_size &&
              inet_endpoint_equal(&beginning.source, &whole.source) &&
              inet_endpoint_equal(&beginning.destination, &whole.destination));
    free(copy);
    return 0;
}
