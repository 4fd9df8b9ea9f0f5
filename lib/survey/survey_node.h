/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Ourselves as the world sees us: host name, addresses, certificates, and the resolver that we see
 * the world by.
 */
#ifndef SURVEY_NODE_H
#define SURVEY_NODE_H

#include "survey/survey.h"

struct survey_node {
    bool (*is_ours)(void *ctx, const struct inet_endpoint *address); /* does this host have it? */
    void *ctx;
    int64_t wall_ms;
};

/* `question` is a struct survey_node; host name, addresses, lists, certificates, resolver. */
void survey_node_judge(struct survey *survey, const void *question);

#endif
