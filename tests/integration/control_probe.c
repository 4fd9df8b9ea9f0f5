/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Runs relayd's control process alone, as its parent would, and prints what it says; or looks a
 * domain up in a replica as a worker would.
 *
 *   control_probe run FILE            lines "written" and "database up|down REASON", until stopped
 *   control_probe customer REPLICA DOMAIN WALL_MS   its customer's limits at that moment
 *   control_probe domain REPLICA NAME...   a line each: "NAME
 * served|removed|missing|unknown|damaged CUSTOMER WHEN-DOWN BACKEND..."
 *   control_probe sender REPLICA DOMAIN ADDRESS SENDER   how its customer sees that sender now:
 * policy, lock, filter, rule, and the operators' rule; a line each
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/codec.h"
#include "base/log.h"
#include "net/channel.h"
#include "net/process.h"
#include "registry/registry.h"
#include "relayd/relayd.h"

struct probe {
    struct loop *loop;
    struct channel *channel;
};

static void
on_message(void *ctx, uint16_t type, struct slice payload, const int *fds, size_t fd_count)
{
    struct decoder d = decoder_of(payload);
    char why[1024];
    bool is_up;

    (void)ctx;
    (void)fds;
    (void)fd_count;
    if (type == RELAYD_REPLICA_WRITTEN) {
        printf("written\n");
        return;
    }
    is_up = get_u8(&d) != 0;
    get_text(&d, why, sizeof why);
    CHECK(type == RELAYD_DATABASE && decoder_done(&d));
    printf("database %s %s\n", is_up ? "up" : "down", why);
}

static void
on_close(void *ctx)
{
    struct probe *p = ctx;

    channel_close(&p->channel);
    loop_stop(p->loop);
}

static void
on_term(void *ctx, int signo)
{
    (void)signo;
    on_close(ctx);
}

static int
run(const char *path)
{
    struct probe p = {0};
    struct buf problems;
    struct config *config;
    pid_t pid;
    int fd, rc;

    buf_init(&problems, 0);
    if (config_load(path, &problems, &config) != ERR_OK) {
        fputs(buf_text(&problems), stderr);
        return 1;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    CHECK(process_fork("control", NULL, 0, &pid, &fd) == ERR_OK);
    if (pid == 0) {
        rc = control_process_run(config, fd);
        config_free(&config);
        buf_fini(&problems);
        exit(rc);
    }
    p.loop = loop_new();
    loop_on_signal(p.loop, SIGTERM, on_term, &p);
    p.channel = channel_open(p.loop, fd, on_message, on_close, &p);
    loop_run(p.loop);
    loop_free(&p.loop);
    config_free(&config);
    buf_fini(&problems);
    return 0;
}

static void
print_domain(const struct registry *registry, const char *name)
{
    static const char *const words[] = {"accept", "defer", "reject"};
    struct registry_backend backends[REGISTRY_BACKENDS_MAX];
    struct registry_customer customer = {.name = "-"};
    struct registry_domain domain;
    char text[INET_ENDPOINT_SIZE];
    unsigned count = 0;
    int rc = registry_find_domain(registry, name, &domain);

    if (rc != ERR_OK) {
        printf("%s %s\n", name, rc == ERR_NOT_FOUND ? "unknown" : "damaged");
        return;
    }
    (void)!registry_find_customer(registry, domain.customer_id, clock_wall_ms(), &customer);
    (void)!registry_find_backends(registry, &domain, backends, &count);
    printf("%s %s %s %s", name,
           domain.removed            ? "removed"
           : domain.missing_since_ms ? "missing"
                                     : "served",
           customer.name, words[domain.when_down]);
    for (unsigned i = 0; i < count; i++)
        printf(" %s", inet_endpoint_text(&backends[i].endpoint, text));
    printf("\n");
}

static int
look_up(const char *path, char **names)
{
    struct registry *registry;
    int rc = registry_open_path(path, &registry);

    if (rc != ERR_OK) {
        printf("replica: %s\n", err_text(rc));
        return 1;
    }
    for (; *names != NULL; names++)
        print_domain(registry, *names);
    registry_close(&registry);
    return 0;
}

static int
show_customer(const char *path, const char *name, int64_t wall_ms)
{
    struct registry_customer c;
    struct registry_domain domain;
    struct registry *registry;

    if (registry_open_path(path, &registry) != ERR_OK)
        return 1;
    if (registry_find_domain(registry, name, &domain) != ERR_OK ||
        registry_find_customer(registry, domain.customer_id, wall_ms, &c) != ERR_OK) {
        registry_close(&registry);
        return 1;
    }
    printf("max_recipients_per_message=%u max_messages_per_connection=%u "
           "max_connections_per_hour=%u max_message_size_bytes=%llu retention_days=%u "
           "connections_scope=%s bare_lf=%s max_spool_messages=%lld max_spool_bytes=%lld\n",
           c.max_recipients_per_message, c.max_messages_per_connection, c.max_connections_per_hour,
           (unsigned long long)c.max_message_size_bytes, c.retention_days,
           c.connections_scope == REGISTRY_CONNECTIONS_CLIENT ? "client" : "customer",
           c.normalise_bare_lf ? "normalise" : "refuse",
           c.max_spool_messages == REGISTRY_UNLIMITED ? -1 : (long long)c.max_spool_messages,
           (long long)c.max_spool_bytes); /* none: -1 */
    registry_close(&registry);
    return 0;
}

static void
print_rule(const struct registry *registry, const char *title, uint32_t customer_id,
           const struct inet_endpoint *address, const char *sender)
{
    struct registry_rule rule;

    if (registry_find_rule(registry, customer_id, address, sender, clock_wall_ms(), &rule) ==
        ERR_OK)
        printf("%s %s %s: %s\n", title, rule.action == REGISTRY_RULE_ALLOW ? "allow" : "block",
               rule.value, rule.reason);
}

static void
print_sender(const struct registry *registry, uint32_t customer_id,
             const struct inet_endpoint *address, const char *sender)
{
    char text[POLICY_TEXT_SIZE], network[INET_ENDPOINT_SIZE];
    struct registry_customer customer;
    struct registry_filter filter;

    if (registry_find_customer(registry, customer_id, clock_wall_ms(), &customer) == ERR_OK)
        printf("policy %s\nlocked %s\nneeded %x\n", policy_text(customer.policy, text),
               customer.filters_only ? "yes" : "no", registry_checks_needed(registry));
    if (registry_find_filter(registry, customer_id, address, &filter) == ERR_OK)
        printf("filter %u %s %s exempt=%x origin=%s\n", filter.number, filter.label,
               inet_network_text(&filter.network, network), filter.exempt,
               filter.origin_received ? "received" : "connection");
    print_rule(registry, "rule", customer_id, address, sender);
    print_rule(registry, "node-wide", 0, address, sender);
}

static int
show_sender(const char *path, const char *name, const char *address, const char *sender)
{
    struct registry_domain domain;
    struct inet_endpoint endpoint;
    struct registry *registry;
    int rc;

    if (inet_endpoint_parse(slice_of(address), 25, &endpoint) != ERR_OK ||
        registry_open_path(path, &registry) != ERR_OK)
        return 1;
    rc = registry_find_domain(registry, name, &domain);
    if (rc == ERR_OK)
        print_sender(registry, domain.customer_id, &endpoint, sender);
    registry_close(&registry);
    return rc == ERR_OK ? 0 : 1;
}

int
main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "run") == 0)
        return run(argv[2]);
    if (argc > 3 && strcmp(argv[1], "domain") == 0)
        return look_up(argv[2], argv + 3);
    if (argc == 5 && strcmp(argv[1], "customer") == 0)
        return show_customer(argv[2], argv[3], strtoll(argv[4], NULL, 10));
    if (argc == 6 && strcmp(argv[1], "sender") == 0)
        return show_sender(argv[2], argv[3], argv[4], argv[5]);
    fprintf(stderr, "usage: control_probe run FILE | customer REPLICA DOMAIN WALL_MS | domain "
                    "REPLICA NAME...\n");
    return 2;
}
