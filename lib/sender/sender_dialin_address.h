/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Does a text hold an address in one of the ways in which providers write it into their names?
 */
#ifndef SENDER_DIALIN_ADDRESS_H
#define SENDER_DIALIN_ADDRESS_H

#include "base/inet.h"

/* `text` is lower case.  IPv4, forwards or backwards: four numbers with one of ".-_" between them
 * and zeros before them as they like; twelve digits; eight hex digits; one decimal number.  IPv6:
 * 32 hex digits with or without separators, forwards or backwards; the 16 of its interface; or four
 * of its groups in a row. */
bool sender_dialin_has_address(const char *text, const struct inet_endpoint *address);

#endif
