/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Checks what an operator wrote before PostgreSQL sees it, and says what to write instead.  The
 * database's constraints hold the same rules for whoever comes another way.
 */
#include "admin/field.h"

#include <stdio.h>
#include <string.h>

#include "base/parse.h"

#define CHECK_ARGS                                                                         \
    const struct field *field, const char *text, char dst[FIELD_TEXT_SIZE], bool *is_null, \
        char why[FIELD_TEXT_SIZE]

const char *
field_check_number(CHECK_ARGS)
{
    uint64_t v;
    int rc = parse_u64(slice_of(text), &v);

    (void)is_null;
    snprintf(dst, FIELD_TEXT_SIZE, "%llu", (unsigned long long)v);
    if (rc == ERR_OK && v >= field->min && v <= field->max)
        return NULL;
    snprintf(why, FIELD_TEXT_SIZE, "is %s; use a number from %llu to %llu",
             rc == ERR_SYNTAX ? "not a number" : "out of range", (unsigned long long)field->min,
             (unsigned long long)field->max);
    return why;
}

const char *
field_check_limit(CHECK_ARGS)
{
    if (strcmp(text, "none") == 0) {
        *is_null = true;
        return NULL;
    }
    if (field_check_number(field, text, dst, is_null, why) == NULL)
        return NULL;
    memcpy(dst, why, FIELD_TEXT_SIZE);
    snprintf(why, FIELD_TEXT_SIZE, "%.400s, or none", dst);
    return why;
}

const char *
field_check_size(CHECK_ARGS)
{
    char min[PARSE_TEXT_SIZE], max[PARSE_TEXT_SIZE];
    uint64_t v;
    int rc;

    if (strcmp(text, "none") == 0) {
        *is_null = true;
        return NULL;
    }
    rc = parse_size_bytes(slice_of(text), &v);
    snprintf(dst, FIELD_TEXT_SIZE, "%llu", (unsigned long long)v);
    if (rc == ERR_OK && v >= field->min && v <= field->max)
        return NULL;
    snprintf(why, FIELD_TEXT_SIZE, "is %s; use a size with its unit from %s to %s, or none",
             rc == ERR_SYNTAX ? "not a size" : "out of range", format_size(field->min, min),
             format_size(field->max, max));
    return why;
}

const char *const field_yes_words[] = {"yes", "no", NULL};

const char *
field_check_word(CHECK_ARGS)
{
    struct command_guess guess = {0};
    size_t n;

    (void)is_null;
    for (const char *const *word = field->words; *word; word++) {
        if (strcmp(*word, text) == 0) {
            snprintf(dst, FIELD_TEXT_SIZE, "%s", text);
            return NULL;
        }
        command_guess_offer(&guess, text, *word);
    }
    if (guess.best) {
        snprintf(why, FIELD_TEXT_SIZE, "is unknown; did you mean %s?", guess.best);
        return why;
    }
    n = (size_t)snprintf(why, FIELD_TEXT_SIZE, "is unknown; use");
    for (const char *const *word = field->words; *word; word++)
        n += (size_t)snprintf(why + n, FIELD_TEXT_SIZE - n, "%s %s",
                              word == field->words ? ""
                              : word[1]            ? ","
                                                   : " or",
                              *word);
    return why;
}

const char *
field_check_mailbox(CHECK_ARGS)
{
    const char *at = strrchr(text, '@'), *wrong = NULL;
    char domain[INET_DOMAIN_SIZE];

    (void)field;
    (void)is_null;
    if (at == NULL || at == text || at - text > 64)
        return "is not a mail address; use the form ops@acme.example";
    for (const unsigned char *c = (const unsigned char *)text; (const char *)c < at; c++)
        if (*c <= ' ' || *c == 0x7f || strchr("@<>(),;:\\\"[]", *c))
            return "has a character that a mail address cannot have; use the form ops@acme.example";
    if (inet_domain_normalize(slice_of(at + 1), domain, &wrong) < 0) {
        snprintf(why, FIELD_TEXT_SIZE,
                 "has a wrong domain, which %s; use the form ops@acme.example", wrong);
        return why;
    }
    snprintf(dst, FIELD_TEXT_SIZE, "%.*s@%s", (int)(at - text), text, domain);
    return NULL;
}

enum command_status
field_read(const struct call *call, const struct field *fields, struct field_values *values)
{
    enum command_status status = COMMAND_DONE;

    values->count = 0;
    for (; fields->option; fields++) {
        const char *text = call_value(call, fields->option), *wrong;
        unsigned n = values->count;
        char why[FIELD_TEXT_SIZE];
        bool is_null = false;

        if (text == NULL)
            continue;
        CHECK(n < FIELDS_MAX);
        wrong = fields->check(fields, text, values->texts[n], &is_null, why);
        if (wrong)
            status = call_usage("--%s: \"%s\" %s", fields->option, text, wrong);
        values->fields[n] = fields;
        values->params[n] = is_null ? NULL : values->texts[n];
        values->count++;
    }
    return status;
}

enum command_status
field_customer_name(const char *text, char dst[FIELD_NAME_SIZE])
{
    static const char form[] = "use 1 to 63 lower-case letters, digits, dots, hyphens and "
                               "underscores, beginning and ending with a letter or digit";
    size_t n = strlen(text);

    dst[0] = '\0';
    if (n == 0 || n >= FIELD_NAME_SIZE)
        return call_usage("customer: \"%.80s\" is %s; %s", text, n ? "too long" : "empty", form);
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        bool alnum = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');

        if (c >= 'A' && c <= 'Z')
            return call_usage("customer: \"%s\" has capital letters; names are lower-case", text);
        if (!alnum && (!strchr(".-_", c) || i == 0 || i + 1 == n))
            return call_usage("customer: \"%s\" is not a customer's name; %s", text, form);
    }
    memcpy(dst, text, n + 1);
    return COMMAND_DONE;
}

enum command_status
field_domain_name(const char *text, char dst[FIELD_DOMAIN_SIZE])
{
    bool subdomains = text[0] == '.';
    const char *why;

    dst[0] = '.';
    if (strchr(text, '@'))
        return call_usage("domain: \"%s\" is a mail address; use the part behind the @", text);
    if (text[0] == '*')
        return call_usage("domain: \"%s\": to take the subdomains write a leading dot, as in "
                          ".acme.example",
                          text);
    if (inet_domain_normalize(slice_of(text + subdomains), dst + subdomains, &why) < 0)
        return call_usage("domain: \"%s\" %s; use a name such as acme.example", text, why);
    return COMMAND_DONE;
}

enum command_status
field_domain_option(const struct call *call, char dst[FIELD_DOMAIN_SIZE])
{
    const char *text = call_value(call, "domain");

    dst[0] = '\0';
    return text ? field_domain_name(text, dst) : COMMAND_DONE;
}

char *
field_address_ascii(const char *address)
{
    const char *at = strrchr(address, '@'), *why;
    char domain[INET_DOMAIN_SIZE];
    bool is_other = false;
    struct buf b;
    char *copy;

    for (const char *p = at; p && *p; p++)
        is_other = is_other || (unsigned char)*p >= 0x80;
    if (!is_other || inet_domain_normalize(slice_of(at + 1), domain, &why) != ERR_OK)
        return NULL;
    buf_init(&b, 0);
    buf_printf(&b, "%.*s@%s", (int)(at - address), address, domain);
    copy = mem_strdup(buf_text(&b));
    buf_fini(&b);
    return copy;
}

const char *
field_address_array(struct buf *text, const char *address, const char *ascii)
{
    const char *const words[] = {address, ascii ? ascii : address};

    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        buf_add_text(text, i ? "\",\"" : "{\"");
        for (const char *p = words[i]; *p; p++)
            buf_printf(text, *p == '"' || *p == '\\' ? "\\%c" : "%c", *p);
    }
    buf_add_text(text, "\"}");
    return buf_text(text);
}

/* An address that no mail server can have. */
static const char *
not_a_host(const struct inet_endpoint *e)
{
    static const uint8_t zero[16];

    if (memcmp(e->addr, zero, sizeof zero) == 0)
        return "is the unspecified address";
    if ((e->family == 4 && e->addr[0] >= 224 && e->addr[0] < 240) ||
        (e->family == 6 && e->addr[0] == 0xff))
        return "is a multicast address";
    if (e->family == 4 && (e->addr[0] >= 240 || e->addr[0] == 0))
        return "is a reserved address";
    return NULL;
}

/* A name with or without a port. ERR_NOT_FOUND: it is meant for an address. */
static int
parse_host(const char *text, struct inet_endpoint *endpoint, char host[INET_DOMAIN_SIZE],
           const char **why)
{
    const char *colon = strrchr(text, ':');
    struct slice name = slice_of(text);
    uint64_t port = 25;

    *why = NULL;
    if (strspn(text, "0123456789.:[]") == strlen(text) || strchr(text, '[') ||
        strchr(text, ':') != colon)
        return ERR_NOT_FOUND;
    if (colon) {
        name.n = (size_t)(colon - text);
        if (parse_u64(slice_of(colon + 1), &port) < 0 || port == 0 || port > UINT16_MAX)
            return ERR_RANGE;
    }
    *endpoint = (struct inet_endpoint){.port = (uint16_t)port};
    return inet_domain_normalize(name, host, why);
}

enum command_status
field_endpoint(const char *text, struct inet_endpoint *endpoint, char host[INET_DOMAIN_SIZE])
{
    static const char form[] = "use an address or a name, and a port, such as 192.0.2.10:25, "
                               "[2001:db8::1]:25 or mail.acme.example:25";
    int rc = inet_endpoint_parse(slice_of(text), 25, endpoint);
    const char *why;

    host[0] = '\0';
    if (rc == ERR_SYNTAX)
        rc = parse_host(text, endpoint, host, &why);
    if (rc == ERR_RANGE)
        return call_usage("backend: \"%s\" has a port that is not between 1 and 65535; %s", text,
                          form);
    if (rc == ERR_NOT_FOUND)
        return call_usage("backend: \"%s\" is not an address; %s", text, form);
    if (rc < 0)
        return call_usage("backend: \"%s\" is neither an address nor a name, which %s; %s", text,
                          why, form);
    why = host[0] ? NULL : not_a_host(endpoint);
    if (why)
        return call_usage("backend: \"%s\" %s; %s", text, why, form);
    return COMMAND_DONE;
}

#define NETWORK_FORM \
    "use a network or an address, such as 203.0.113.0/24, 203.0.113.7 or 2001:db8::/32"

/* The network that is meant by an address with bits behind its prefix. */
static bool
cut_network(const char *text, struct inet_network *network)
{
    struct slice rest = slice_of(text), address = slice_split(&rest, '/');
    struct inet_endpoint host = {0};
    uint64_t bits;

    if (rest.p == NULL || parse_u64(rest, &bits) != ERR_OK ||
        inet_network_parse(address, network) != ERR_OK || bits > network->bits)
        return false;
    memcpy(host.addr, network->addr, sizeof host.addr);
    host.family = network->family;
    *network = inet_network_around(&host, (unsigned)bits);
    return true;
}

enum command_status
field_network(const char *what, const char *text, struct inet_network *network)
{
    int rc = inet_network_parse(slice_of(text), network);
    bool is_cut = rc == ERR_RANGE && cut_network(text, network);
    unsigned widest = network->family == 6 ? 16 : 8;
    char meant[INET_ENDPOINT_SIZE];

    if (rc == ERR_RANGE && !is_cut)
        return call_usage("%s: \"%s\" has a prefix that is too long; " NETWORK_FORM, what, text);
    if (rc != ERR_OK && !is_cut)
        return call_usage("%s: \"%s\" is not a network; " NETWORK_FORM, what, text);
    if (network->bits < widest)
        return call_usage(
            "%s: \"%s\" is far too wide; use one with a prefix of /%u or longer, such "
            "as 203.0.113.0/24",
            what, text, widest);
    if (is_cut)
        return call_usage("%s: \"%s\" has bits set behind its prefix; did you mean %s?", what, text,
                          inet_network_text(network, meant));
    return COMMAND_DONE;
}

const char *
field_check_address(CHECK_ARGS)
{
    struct inet_endpoint e;
    char address[INET_ENDPOINT_SIZE];
    const char *wrong;

    (void)field;
    if (strcmp(text, "none") == 0) {
        *is_null = true;
        return NULL;
    }
    if (inet_endpoint_parse(slice_of(text), 25, &e) < 0 || e.port != 25)
        return "is not an address; use one of this host's, without a port, or none";
    wrong = not_a_host(&e);
    if (wrong) {
        snprintf(why, FIELD_TEXT_SIZE, "%s; use an address of this host, or none", wrong);
        return why;
    }
    snprintf(dst, FIELD_TEXT_SIZE, "%s", inet_address_text(&e, address));
    return NULL;
}

const char *
field_check_host(CHECK_ARGS)
{
    char host[INET_DOMAIN_SIZE];
    const char *wrong;

    (void)field;
    if (strcmp(text, "none") == 0) {
        *is_null = true;
        return NULL;
    }
    if (inet_domain_normalize(slice_of(text), host, &wrong) < 0) {
        snprintf(why, FIELD_TEXT_SIZE, "%s; use a name such as mail.acme.example, or none", wrong);
        return why;
    }
    snprintf(dst, FIELD_TEXT_SIZE, "%s", host);
    return NULL;
}

enum command_status
field_backend_name(const char *text, char customer[FIELD_NAME_SIZE], char number[16])
{
    const char *slash = strrchr(text, '/');
    char name[FIELD_NAME_SIZE];
    uint64_t n;

    if (slash == NULL || (size_t)(slash - text) >= sizeof name ||
        parse_u64(slice_of(slash + 1), &n) < 0 || n == 0 || n > 9999)
        return call_usage(
            "backend: \"%.100s\" is not the name of a backend; it is CUSTOMER/NUMBER, "
            "as in acme/1; `relayctl backend list` shows them",
            text);
    memcpy(name, text, (size_t)(slash - text));
    name[slash - text] = '\0';
    snprintf(number, 16, "%llu", (unsigned long long)n);
    return field_customer_name(name, customer);
}
