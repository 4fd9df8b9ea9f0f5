/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Customers, domains and backends as a node sees them: an immutable, checksummed constant database
 * (cdb) that control writes anew and workers map read-only (DESIGN section 2).  All names are
 * stored normalised.  Look-ups copy into plain values; nothing is borrowed.
 */
#ifndef REGISTRY_H
#define REGISTRY_H

#include "base/buf.h"
#include "base/inet.h"
#include "policy/policy.h"

#define REGISTRY_NAME_SIZE 64
#define REGISTRY_UNLIMITED 0xffffffffu
#define REGISTRY_BACKENDS_MAX 16

enum registry_when_down {
    REGISTRY_WHEN_DOWN_ACCEPT,
    REGISTRY_WHEN_DOWN_DEFER,
    REGISTRY_WHEN_DOWN_REJECT
};
enum registry_customer_state {
    REGISTRY_CUSTOMER_ACTIVE,
    REGISTRY_CUSTOMER_SUSPENDED,
    REGISTRY_CUSTOMER_SUSPENDED_REFUSE
};
enum registry_tls {
    REGISTRY_TLS_NONE,
    REGISTRY_TLS_MAY,
    REGISTRY_TLS_ENCRYPT,
    REGISTRY_TLS_VERIFY
};

/* What a backend's name is asked for. */
enum registry_lookup {
    REGISTRY_LOOKUP_ADDRESS, /* A and AAAA */
    REGISTRY_LOOKUP_MX,      /* its MX hosts, in their own order, then theirs */
};

/* Is the customer's own server the domain's first MX, with us behind it? */
enum registry_mode { REGISTRY_MODE_MX, REGISTRY_MODE_FALLBACK };
/* In fallback mode, while the primary is up (DESIGN section 5). */
enum registry_primary_up {
    REGISTRY_PRIMARY_UP_STRICT,
    REGISTRY_PRIMARY_UP_DEFER,
    REGISTRY_PRIMARY_UP_ACCEPT
};

/* Whose connections one hourly limit counts: all of the customer's, or those of each client. */
enum registry_connections_scope { REGISTRY_CONNECTIONS_CUSTOMER, REGISTRY_CONNECTIONS_CLIENT };

struct registry_customer {
    uint32_t id;
    char name[REGISTRY_NAME_SIZE];
    enum registry_customer_state state;
    uint32_t max_recipients_per_message, max_messages_per_connection,
        max_connections_per_hour;    /* REGISTRY_UNLIMITED: none */
    uint64_t max_message_size_bytes; /* UINT64_MAX: none */
    uint32_t retention_days;
    enum registry_connections_scope connections_scope;
    bool normalise_bare_lf; /* a bare LF in content becomes CR LF instead of being refused */
    bool keep_live_4xx;     /* a known recipient that the backend defers is taken and kept here */
    uint32_t max_spool_messages; /* that wait here; REGISTRY_UNLIMITED: none */
    uint64_t max_spool_bytes;    /* of their content; UINT64_MAX: none */
    policy_set policy;           /* of its senders */
    bool filters_only; /* nobody but its filters may send to it. Never without a filter whose
                          networks are known: it would refuse all mail */
};

/* What a change with an end (`--until`) can be of. The numbers are in replica files. */
enum registry_limit {
    REGISTRY_LIMIT_RECIPIENTS_PER_MESSAGE,
    REGISTRY_LIMIT_MESSAGES_PER_CONNECTION,
    REGISTRY_LIMIT_CONNECTIONS_PER_HOUR,
    REGISTRY_LIMIT_MESSAGE_SIZE,
    REGISTRY_LIMIT_RETENTION_DAYS,
    REGISTRY_LIMIT_CONNECTIONS_SCOPE,
    REGISTRY_LIMIT_BARE_LF,
    REGISTRY_LIMIT_SPOOL_MESSAGES,
    REGISTRY_LIMIT_SPOOL_BYTES,
    REGISTRY_LIMIT_POLICY,
    REGISTRY_LIMIT_COUNT
};

/* In place of the customer's own value before `until_ms` (wall clock), and not from then on. */
struct registry_temporary {
    enum registry_limit limit;
    uint64_t value; /* as in struct registry_customer */
    int64_t until_ms;
};

struct registry_domain {
    char name[INET_DOMAIN_SIZE]; /* ".acme.example" takes its subdomains */
    uint32_t id;                 /* 0: a tombstone, or of a replica of format 2 */
    uint32_t customer_id;
    enum registry_when_down when_down;
    enum registry_mode mode;
    enum registry_primary_up primary_up;
    bool has_backends;           /* of its own; the customer's others are not for it */
    bool has_recipients;         /* registered ones */
    bool is_recipients_complete; /* and these are all there are */
    bool removed;                /* a tombstone: refused at once */
    int64_t missing_since_ms;    /* gone from the registry without a tombstone: 451 for a day; 0:
                                    present */
    bool missing_accepted; /* an operator has accepted that it is gone; counts no more for the guard
                            */
};

/* Whom a customer wants told of trouble, and how. */
#define REGISTRY_CONTACT_SIZE 321
struct registry_contact {
    char address[REGISTRY_CONTACT_SIZE]; /* a mailbox */
    char language[3];                    /* "en", "de", "nl", "da" */
};

struct registry_backend {
    uint32_t customer_id, number; /* named CUSTOMER/NUMBER */
    uint32_t domain_id;           /* 0: for the customer's domains that have none of their own */
    struct inet_endpoint
        endpoint;                /* family 0: `host` is looked up; the port is here all the same */
    char host[INET_DOMAIN_SIZE]; /* "" with an address */
    enum registry_lookup lookup;
    uint32_t priority;           /* lower first */
    uint32_t weight;             /* 1 at least: its share among those of one priority */
    uint32_t max_connections;    /* 0: the node's backend-connections */
    struct inet_endpoint source; /* without a port; family 0: the node's source-address */
    enum registry_tls tls;
    char tls_name[INET_DOMAIN_SIZE]; /* that its certificate must be for; "" its host or address */
    bool trusts_us;                  /* XFORWARD tells it who the client is */
    bool held;
};

/* A mail filter before us, as registered: one network, or what an SPF record leads to. */
struct registry_filter_entry {
    uint32_t customer_id, number;
    char label[REGISTRY_NAME_SIZE];
    struct inet_network network;    /* family 0: `include` */
    char include[INET_DOMAIN_SIZE]; /* a name with an SPF record; "" with a network */
    unsigned exempt;                /* as below */
    bool origin_received;
};

/* The networks that an SPF include led to when it was last looked up with success. */
#define REGISTRY_INCLUDE_NETWORKS_MAX 500
struct registry_include {
    char name[INET_DOMAIN_SIZE];
    int64_t resolved_ms;
    unsigned count;
    struct inet_network networks[REGISTRY_INCLUDE_NETWORKS_MAX];
};

/* The filter that an address is one of. */
struct registry_filter {
    uint32_t customer_id, number;
    char label[REGISTRY_NAME_SIZE];
    struct inet_network network; /* that the address is in */
    unsigned exempt; /* bits of the checks (policy_check_bit) that are not made of the connecting
                        host; those of SPF always, and BAN, since bounces come through it */
    bool origin_received; /* SPF and DNSBL judge the client that the filter's Received line names */
};

/* Whom a customer, or an operator for every customer, lets in or keeps out by name. */
enum registry_rule_action { REGISTRY_RULE_ALLOW, REGISTRY_RULE_BLOCK };
enum registry_rule_kind {
    REGISTRY_RULE_SENDER, /* a whole address */
    REGISTRY_RULE_DOMAIN, /* a sender's domain; with a dot in front, all below it */
    REGISTRY_RULE_NETWORK /* of the client; one address too */
};
#define REGISTRY_RULE_VALUE_SIZE 321
#define REGISTRY_RULE_REASON_SIZE 801 /* 200 characters */
struct registry_rule {
    uint32_t customer_id; /* 0: the operators' own, for every customer */
    enum registry_rule_action action;
    enum registry_rule_kind kind;
    struct inet_network network;          /* of a network */
    char value[REGISTRY_RULE_VALUE_SIZE]; /* as it is registered */
    char reason[REGISTRY_RULE_REASON_SIZE];
    int64_t expires_ms; /* wall clock; 0: never */
};

/* --- The replica file. */
struct registry_version {
    char database_id[40]; /* random, made by `relayctl db init` */
    uint64_t version;     /* commit order */
    uint64_t domain_count;
    int64_t written_at_ms;
};

struct registry; /* a mapped replica */

/* Maps and verifies it whole. ERR_CORRUPT, ERR_VERSION, ERR_IO. The descriptor stays the caller's.
 * The format before is read too, so that a node that is upgraded while PostgreSQL is down goes on
 * serving (P5); what that format lacks has its default. */
MUST_USE int registry_open(int fd, struct registry **registry);
/* And ERR_NOT_FOUND: there is no such file. */
MUST_USE int registry_open_path(const char *path, struct registry **registry);
void registry_close(struct registry **registry);
const struct registry_version *registry_get_version(const struct registry *registry);

/* Exact name first, then each parent as ".parent". ERR_NOT_FOUND: not registered. ERR_CORRUPT:
 * answer 451, never 550. */
MUST_USE int registry_find_domain(const struct registry *registry, const char *domain,
                                  struct registry_domain *found);
/* With the values that hold at `wall_ms`; REGISTRY_LASTING: those that hold when every temporary
 * change has ended. */
#define REGISTRY_LASTING INT64_MAX
MUST_USE int registry_find_customer(const struct registry *registry, uint32_t id, int64_t wall_ms,
                                    struct registry_customer *found);
/* ERR_NOT_FOUND: the customer has none, or the file was made by a release that had none in it. */
MUST_USE int registry_find_contact(const struct registry *registry, uint32_t customer_id,
                                   struct registry_contact *found);
/* The domain's own, or else its customer's. In order of priority, then number; *count at most
 * REGISTRY_BACKENDS_MAX. */
MUST_USE int registry_find_backends(const struct registry *registry,
                                    const struct registry_domain *domain,
                                    struct registry_backend *found, unsigned *count);
/* Is this local part registered in the domain? Its case means nothing. ERR_NOT_FOUND: no. */
MUST_USE int registry_find_recipient(const struct registry *registry,
                                     const struct registry_domain *domain, struct slice local_part);
/* The customers who have a backend at this address, whatever its port; each once, *count at most
 * `most`. ERR_NOT_FOUND: none, or the file is of format 1, which has no such index. */
MUST_USE int registry_find_backend_customers(const struct registry *registry,
                                             const struct inet_endpoint *address, uint32_t *ids,
                                             unsigned most, unsigned *count);
/* The longest of the customer's networks that holds the address; of two that are equal the one with
 * the lower number.  ERR_NOT_FOUND. */
MUST_USE int registry_find_filter(const struct registry *registry, uint32_t customer_id,
                                  const struct inet_endpoint *address,
                                  struct registry_filter *found);
/* The rule of that customer (0: of the operators for every customer, networks only; there an allow
 * is an exception from a wider block and lets nobody past a customer's own checks) that is the most
 * specific: the sender's whole address, the client's single address, the sender's domain, its
 * parents from below, the client's networks from the longest.  Of an allow and a block that are
 * equal the allow.  What has ended at `wall_ms` is none.  `address` may be NULL; `sender` is a
 * reverse-path without brackets, NULL or "" (the null sender): no rule by name.  ERR_NOT_FOUND. */
MUST_USE int registry_find_rule(const struct registry *registry, uint32_t customer_id,
                                const struct inet_endpoint *address, const char *sender,
                                int64_t wall_ms, struct registry_rule *found);
/* The checks (bits) that any customer's policy, lasting or temporary, has not off; 0 too in a file
 * that is damaged or of a format before 4. */
unsigned registry_checks_needed(const struct registry *registry);

/* Every domain, for the shrink guard and for lists. */
MUST_USE int registry_each_domain(const struct registry *registry,
                                  void (*each)(void *ctx, const struct registry_domain *domain),
                                  void *ctx);

/* Every backend, customers' and domains'; for lists. */
MUST_USE int registry_each_backend(const struct registry *registry,
                                   void (*each)(void *ctx, const struct registry_backend *backend),
                                   void *ctx);

/* Every customer, with the values that hold at `wall_ms`; for lists. */
MUST_USE int registry_each_customer(const struct registry *registry, int64_t wall_ms,
                                    void (*each)(void *ctx,
                                                 const struct registry_customer *customer),
                                    void *ctx);

/* Every filter as registered, and every include with its networks; for control. */
MUST_USE int registry_each_filter(const struct registry *registry,
                                  void (*each)(void *ctx,
                                               const struct registry_filter_entry *filter),
                                  void *ctx);
MUST_USE int registry_each_include(const struct registry *registry,
                                   void (*each)(void *ctx, const struct registry_include *include),
                                   void *ctx);

/* --- Writing (control). */
struct registry_maker;
MUST_USE int registry_maker_new(const char *path_tmp, struct registry_maker **maker);
/* `customer` with its lasting values; a limit at most once in `temporary`. */
MUST_USE int registry_maker_customer(struct registry_maker *maker,
                                     const struct registry_customer *customer,
                                     const struct registry_temporary *temporary, unsigned count);
MUST_USE int registry_maker_contact(struct registry_maker *maker, uint32_t customer_id,
                                    const struct registry_contact *contact);
MUST_USE int registry_maker_domain(struct registry_maker *maker,
                                   const struct registry_domain *domain);
MUST_USE int registry_maker_backend(struct registry_maker *maker,
                                    const struct registry_backend *backend);
/* `local_part` in lower case. */
MUST_USE int registry_maker_recipient(struct registry_maker *maker, uint32_t domain_id,
                                      struct slice local_part);
/* All of a customer's filters behind one another, in order of number. `include`: the networks of an
 * entry that is one; NULL: not known yet, so its customer is not locked to its filters. */
MUST_USE int registry_maker_filter(struct registry_maker *maker,
                                   const struct registry_filter_entry *filter,
                                   const struct registry_include *include);
MUST_USE int registry_maker_include(struct registry_maker *maker,
                                    const struct registry_include *include);
/* All of a customer's rules behind one another. */
MUST_USE int registry_maker_rule(struct registry_maker *maker, const struct registry_rule *rule);
/* Everything of another replica but filters and includes, which may be added then. */
MUST_USE int registry_maker_copy(struct registry_maker *maker, const struct registry *registry);
/* Syncs, renames to `path`, syncs the folder; frees the maker in every case. The domains are
 * counted here, version->domain_count is not read. */
MUST_USE int registry_maker_finish(struct registry_maker **maker,
                                   const struct registry_version *version, const char *path);
void registry_maker_abort(struct registry_maker **maker);

#endif
