/* SPDX-License-Identifier: BSD-2-Clause
 *
 * One check as a value: it says what it has to know of DNS, is given answers, and is run again from
 * the start until nothing is missing.  No sockets, no clock, no threads; libspf2 does the
 * evaluation behind spf/spf_library.h.
 *
 * Limits of RFC 7208 4.6.4 hold over the whole tree of records: 10 mechanisms that ask DNS, 2
 * void look-ups, 10 hosts of an mx (more is permerror), 10 names of a ptr (more are ignored).
 */
#ifndef SPF_EVAL_H
#define SPF_EVAL_H

#include "spf/spf.h"

#define SPF_EVAL_QUESTIONS_MAX 64 /* that one check may ask DNS; beyond is permerror */

struct spf_eval;

struct spf_eval *spf_eval_start(const struct spf_question *question);
void spf_eval_free(struct spf_eval **eval);

/* Copies the answer. One that nobody has asked for is kept as well (the domain's TXT may be given
 * beforehand); a second one for the same question is ignored. */
void spf_eval_give(struct spf_eval *eval, const char *name, enum spf_type type,
                   const struct spf_answer *answer);

enum spf_eval_state {
    SPF_EVAL_NEEDS, /* spf_eval_needed says what; go on when all of it is given */
    SPF_EVAL_DONE,  /* spf_eval_result */
};
enum spf_eval_state spf_eval_run(struct spf_eval *eval);

/* Questions 0, 1, ... of the last run; false: there are no more.  *name is borrowed until
 * spf_eval_free. */
bool spf_eval_needed(const struct spf_eval *eval, unsigned i, const char **name,
                     enum spf_type *type);
const struct spf_result *spf_eval_result(const struct spf_eval *eval);

/* What the first run will ask the TXT of; false: nothing, there is no domain to judge. */
bool spf_eval_domain(const struct spf_question *question, char domain[INET_DOMAIN_SIZE]);

#endif
