/* SPDX-License-Identifier: BSD-2-Clause
 *
 * SPF records (RFC 7208 4.5, 4.6, 12): which of a name's TXT records is one, and its terms, checked
 * against the whole grammar.  Pure; nothing is looked up or expanded.
 */
#ifndef SPF_RECORD_H
#define SPF_RECORD_H

#include "spf/spf.h"

enum spf_selected { SPF_SELECTED_NONE, SPF_SELECTED_ONE, SPF_SELECTED_MANY };

bool spf_record_is(struct slice text); /* it begins with the version (RFC 7208 4.5) */
/* *record is borrowed from `texts`. */
enum spf_selected spf_record_select(const struct slice *texts, unsigned count,
                                    struct slice *record);

enum spf_term_kind {
    SPF_TERM_ALL,
    SPF_TERM_INCLUDE,
    SPF_TERM_A,
    SPF_TERM_MX,
    SPF_TERM_PTR,
    SPF_TERM_IP4,
    SPF_TERM_IP6,
    SPF_TERM_EXISTS,
    SPF_TERM_REDIRECT, /* modifiers from here on */
    SPF_TERM_EXP,
    SPF_TERM_UNKNOWN, /* a modifier that nobody knows: to be ignored (RFC 7208 6) */
};

struct spf_term {
    enum spf_term_kind kind;
    char qualifier;              /* of a mechanism: + - ~ ? */
    struct slice text;           /* all of it, as it stands */
    struct slice domain;         /* the domain-spec, valid; n 0: none is given */
    struct inet_network network; /* ip4, ip6; bits behind the prefix may be set */
    uint8_t bits4, bits6;        /* a, mx: lengths of prefixes, 32 and 128 if not given */
};

#define SPF_RECORD_MAX 4096 /* octets; a longer one is no record that anybody wrote by hand */

struct spf_record_reader {
    struct slice rest;
    bool has_redirect, has_exp;
    struct slice problem; /* behind ERR_SYNTAX: the term that is none */
};

/* `record` is what spf_record_select gave, and outlives the reader. */
void spf_record_begin(struct spf_record_reader *reader, struct slice record);
/* ERR_AGAIN: there are no more. ERR_SYNTAX: the record is invalid, wherever evaluation would have
 * ended (RFC 7208 4.6); so read to the end. */
MUST_USE int spf_record_next(struct spf_record_reader *reader, struct spf_term *term);

/* For who looks ahead: cuts *rest, a record, behind its next include or redirect, and gives its
 * domain-spec, which nobody has checked, as nobody has the record.  False: there is none. */
bool spf_record_next_reference(struct slice *rest, struct slice *spec);

#endif
