/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Base64 (RFC 4648 4), without line ends.
 */
#ifndef BASE_BASE64_H
#define BASE_BASE64_H

#include "base/buf.h"

void base64_add(struct buf *out, struct slice octets);

#endif
