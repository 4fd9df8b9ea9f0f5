/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Findings on the screen and as JSON, and the world that surveys look at: one loop, the resolver of
 * the configuration, our certificates.
 */
#ifndef ADMIN_SURVEY_SCREEN_H
#define ADMIN_SURVEY_SCREEN_H

#include <jansson.h>

#include "admin/call.h"
#include "survey/survey.h"

struct survey_screen {
    struct call *call;
    struct loop *loop;
    struct survey_world world; /* for survey_start */
    struct tls_client *tls;    /* world.tls */
    struct buf trouble;        /* with certificates */
    bool is_short;             /* of several: what passes is only counted */
    unsigned counts[FINDING_VERDICT_COUNT];
};

/* COMMAND_DONE, or it has been explained. */
enum command_status survey_screen_init(struct survey_screen *screen, struct call *call);
void survey_screen_fini(struct survey_screen *screen);

/* One survey from start to end, printed. */
void survey_screen_run(struct survey_screen *screen, const char *subject, survey_judge judge,
                       const void *question, const char *about, json_t *facts);

/* Prints one survey that is done. `about` is for people, behind the subject; `facts`: what its
 * object in JSON has before the findings, taken over. */
void survey_screen_print(struct survey_screen *screen, const struct survey *survey,
                         const char *about, json_t *facts);

/* COMMAND_FAILED if anything has failed. */
enum command_status survey_screen_status(const struct survey_screen *screen);

#endif
