/* SPDX-License-Identifier: BSD-2-Clause
 *
 * How long a client may take, phase by phase.  Pure: moments are handed in.
 *
 * A phase's deadline is counted from its beginning and from nothing else: single octets of a
 * command line do not move it, only a whole command does (which begins the phase anew).  In content
 * each piece counts, but over every window of time so many octets must have come.
 */
#ifndef RELAYD_SESSION_CLOCK_H
#define RELAYD_SESSION_CLOCK_H

#include "base/config.h"

enum session_phase {
    SESSION_PHASE_PROXY,   /* the header of the PROXY protocol is awaited */
    SESSION_PHASE_GREET,   /* the greeting is held back */
    SESSION_PHASE_COMMAND, /* a command is awaited */
    SESSION_PHASE_TLS,     /* the handshake */
    SESSION_PHASE_CONTENT, /* content is awaited */
    SESSION_PHASE_BEHIND,  /* in content, but reading is paused: the waiting is ours */
    SESSION_PHASE_OURS,    /* an operation of ours is at work */
    SESSION_PHASE_OUTPUT,  /* the client does not read our replies */
    SESSION_PHASE_COUNT
};

const char *session_phase_word(enum session_phase phase); /* for events: "command" */

/* What holds in a worker; [1] under pressure. */
struct session_times {
    int64_t phase_ms[SESSION_PHASE_COUNT][2]; /* 0: no end */
    int64_t progress_ms[2]; /* for commands without an accepted recipient or a whole message */
    uint64_t octets_per_s;  /* of content, over each phase_ms[CONTENT]; 0: any */
};
void session_times_init(struct session_times *times, const struct config *config);

enum session_lateness {
    SESSION_IN_TIME,
    SESSION_SILENT,      /* the phase has taken too long */
    SESSION_SLOW,        /* content comes more slowly than client-min-rate */
    SESSION_NO_PROGRESS, /* commands, and nothing that comes of them */
};

struct session_clock {
    int64_t began_at_ms;                    /* the phase */
    int64_t moved_at_ms;                    /* the last piece of content */
    int64_t progress_at_ms;                 /* the last accepted recipient or whole message */
    int64_t window_at_ms;                   /* of content: its beginning, */
    uint64_t window_octets;                 /* and the size then */
    uint64_t octets;                        /* the size now */
    uint32_t spent_ms[SESSION_PHASE_COUNT]; /* before this phase */
    enum session_phase phase;
};

void session_clock_start(struct session_clock *clock, enum session_phase phase, int64_t now_ms);
/* Begins `phase`, also anew. */
void session_clock_enter(struct session_clock *clock, enum session_phase phase, int64_t now_ms);
void session_clock_progress(struct session_clock *clock, int64_t now_ms);
/* Octets of this message so far; counts in SESSION_PHASE_CONTENT. */
void session_clock_content(struct session_clock *clock, uint64_t octets, int64_t now_ms);

/* When to look again with session_clock_judge; 0: never. */
int64_t session_clock_deadline_ms(const struct session_clock *clock,
                                  const struct session_times *times, bool pressed);
/* Has the client used up its time? Begins the next window of content where that is due. */
enum session_lateness session_clock_judge(struct session_clock *clock,
                                          const struct session_times *times, bool pressed,
                                          int64_t now_ms);
/* With what has passed of the present phase. */
int64_t session_clock_spent_ms(const struct session_clock *clock, enum session_phase phase,
                               int64_t now_ms);

#endif
