/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What one check knows of DNS, and what it has asked: bounded in number and octets.
 */
#ifndef SPF_ANSWERS_H
#define SPF_ANSWERS_H

#include "base/arena.h"
#include "spf/spf.h"

struct spf_known {
    struct spf_known *next;
    enum spf_type type;
    bool is_given; /* else it is asked for */
    const char *name;
    struct spf_answer answer;
};

struct spf_answers {
    struct arena arena;
    struct spf_known *first, **end;
    unsigned count;
};

#define SPF_ANSWERS_BYTES 65536

void spf_answers_init(struct spf_answers *answers);
void spf_answers_fini(struct spf_answers *answers);
struct spf_known *spf_answers_find(struct spf_answers *answers, const char *name,
                                   enum spf_type type);
/* NULL: the bound is reached. */
struct spf_known *spf_answers_add(struct spf_answers *answers, const char *name,
                                  enum spf_type type);
/* What SPF has no use for is left out: TXT that is no record of it, addresses of a wrong size,
 * names that are no hosts'.  More octets than there is room for make it SPF_ANSWER_TEMPORARY. */
void spf_answers_fill(struct spf_answers *answers, struct spf_known *known,
                      const struct spf_answer *answer);

#endif
