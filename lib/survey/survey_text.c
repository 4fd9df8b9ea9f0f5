/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Records are lists of TAG=VALUE with semicolons between; a table says what each tag may hold, and
 * tags that nobody knows are ignored, as both RFCs ask.
 */
#include "survey/survey_text.h"

#include <stdio.h>
#include <strings.h>

#define QUOTED_MAX 40

static const char *const dmarc_words[] = {
    [SURVEY_POLICY_NONE] = "none",
    [SURVEY_POLICY_QUARANTINE] = "quarantine",
    [SURVEY_POLICY_REJECT] = "reject",
};

static const char *const mode_words[] = {
    [SURVEY_STS_MODE_NONE] = "none",
    [SURVEY_STS_MODE_TESTING] = "testing",
    [SURVEY_STS_MODE_ENFORCE] = "enforce",
};

static int
wrong(char why[SURVEY_WHY_SIZE], const char *what, struct slice text)
{
    char quoted[QUOTED_MAX + 1];
    size_t n = text.n < QUOTED_MAX ? text.n : QUOTED_MAX;

    for (size_t i = 0; i < n; i++)
        quoted[i] = text.p[i] >= 0x20 && text.p[i] < 0x7f ? text.p[i] : '?';
    quoted[n] = '\0';
    snprintf(why, SURVEY_WHY_SIZE, "\"%s%s\" %s", quoted, text.n > n ? "..." : "", what);
    return ERR_SYNTAX;
}

static int
find_word(struct slice value, const char *const *words, unsigned count, unsigned *found)
{
    for (unsigned i = 0; i < count; i++)
        if (slice_equal_nocase(value, slice_of(words[i]))) {
            *found = i;
            return ERR_OK;
        }
    return ERR_SYNTAX;
}

/* --- Tags. */

struct tag {
    struct slice text, name, value;
};

/* ERR_AGAIN: there are no more. */
static int
next_tag(struct slice *rest, struct tag *tag, char why[SURVEY_WHY_SIZE])
{
    do {
        if (rest->p == NULL)
            return ERR_AGAIN;
        tag->text = slice_trim(slice_split(rest, ';'));
    } while (tag->text.n == 0);
    tag->value = tag->text;
    tag->name = slice_trim(slice_split(&tag->value, '='));
    if (tag->value.p == NULL)
        return wrong(why, "is no TAG=VALUE", tag->text);
    tag->value = slice_trim(tag->value);
    return ERR_OK;
}

/* The first tag is the version, in this spelling. */
static bool
has_version(struct slice text, const char *version)
{
    struct tag tag;
    char why[SURVEY_WHY_SIZE];

    return next_tag(&text, &tag, why) == ERR_OK && slice_equal(tag.name, SLICE("v")) &&
           slice_equal(tag.value, slice_of(version));
}

static bool
is_number(struct slice value, uint64_t max, uint64_t *number)
{
    uint64_t n = 0;

    for (size_t i = 0; i < value.n; i++) {
        if (value.p[i] < '0' || value.p[i] > '9' || n > max)
            return false;
        n = n * 10 + (uint64_t)(value.p[i] - '0');
    }
    *number = n;
    return value.n > 0 && n <= max;
}

/* --- DMARC. */

struct dmarc_reading {
    struct survey_dmarc *dmarc;
    bool has_policy, has_subdomains;
};

static bool
read_policy(struct dmarc_reading *r, struct slice value)
{
    unsigned found;

    if (find_word(value, dmarc_words, ARRAY_SIZE(dmarc_words), &found) < 0)
        return false;
    r->dmarc->policy = (enum survey_dmarc_policy)found;
    r->has_policy = true;
    return true;
}

static bool
read_subdomains(struct dmarc_reading *r, struct slice value)
{
    unsigned found;

    if (find_word(value, dmarc_words, ARRAY_SIZE(dmarc_words), &found) < 0)
        return false;
    r->dmarc->subdomains = (enum survey_dmarc_policy)found;
    r->has_subdomains = true;
    return true;
}

static bool
read_percent(struct dmarc_reading *r, struct slice value)
{
    uint64_t number;

    if (!is_number(value, 100, &number))
        return false;
    r->dmarc->percent = (unsigned)number;
    return true;
}

static bool
read_alignment(struct dmarc_reading *r, struct slice value)
{
    (void)r;
    return slice_equal_nocase(value, SLICE("r")) || slice_equal_nocase(value, SLICE("s"));
}

static bool
read_interval(struct dmarc_reading *r, struct slice value)
{
    uint64_t number;

    (void)r;
    return is_number(value, UINT32_MAX, &number);
}

/* Addresses as URIs, commas between; of mailto an address is expected. */
static bool
read_uris(struct dmarc_reading *r, struct slice value)
{
    r->dmarc->has_reports = true;
    do {
        struct slice uri = slice_trim(slice_split(&value, ','));
        bool is_mail = slice_starts_nocase(uri, SLICE("mailto:"));

        if (memchr(uri.p, ':', uri.n) == NULL || (is_mail && memchr(uri.p, '@', uri.n) == NULL))
            return false;
    } while (value.p != NULL);
    return true;
}

static const struct {
    const char *name;
    bool (*read)(struct dmarc_reading *reading, struct slice value);
    const char *wrong;
} dmarc_tags[] = {
    {"p", read_policy, "is no policy; it is none, quarantine or reject"},
    {"sp", read_subdomains, "is no policy; it is none, quarantine or reject"},
    {"pct", read_percent, "is no percentage"},
    {"adkim", read_alignment, "is neither r nor s"},
    {"aspf", read_alignment, "is neither r nor s"},
    {"ri", read_interval, "is no number of seconds"},
    {"rua", read_uris, "is no list of addresses such as mailto:dmarc@acme.example"},
    {"ruf", read_uris, "is no list of addresses such as mailto:dmarc@acme.example"},
};

const char *
survey_dmarc_word(enum survey_dmarc_policy policy)
{
    return dmarc_words[policy];
}

bool
survey_dmarc_is(struct slice text)
{
    return has_version(text, "DMARC1");
}

static int
read_dmarc_tag(struct dmarc_reading *reading, const struct tag *tag, char why[SURVEY_WHY_SIZE])
{
    for (size_t i = 0; i < ARRAY_SIZE(dmarc_tags); i++)
        if (slice_equal_nocase(tag->name, slice_of(dmarc_tags[i].name)) &&
            !dmarc_tags[i].read(reading, tag->value))
            return wrong(why, dmarc_tags[i].wrong, tag->text);
    return ERR_OK;
}

int
survey_dmarc_parse(struct slice text, struct survey_dmarc *dmarc, char why[SURVEY_WHY_SIZE])
{
    struct dmarc_reading reading = {.dmarc = dmarc};
    struct tag tag;
    int rc;

    *dmarc = (struct survey_dmarc){.percent = 100};
    if (!survey_dmarc_is(text))
        return wrong(why, "does not begin with v=DMARC1", text);
    while ((rc = next_tag(&text, &tag, why)) == ERR_OK)
        if ((rc = read_dmarc_tag(&reading, &tag, why)) < 0)
            return rc;
    if (rc != ERR_AGAIN)
        return rc;
    if (!reading.has_policy) {
        snprintf(why, SURVEY_WHY_SIZE, "it has no policy (p=)");
        return ERR_SYNTAX;
    }
    if (!reading.has_subdomains)
        dmarc->subdomains = dmarc->policy;
    return ERR_OK;
}

/* --- MTA-STS: the record. */

bool
survey_sts_is(struct slice text)
{
    return has_version(text, "STSv1");
}

static bool
is_id(struct slice value)
{
    for (size_t i = 0; i < value.n; i++) {
        char c = value.p[i];

        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')))
            return false;
    }
    return value.n > 0 && value.n < SURVEY_STS_ID_SIZE;
}

int
survey_sts_parse(struct slice text, char id[SURVEY_STS_ID_SIZE], char why[SURVEY_WHY_SIZE])
{
    struct tag tag;
    int rc;

    id[0] = '\0';
    if (!survey_sts_is(text))
        return wrong(why, "does not begin with v=STSv1", text);
    while ((rc = next_tag(&text, &tag, why)) == ERR_OK) {
        if (!slice_equal(tag.name, SLICE("id")))
            continue;
        if (!is_id(tag.value) || !slice_to_text(tag.value, id, SURVEY_STS_ID_SIZE))
            return wrong(why, "is no id; it has 1 to 32 letters and digits", tag.text);
    }
    if (rc != ERR_AGAIN)
        return rc;
    if (id[0] != '\0')
        return ERR_OK;
    snprintf(why, SURVEY_WHY_SIZE, "it has no id (id=)");
    return ERR_SYNTAX;
}

/* --- MTA-STS: the policy. */

struct policy_reading {
    struct survey_sts_policy *policy;
    bool has_version, has_mode, has_age;
};

static bool
read_version(struct policy_reading *r, struct slice value)
{
    r->has_version = true;
    return slice_equal(value, SLICE("STSv1"));
}

static bool
read_mode(struct policy_reading *r, struct slice value)
{
    unsigned found;

    if (find_word(value, mode_words, ARRAY_SIZE(mode_words), &found) < 0)
        return false;
    r->policy->mode = (enum survey_sts_mode)found;
    r->has_mode = true;
    return true;
}

static bool
read_age(struct policy_reading *r, struct slice value)
{
    uint64_t number;

    if (!is_number(value, 31557600, &number)) /* RFC 8461 3.2 */
        return false;
    r->policy->max_age_s = (uint32_t)number;
    r->has_age = true;
    return true;
}

static bool
read_host(struct policy_reading *r, struct slice value)
{
    struct slice name = value;
    char normal[INET_DOMAIN_SIZE];
    const char *why;

    if (name.n > 2 && memcmp(name.p, "*.", 2) == 0)
        name = (struct slice){name.p + 2, name.n - 2};
    if (inet_domain_normalize(name, normal, &why) < 0)
        return false;
    if (r->policy->host_count < SURVEY_STS_HOSTS_MAX &&
        slice_to_text(value, r->policy->hosts[r->policy->host_count], INET_DOMAIN_SIZE))
        r->policy->host_count++;
    return true;
}

static const struct {
    const char *key;
    bool (*read)(struct policy_reading *reading, struct slice value);
    const char *wrong;
} policy_keys[] = {
    {"version", read_version, "is not STSv1"},
    {"mode", read_mode, "is no mode; it is enforce, testing or none"},
    {"max_age", read_age, "is no number of seconds up to 31557600"},
    {"mx", read_host, "is no name of a host"},
};

static int
read_policy_line(struct policy_reading *reading, struct slice line, char why[SURVEY_WHY_SIZE])
{
    struct slice value = line, key = slice_trim(slice_split(&value, ':'));

    if (value.p == NULL)
        return wrong(why, "is no KEY: VALUE", line);
    value = slice_trim(value);
    for (size_t i = 0; i < ARRAY_SIZE(policy_keys); i++)
        if (slice_equal(key, slice_of(policy_keys[i].key)) && !policy_keys[i].read(reading, value))
            return wrong(why, policy_keys[i].wrong, line);
    return ERR_OK;
}

/* What must be there. */
static int
check_policy(const struct policy_reading *r, char why[SURVEY_WHY_SIZE])
{
    const char *missing = !r->has_version ? "version: STSv1"
                          : !r->has_mode  ? "mode"
                          : !r->has_age   ? "max_age"
                          : r->policy->host_count == 0 && r->policy->mode != SURVEY_STS_MODE_NONE
                              ? "mx"
                              : NULL;

    if (missing == NULL)
        return ERR_OK;
    snprintf(why, SURVEY_WHY_SIZE, "it has no line \"%s\"", missing);
    return ERR_SYNTAX;
}

const char *
survey_sts_mode_word(enum survey_sts_mode mode)
{
    return mode_words[mode];
}

int
survey_sts_policy_parse(struct slice text, struct survey_sts_policy *policy,
                        char why[SURVEY_WHY_SIZE])
{
    struct policy_reading reading = {.policy = policy};

    *policy = (struct survey_sts_policy){.mode = SURVEY_STS_MODE_NONE};
    while (text.p != NULL) {
        struct slice line = slice_split(&text, '\n');
        int rc;

        if (line.n > 0 && line.p[line.n - 1] == '\r')
            line.n--;
        line = slice_trim(line);
        if (line.n > 0 && (rc = read_policy_line(&reading, line, why)) < 0)
            return rc;
    }
    return check_policy(&reading, why);
}

bool
survey_sts_policy_has(const struct survey_sts_policy *policy, const char *host)
{
    const char *dot = strchr(host, '.');

    for (unsigned i = 0; i < policy->host_count; i++) {
        const char *own = policy->hosts[i];

        if (strcasecmp(own, host) == 0)
            return true;
        if (own[0] == '*' && dot && strcasecmp(own + 1, dot) == 0)
            return true;
    }
    return false;
}
