/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What only makes a note, since content is read here, goes to the owner of this spool directly: it
 * must know before the first octet is read.
 */
#include "admin/spool_way.h"

#include <stdlib.h>

#include "admin/spool_command.h"
#include "admin/spool_owner.h"

struct spool_way {
    const struct call *call;
    const struct order *order;
    const struct spool_store *store;
    unsigned node;
    struct spool_commander *commander; /* or */
    struct spool_owner *owner;
};

static bool
is_here(const struct spool_way *w)
{
    return w->node == w->call->config->node;
}

/* Where this machine's keeper plainly has not the database, its socket is the quicker way. */
static bool
wants_database(const struct spool_way *w)
{
    enum spool_owner_keeper seen;

    if (w->call->config->database[0] == '\0' || !order_kind(w->order->act)->changes)
        return false;
    if (!is_here(w))
        return true;
    seen = spool_owner_look(w->call);
    return seen == SPOOL_OWNER_KEEPER || seen == SPOOL_OWNER_NOT_SEEN;
}

static enum command_status
open_owner(struct spool_way *w)
{
    return spool_owner_open(w->call, w->store, &w->owner);
}

static void
explain_elsewhere(const struct spool_way *w, const char *why)
{
    call_complain("%s. To order it there: is spoolmgr running on node %u, and does it reach "
                  "PostgreSQL? Run relayctl on that node, or try again later",
                  why, w->node);
}

static enum command_status
open_commander(struct spool_way *w)
{
    enum command_status status;
    struct buf why;

    buf_init(&why, 0);
    status = spool_commander_open(w->call, w->node, &w->commander, &why);
    if (status == COMMAND_DONE || status == COMMAND_FAILED) {
        if (status == COMMAND_FAILED)
            call_complain("%s", buf_text(&why));
    } else if (is_here(w)) {
        call_complain("the order does not go through PostgreSQL: %s", buf_text(&why));
        status = open_owner(w);
    } else if (status == COMMAND_NOTHING)
        call_complain("%s", buf_text(&why));
    else
        explain_elsewhere(w, buf_text(&why));
    buf_fini(&why);
    return status;
}

enum command_status
spool_way_open(const struct call *call, unsigned node, const struct order *order,
               const struct spool_store *store, struct spool_way **way)
{
    struct spool_way *w = mem_alloc(sizeof *w);
    enum command_status status;

    *w = (struct spool_way){.call = call, .order = order, .store = store, .node = node};
    if (wants_database(w))
        status = open_commander(w);
    else if (is_here(w))
        status = open_owner(w);
    else {
        call_complain("the spool of node %u is ordered through PostgreSQL, and the setting "
                      "\"database\" in %s is not set: run relayctl there",
                      node, call->config_path);
        status = COMMAND_FAILED;
    }
    *way = w;
    if (status != COMMAND_DONE)
        spool_way_close(way);
    return status;
}

void
spool_way_close(struct spool_way **way)
{
    if (*way == NULL)
        return;
    spool_commander_close(&(*way)->commander);
    spool_owner_close(&(*way)->owner);
    free(*way);
    *way = NULL;
}

/* --- Asking. */

static json_t *
ask_owner(struct spool_way *w, const struct ref *refs, size_t count, enum command_status *status,
          bool *has_effect)
{
    *status = COMMAND_LATER;
    return spool_owner_ask(w->owner, w->order, refs, count, has_effect);
}

/* The order is nobody's any more. */
static json_t *
take_other_way(struct spool_way *w, const struct ref *refs, size_t count, const char *why,
               enum command_status *status, bool *has_effect)
{
    if (!is_here(w)) {
        explain_elsewhere(w, why);
        *status = COMMAND_LATER;
        return NULL;
    }
    call_complain("%s. It goes over the control socket now", why);
    spool_commander_close(&w->commander);
    *status = open_owner(w);
    return *status == COMMAND_DONE ? ask_owner(w, refs, count, status, has_effect) : NULL;
}

static json_t *
check_answer(json_t *answer, enum command_status *status, bool *has_effect)
{
    if (json_is_true(json_object_get(answer, "ok")))
        return answer;
    call_complain("%s", json_string_value(json_object_get(answer, "error")) ?: "the answer is odd");
    json_decref(answer);
    *status = COMMAND_LATER;
    *has_effect = true;
    return NULL;
}

static json_t *
ask_commander(struct spool_way *w, const struct ref *refs, size_t count,
              enum command_status *status, bool *has_effect)
{
    json_t *answer;
    struct buf why;

    buf_init(&why, 0);
    switch (spool_commander_ask(w->commander, w->order, refs, count, &answer, &why)) {
    case SPOOL_COMMAND_ANSWERED:
        answer = check_answer(answer, status, has_effect);
        break;
    case SPOOL_COMMAND_NOT_TAKEN:
        answer = take_other_way(w, refs, count, buf_text(&why), status, has_effect);
        break;
    case SPOOL_COMMAND_STOPPED:
    case SPOOL_COMMAND_REFUSED:
        call_complain("%s", buf_text(&why));
        *status = COMMAND_FAILED;
        break;
    case SPOOL_COMMAND_UNKNOWN:
        call_complain("%s", buf_text(&why));
        *status = COMMAND_LATER;
        *has_effect = true;
        break;
    }
    buf_fini(&why);
    return answer;
}

json_t *
spool_way_ask(struct spool_way *w, const struct ref *refs, size_t count,
              enum command_status *status, bool *has_effect)
{
    *has_effect = false;
    return w->commander ? ask_commander(w, refs, count, status, has_effect)
                        : ask_owner(w, refs, count, status, has_effect);
}

enum spool_way_kind
spool_way_kind_of(const struct spool_way *w)
{
    if (w->commander)
        return SPOOL_WAY_DATABASE;
    return w->owner && !spool_owner_is_keeper(w->owner) ? SPOOL_WAY_SELF : SPOOL_WAY_SOCKET;
}

const char *
spool_way_word(enum spool_way_kind kind)
{
    static const char *const words[] = {
        [SPOOL_WAY_DATABASE] = "database",
        [SPOOL_WAY_SOCKET] = "control socket",
        [SPOOL_WAY_SELF] = "relayctl",
    };

    return words[kind];
}
