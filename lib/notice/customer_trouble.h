/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Whether a customer is due to be told something, from what is known of its server and of what
 * waits for it (DESIGN section 5, expiry).  Pure: facts, moments and days are handed in; what has
 * been told is here, and goes to a file and back.
 *
 *   server takes no mail, something waits ──▶ an outage; told when it has lasted for `after_ms`
 *   it takes mail ──▶ nothing waits, or what is left is paused for an hour ──▶ told that it is back
 *   deadlines ──▶ two warnings an outage          ends without delivery ──▶ a digest in the morning
 */
#ifndef CUSTOMER_TROUBLE_H
#define CUSTOMER_TROUBLE_H

#include "notice/customer_notice.h"

#define CUSTOMER_TROUBLE_LINES 100 /* of a digest; the others are counted */
#define CUSTOMER_TROUBLE_A_DAY 4
#define CUSTOMER_TROUBLE_DIGEST_HOUR 7 /* of the service's day */
#define CUSTOMER_TROUBLE_SERVERS_SIZE 200
#define CUSTOMER_TROUBLE_BACKEND_SIZE 80

struct customer_trouble {
    /* The outage, also while it is not old enough to be told; since_ms 0: none. */
    int64_t since_ms, back_at_ms; /* back: it takes mail again; 0: it does not */
    enum customer_notice_why why;
    char servers[CUSTOMER_TROUBLE_SERVERS_SIZE], backend[CUSTOMER_TROUBLE_BACKEND_SIZE];
    uint64_t delivered, failed; /* of what was kept, since then */
    bool told_down;
    int64_t quiet_at_ms; /* nothing waits and nothing is known of the server, since then; 0: not so.
                            Not in the file */
    /* Of the outage, or of what waits without one. */
    bool told_48, told_12;
    int32_t day; /* of `sent` */
    unsigned sent;
    /* The digest. */
    struct customer_failure *failures;
    size_t failure_count;
    uint64_t more;
    int64_t first_failure_at_ms; /* 0: none */
};

void customer_trouble_fini(struct customer_trouble *trouble);
/* Nothing has been told, and nothing is left to tell: it need not be remembered.  `today`: as in
 * the facts. */
bool customer_trouble_is_empty(const struct customer_trouble *trouble, int32_t today);

enum customer_server { CUSTOMER_SERVER_UNKNOWN, CUSTOMER_SERVER_DOWN, CUSTOMER_SERVER_UP };

struct customer_facts { /* as they are now */
    int64_t now_ms;
    int32_t day; /* of the service: clock_local_day */
    enum customer_server server;
    /* While it is down: */
    int64_t since_ms;
    enum customer_notice_why why;
    const char *servers, *backend;
    /* Of what waits: */
    uint64_t messages;
    bool is_moving;              /* something is tried now, or as soon as the server permits */
    int64_t first_expires_at_ms; /* to come; 0: there is none */
    int64_t first_arrived_at_ms; /* the oldest with that deadline */
    bool is_clock_odd;           /* it has jumped: deadlines say nothing */
};

struct customer_rules {
    int64_t after_ms; /* the setting notify-after */
};

struct customer_due {
    enum customer_notice_kind kind;     /* to be sent now; NONE: nothing */
    enum customer_notice_kind withheld; /* would have been, but for the day's count */
    bool is_forgotten;                  /* and will not be: its moment is over */
    bool is_lost; /* an outage that was told is over, and nobody can say that it is back */
};

/* Takes the facts in.  What is due is not told yet: customer_trouble_told when it is durable. */
struct customer_due customer_trouble_look(struct customer_trouble *trouble,
                                          const struct customer_facts *facts,
                                          const struct customer_rules *rules);
struct customer_told { /* as it was when the notice was made */
    enum customer_notice_kind kind;
    int32_t day;
    int64_t now_ms;
    size_t failure_count; /* of the digest */
    uint64_t more;
    bool is_counted; /* false: it was due, and there is nobody to tell */
};
void customer_trouble_told(struct customer_trouble *trouble, const struct customer_told *told);

/* Of what was kept has been delivered, or has ended so.  Copied; without an outage a delivery is
 * nothing.  has_room: false counts a failure without its line.  A reference that stands there
 * already is not taken twice. */
void customer_trouble_delivered(struct customer_trouble *trouble, uint64_t count);
void customer_trouble_failed(struct customer_trouble *trouble,
                             const struct customer_failure *failure, bool has_room);

/* --- As lines of text, each ending with LF. */
void customer_trouble_text(const struct customer_trouble *trouble, struct buf *out);
/* One line, without LF. ERR_SYNTAX: it is none of these. */
MUST_USE int customer_trouble_parse(struct customer_trouble *trouble, struct slice line);

#endif
