/* SPDX-License-Identifier: BSD-2-Clause
 *
 * One question is one line and one answer; lists come in pages, each of which names the place where
 * the next one begins.
 */
#include "admin/relay_memory.h"

#include <stdlib.h>
#include <string.h>

#include "admin/field.h"
#include "net/control.h"

#define ASK_MS 5000

enum command_status
relay_memory_parse(const char *text, struct relay_memory_which *which)
{
    char domain[FIELD_DOMAIN_SIZE];
    enum command_status status;

    *which = (struct relay_memory_which){.domain = ""};
    switch (inet_network_parse(slice_of(text), &which->network)) {
    case ERR_OK:
        return COMMAND_DONE;
    case ERR_RANGE:
        return call_usage("\"%.100s\" has bits set behind its prefix, or a prefix that is too "
                          "long; write 192.0.2.0/24",
                          text);
    default:
        break;
    }
    status = field_domain_name(text, domain);
    if (status == COMMAND_DONE && !slice_to_text(slice_of(domain), which->domain, INET_DOMAIN_SIZE))
        status = call_usage("\"%.100s\" is too long for a domain", text);
    return status;
}

enum command_status
relay_memory_ask(const struct call *call, json_t *question, bool is_quiet, json_t **answer)
{
    char path[CALL_PATH_SIZE], *line = json_dumps(question, JSON_COMPACT);
    const char *why;
    struct buf text;

    *answer = NULL;
    buf_init(&text, 0);
    if (control_call(call_path(path, call->config->run_dir, "relayd.sock"), slice_of(line), ASK_MS,
                     &text) == ERR_OK)
        *answer = json_loadb(buf_slice(&text).p, buf_slice(&text).n, 0, NULL);
    buf_fini(&text);
    free(line);
    json_decref(question);
    if (json_is_true(json_object_get(*answer, "ok")))
        return COMMAND_DONE;
    why = json_string_value(json_object_get(*answer, "error"));
    if (!is_quiet)
        call_complain("%s", why ? why : "relayd does not run here, or may not be asked by you");
    json_decref(*answer);
    *answer = NULL;
    return COMMAND_FAILED;
}

static json_t *
question(const char *verb, const struct relay_memory_which *which)
{
    char network[INET_ENDPOINT_SIZE];

    return json_pack("{s:s, s:s?, s:s?}", "verb", verb, "network",
                     which->network.family ? inet_network_text(&which->network, network) : NULL,
                     "domain", which->domain[0] != '\0' ? which->domain : NULL);
}

/* --- Lists. */

static void
each_row(const json_t *rows, relay_memory_each each, void *ctx)
{
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);

        each(ctx,
             &(struct relay_memory_row){
                 .customer_id = (uint32_t)json_integer_value(json_object_get(row, "customer_id")),
                 .customer = json_string_value(json_object_get(row, "customer")),
                 .network = json_string_value(json_object_get(row, "network")),
                 .domain = json_string_value(json_object_get(row, "domain")),
                 .since_ms = json_integer_value(json_object_get(row, "since")),
                 .seen_ms = json_integer_value(json_object_get(row, "seen")),
                 .until_ms = json_integer_value(json_object_get(row, "until")),
             });
    }
}

enum command_status
relay_memory_list(const struct call *call, const char *what, const struct relay_memory_which *which,
                  bool is_quiet, relay_memory_each each, void *ctx)
{
    enum command_status status = COMMAND_DONE;
    json_t *answer = NULL, *after = NULL;

    do {
        json_t *q = question("memory-list", which);

        json_object_set_new(q, "what", json_string(what));
        if (after)
            json_object_set(q, "after", after);
        json_decref(answer);
        status = relay_memory_ask(call, q, is_quiet, &answer);
        if (status != COMMAND_DONE)
            return status;
        each_row(json_object_get(answer, "rows"), each, ctx);
        after = json_object_get(answer, "after");
    } while (json_is_string(after));
    json_decref(answer);
    return status;
}

/* --- Forgetting. */

static enum command_status
tell(const struct call *call, json_t *order)
{
    json_t *answer;
    enum command_status status = relay_memory_ask(call, order, false, &answer);

    json_decref(answer);
    return status;
}

enum command_status
relay_memory_forget_origin(const struct call *call, const struct relay_memory_which *which)
{
    return tell(call, question("greylist-forget", which));
}

enum command_status
relay_memory_forget_ban(const struct call *call, uint32_t customer_id, const char *address)
{
    return tell(call, json_pack("{s:s, s:I, s:s}", "verb", "ban-forget", "customer",
                                (json_int_t)customer_id, "address", address));
}
