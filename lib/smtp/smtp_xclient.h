/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The attributes of XCLIENT as Postfix defines it (XCLIENT_README): a trusted test network or proxy
 * tells whom it speaks for.  Nothing that it says authenticates anybody (P3).
 */
#ifndef SMTP_XCLIENT_H
#define SMTP_XCLIENT_H

#include "base/inet.h"

enum smtp_xclient_attribute { /* bits */
                              SMTP_XCLIENT_NAME = 1,
                              SMTP_XCLIENT_ADDR = 2,
                              SMTP_XCLIENT_PORT = 4,
                              SMTP_XCLIENT_PROTO = 8,
                              SMTP_XCLIENT_HELO = 16,
                              SMTP_XCLIENT_LOGIN = 32,
                              SMTP_XCLIENT_DESTADDR = 64,
                              SMTP_XCLIENT_DESTPORT = 128,
                              SMTP_XCLIENT_REVERSE_NAME = 256,
};

/* As EHLO announces them. */
#define SMTP_XCLIENT_ATTRIBUTES "NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT REVERSE_NAME"

#define SMTP_XCLIENT_TEXT_SIZE 256

struct smtp_xclient {
    unsigned given;       /* what is not given leaves the session's own as it is */
    unsigned unavailable; /* of those: said to be [UNAVAILABLE]: there is none; the value is "" */
    unsigned temporary;   /* or [TEMPUNAVAIL]: a look-up failed for now */
    char name[SMTP_XCLIENT_TEXT_SIZE]; /* texts are printable ASCII without spaces, xtext undone */
    char reverse_name[SMTP_XCLIENT_TEXT_SIZE];
    char helo[SMTP_XCLIENT_TEXT_SIZE];
    char login[SMTP_XCLIENT_TEXT_SIZE];
    struct inet_endpoint client;      /* ADDR, PORT; a part that was not given is zero */
    struct inet_endpoint destination; /* DESTADDR, DESTPORT */
    bool is_esmtp;                    /* PROTO */
};

/* "NAME=value ADDR=192.0.2.1 ...", values in xtext.  ERR_SYNTAX: an attribute that is not known or
 * given twice, a value that is not of its grammar, or none at all. */
MUST_USE int smtp_xclient_parse(struct slice args, struct smtp_xclient *xclient);

#endif
