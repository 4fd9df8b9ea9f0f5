/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Between the two halves of the judgement: of connections, and of answers.
 */
#ifndef CONFORMANCE_JUDGE_H
#define CONFORMANCE_JUDGE_H

#include "conformance/conformance.h"

struct conformance_judge {
    const struct conformance_seen *seen;
    conformance_each each;
    void *ctx;
};

void conformance_say(const struct conformance_judge *j, enum conformance_id id, const char *fmt,
                     ...) PRINTF_LIKE(3, 4);
void conformance_judge_answers(const struct conformance_judge *j);

#endif
