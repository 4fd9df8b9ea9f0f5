/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Our addresses are those that mail comes in and goes out by: source-address and what we listen on;
 * with a wildcard, or nothing that the world can
 * reach, those of the host name.
 */
#include "survey/survey_node.h"

#include <stdio.h>

#include "net/tls_certificate.h"
#include "survey/survey_host.h"

#define DAY_MS INT64_C(86400000)
/* A name that is signed wherever DNSSEC is at all: that it has no address is validated as well. */
#define SIGNED_NAME "com"

/* --- The host name. */

static bool
has_one_of_ours(const struct survey_node *node, const struct survey_addresses *addresses)
{
    for (unsigned i = 0; i < addresses->count; i++)
        if (node->is_ours(node->ctx, &addresses->items[i]))
            return true;
    return false;
}

static void
judge_hostname(struct survey *survey, const struct survey_node *node,
               const struct survey_addresses *addresses)
{
    const char *name = survey_world(survey)->config->hostname;
    enum survey_finding_id id = SURVEY_HOSTNAME_OK;
    char text[SURVEY_TEXT_SIZE];

    if (addresses->result == DNS_TEMPORARY)
        id = SURVEY_HOSTNAME_UNKNOWN;
    else if (addresses->result != DNS_OK)
        id = SURVEY_HOSTNAME_MISSING;
    else if (!has_one_of_ours(node, addresses))
        id = SURVEY_HOSTNAME_ELSEWHERE;
    else if (addresses->is_alias)
        id = SURVEY_HOSTNAME_ALIAS;
    survey_find(survey, id, name, "%s", survey_addresses_text(addresses, text));
}

/* --- Addresses. */

static bool
is_wildcard(const struct inet_endpoint *e)
{
    static const uint8_t zero[16];

    return memcmp(e->addr, zero, e->family == 4 ? 4 : 16) == 0;
}

static void
add(struct survey_addresses *all, const struct inet_endpoint *e)
{
    if (e->family == 0 || !survey_is_public(e) || survey_addresses_have(all, e) ||
        all->count == SURVEY_ADDRESSES_MAX)
        return;
    all->items[all->count] = *e;
    all->items[all->count++].port = 0;
}

static void
collect_addresses(const struct config *config, const struct survey_addresses *of_name,
                  struct survey_addresses *all)
{
    bool is_open = false;

    *all = (struct survey_addresses){.count = 0};
    add(all, &config->source_address);
    for (size_t i = 0; i < config->listen.count; i++) {
        add(all, &config->listen.items[i]);
        is_open = is_open || is_wildcard(&config->listen.items[i]);
    }
    if (is_open || all->count == 0)
        for (unsigned i = 0; i < of_name->count; i++)
            add(all, &of_name->items[i]);
}

static void
judge_addresses(struct survey *survey, const struct survey_addresses *of_name)
{
    const struct config *config = survey_world(survey)->config;
    struct survey_addresses all;

    collect_addresses(config, of_name, &all);
    if (all.count == 0)
        survey_find(survey, SURVEY_NO_ADDRESS, "", "%s", "");
    for (unsigned i = 0; i < all.count; i++)
        survey_ptr_judge(survey, &all.items[i], config->hostname);
    for (unsigned i = 0; i < all.count; i++)
        survey_lists_judge(survey, &all.items[i]);
}

/* --- Certificates. */

static const struct tls_certificate *
certificate_for(const struct survey_world *world, const char *name)
{
    char lower[INET_DOMAIN_SIZE];
    size_t n = 0;

    for (; name[n] && n < sizeof lower - 1; n++)
        lower[n] = name[n] >= 'A' && name[n] <= 'Z' ? (char)(name[n] + 'a' - 'A') : name[n];
    lower[n] = '\0';
    for (size_t i = 0; i < world->certificate_count; i++)
        if (tls_certificate_is_for(world->certificates[i], lower))
            return world->certificates[i];
    return NULL;
}

/* Other nodes' names need no certificate here. */
static void
judge_certificate_names(struct survey *survey, const struct survey_node *node)
{
    const struct survey_world *world = survey_world(survey);

    for (size_t i = 0; i < world->config->mx_names.count; i++) {
        const char *name = world->config->mx_names.items[i];
        const struct tls_certificate *certificate = certificate_for(world, name);
        struct survey_addresses addresses;

        if (certificate) {
            survey_find(survey, SURVEY_CERTIFICATE_OK, name, "%s",
                        tls_certificate_path(certificate));
            continue;
        }
        survey_ask_addresses(survey, name, &addresses);
        if (has_one_of_ours(node, &addresses))
            survey_find(survey, SURVEY_CERTIFICATE_NOT_FOR, name, "%s", "");
    }
}

static void
judge_certificate_end(struct survey *survey, const struct tls_certificate *certificate,
                      int64_t wall_ms)
{
    int64_t left_ms = tls_certificate_end_ms(certificate) - wall_ms;
    long long days = (left_ms < 0 ? -left_ms : left_ms) / DAY_MS;
    const char *path = tls_certificate_path(certificate), *unit = days == 1 ? "day" : "days";

    if (left_ms < 0)
        survey_find(survey, SURVEY_CERTIFICATE_ENDED, path, "%lld %s", days, unit);
    else if (left_ms < TLS_CERTIFICATE_WARN_DAYS * DAY_MS)
        survey_find(survey, SURVEY_CERTIFICATE_ENDING, path, "%lld %s", days, unit);
}

static void
judge_certificates(struct survey *survey, const struct survey_node *node)
{
    const struct survey_world *world = survey_world(survey);

    if (world->config->tls_certificate.count == 0) {
        survey_find(survey, SURVEY_CERTIFICATE_NONE, "", "%s", "");
        return;
    }
    if (world->certificate_trouble[0])
        survey_find(survey, SURVEY_CERTIFICATE_UNREADABLE, "", "%.*s",
                    (int)strcspn(world->certificate_trouble, "\n"), world->certificate_trouble);
    judge_certificate_names(survey, node);
    for (size_t i = 0; i < world->certificate_count; i++)
        judge_certificate_end(survey, world->certificates[i], node->wall_ms);
}

/* --- The resolver. */

static void
judge_resolver(struct survey *survey, const struct survey_addresses *of_name)
{
    const struct inet_endpoint *resolver = &survey_world(survey)->config->resolver;
    const struct survey_answer *answer = survey_ask(survey, SIGNED_NAME, DNS_TYPE_A);
    static const struct inet_network loopback[] = {{.family = 4, .bits = 8, .addr = {127}},
                                                   {.family = 6, .bits = 128, .addr = {[15] = 1}}};
    bool is_local =
        inet_network_has(&loopback[0], resolver) || inet_network_has(&loopback[1], resolver);
    enum survey_finding_id id = SURVEY_RESOLVER_OK;
    char text[INET_ENDPOINT_SIZE];

    if (answer->result == DNS_TEMPORARY && of_name->result == DNS_TEMPORARY)
        id = SURVEY_RESOLVER_SILENT;
    else if (!is_local)
        id = SURVEY_RESOLVER_FAR;
    else if (!answer->is_authentic)
        id = SURVEY_RESOLVER_NO_AD;
    survey_find(survey, id, "", "%s", inet_endpoint_text(resolver, text));
}

void
survey_node_judge(struct survey *survey, const void *question)
{
    const struct survey_node *node = question;
    struct survey_addresses addresses;

    survey_ask_addresses(survey, survey_world(survey)->config->hostname, &addresses);
    judge_hostname(survey, node, &addresses);
    judge_addresses(survey, &addresses);
    judge_certificates(survey, node);
    judge_resolver(survey, &addresses);
}
