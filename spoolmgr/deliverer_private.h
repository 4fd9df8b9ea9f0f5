/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The inside of a deliverer, shared by its three files: deliverer.c (the channel to the keeper),
 * deliverer_job.c (an attempt: what is said to the backend, and what it answers) and
 * deliverer_link.c (a connection, from connecting to its end).
 *
 *   job:   RECEIVING --GO--> RUNNING --all answered, or connection lost--> reported and freed
 *   link:  connecting, greeting --on_ready--> idle <--> with a job --> dead, freed after the turn;
 *          a job that is to begin anew waits until then
 */
#ifndef SPOOLMGR_DELIVERER_PRIVATE_H
#define SPOOLMGR_DELIVERER_PRIVATE_H

#include "net/channel.h"
#include "net/conn.h"
#include "smtp/smtp_command.h"
#include "spool/spool_check.h"
#include "spool/spool_record.h"
#include "spoolmgr/courier.h"

struct deliverer_rcpt {
    uint32_t index;
    struct smtp_rcpt rcpt;
    bool is_decided;
    struct courier_result result;
};

struct deliverer_job {
    struct deliverer_job *next;
    struct deliverer *deliverer;
    struct courier_job wanted;
    struct smtp_mail mail;
    char client_name[INET_DOMAIN_SIZE], helo[SMTP_HELO_SIZE], ref[REF_SIZE];
    int fd; /* of the segment */
    struct buf prepend;
    struct deliverer_rcpt *rcpts;
    size_t rcpt_count;
    struct deliverer_link *link;
    uint64_t sent_bytes; /* of the body */
    struct spool_check *check;
    bool is_running, has_asked, may_dot, has_dot, mail_done;
    struct courier_done done;
};

struct deliverer_link {
    struct deliverer_link *next;
    struct deliverer *deliverer;
    uint32_t number; /* the keeper's; one link at a time has it */
    struct destination to;
    struct conn *conn;
    struct smtp_client *client;
    struct deliverer_job *job;
    struct deliverer_job *then; /* on a connection that follows this one */
    unsigned messages;          /* begun on it */
    unsigned progress;
    bool is_ready, is_secure, is_dead, is_timed_out;
    bool is_leaving; /* says QUIT when it may, and ends */
    int64_t made_at_ms;
};

/* A destination with policy `may` whose handshake failed: in the clear until then. */
struct deliverer_clear {
    struct deliverer_clear *next;
    struct destination to;
    int64_t until_ms;
};

struct deliverer {
    struct loop *loop;
    struct channel *channel;
    struct tls_client *tls;
    struct deliverer_clear *clears;
    const struct smtp_credentials *credentials; /* NULL: none */
    bool source_alarmed;
    struct smtp_client_settings settings;
    int64_t connect_timeout_ms;
    struct deliverer_job *jobs;
    struct deliverer_link *links;
    struct buf packet;
};

/* --- deliverer.c */
/* An empty packet for the keeper, and its sending. */
struct buf *deliverer_packet(struct deliverer *d);
void deliverer_tell(struct deliverer *d, enum courier_message type);

/* --- deliverer_job.c */
/* MAIL, RCPT and DATA of the link's job. */
void deliverer_job_begin(struct deliverer_link *link);
/* As much of the content as the connection takes; the dot when all is there and may go. */
void deliverer_job_pump(struct deliverer_job *job);
/* Of the engine of a link. */
void deliverer_job_on_reply(void *link, enum smtp_phase phase, unsigned index,
                            enum smtp_class class, const struct smtp_reply *reply);
void deliverer_job_on_want_content(void *link);
bool deliverer_job_is_undecided(const struct deliverer_job *job); /* no recipient is decided */
void deliverer_job_decide_rest(struct deliverer_job *job, enum smtp_class class,
                               enum smtp_phase phase, const char *text);
/* The job's last moment: everything is decided; its link, if it lives, is free again. */
void deliverer_job_finish(struct deliverer_job *job, enum smtp_phase phase, const char *text);
/* As that, of one whose content was given up. */
void deliverer_job_finish_broken(struct deliverer_job *job);

/* --- deliverer_link.c */
/* NULL: none stands. */
struct deliverer_link *deliverer_link_find(struct deliverer *d, uint32_t number);
/* Runs a job on its connection, if that stands, or on a new one; on one that is to be replaced,
 * behind it. */
void deliverer_link_run(struct deliverer_job *job);
/* After every call of the engine: what it has led to. */
void deliverer_link_settle(struct deliverer_link *link);

#endif
