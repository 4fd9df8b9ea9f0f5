/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the host gives: disks, the resolver, and the certificates as they lie there (as the next
 * reload will read them; their keys may be relayd's alone).
 */
#include "admin/status_part.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/clock.h"
#include "base/inet.h"
#include "dns/dns.h"
#include "net/tls_certificate.h"

#define LOW_PERCENT 5
#define LOW_BYTES (UINT64_C(1) << 30)
#define RESOLVER_MS 2000

/* --- Disks. */

static void
look_at_folder(struct status_part *part, json_t *list, const char *setting, const char *folder)
{
    struct statvfs fs;
    uint64_t free_bytes, all_bytes;
    unsigned percent;

    if (statvfs(folder, &fs) < 0) {
        status_problem(part, "unknown", "%s%s: %s", buf_size(&part->detail) ? "; " : "", folder,
                       strerror(errno));
        return;
    }
    free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    all_bytes = (uint64_t)fs.f_blocks * fs.f_frsize;
    percent = all_bytes ? (unsigned)(free_bytes * 100 / all_bytes) : 0;
    buf_printf(&part->detail, "%s%s %.1f GiB free (%u %%)", buf_size(&part->detail) ? ", " : "",
               setting, (double)free_bytes / (double)(UINT64_C(1) << 30), percent);
    json_array_append_new(list, json_pack("{s:s, s:s, s:I, s:I}", "setting", setting, "folder",
                                          folder, "free_bytes", (json_int_t)free_bytes,
                                          "size_bytes", (json_int_t)all_bytes));
    if (percent < LOW_PERCENT || free_bytes < LOW_BYTES)
        status_problem(part, "low", ": make room, or give %s a disk of its own", setting);
}

/* One line for each file system. */
static void
look_at_disks(struct status *s)
{
    const struct config *c = s->call->config;
    const struct {
        const char *setting, *folder;
    } folders[] = {
        {"spool-dir", c->spool_dir}, {"state-dir", c->state_dir}, {"log-dir", c->log_dir}};
    struct status_part *part = status_add(s, "disk");
    dev_t seen[ARRAY_SIZE(folders)];
    json_t *list = json_array();
    unsigned count = 0;
    struct stat st;

    for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
        bool is_new = true;

        if (stat(folders[i].folder, &st) == 0) {
            for (unsigned j = 0; j < count; j++)
                is_new = is_new && seen[j] != st.st_dev;
            if (is_new)
                seen[count++] = st.st_dev;
        }
        if (is_new)
            look_at_folder(part, list, folders[i].setting, folders[i].folder);
    }
    status_fact(part, "folders", list);
}

/* --- The resolver: our own name, since every answer to that is good. */

struct question {
    struct loop *loop;
    struct dns_lookup *lookup; /* NULL: it has come to its end */
    struct dns_answer answer;
    bool is_answered;
};

static void
on_addresses(void *ctx, const struct dns_addresses *found)
{
    struct question *q = ctx;

    q->lookup = NULL;
    q->answer = found->answer;
    q->is_answered = found->answer.result != DNS_TEMPORARY;
    loop_stop(q->loop);
}

static void
on_silence(void *ctx)
{
    struct question *q = ctx;

    loop_stop(q->loop);
}

static void
ask(struct question *q, const struct config *config)
{
    struct dns *dns = dns_new(q->loop, &config->resolver);
    struct loop_timer timer;

    q->lookup = dns_lookup_addresses(dns, DNS_FOR_BACKEND, config->hostname, on_addresses, q);
    loop_timer_init(&timer, q->loop, on_silence, q);
    loop_timer_start(&timer, RESOLVER_MS);
    loop_run(q->loop);
    loop_timer_cancel(&timer);
    dns_lookup_cancel(&q->lookup);
    dns_free(&dns);
}

static void
look_at_resolver(struct status *s)
{
    struct status_part *part = status_add(s, "resolver");
    struct question q = {.loop = loop_new()};
    char address[INET_ENDPOINT_SIZE];
    int64_t began_ms = clock_monotonic_ms(), took_ms;

    inet_endpoint_text(&s->call->config->resolver, address);
    ask(&q, s->call->config);
    took_ms = clock_monotonic_ms() - began_ms;
    loop_free(&q.loop);
    part->state = "answers";
    status_fact(part, "address", json_string(address));
    status_fact(part, "answers", json_boolean(q.is_answered));
    status_fact(part, "ms", json_integer(took_ms));
    if (q.is_answered)
        buf_printf(&part->detail, "%s, in %lld ms", address, (long long)took_ms);
    else
        status_problem(part, "silent",
                       "%s does not answer: backends by name and sender checks wait for it; see "
                       "that resolver, or the setting resolver",
                       address);
}

/* --- Certificates. */

/* Its own line of `warnings` says it all: "tls-certificate PATH: ...". */
static bool
is_warned_of(const char *warnings, const char *path)
{
    static const char word[] = "tls-certificate ";
    size_t n = strlen(path);

    for (const char *at = warnings; (at = strstr(at, word)) != NULL;) {
        at += sizeof word - 1;
        if (strncmp(at, path, n) == 0 && at[n] == ':')
            return true;
    }
    return false;
}

static void
describe_certificate(struct status_part *part, json_t *list, const struct tls_certificate *c,
                     const char *warnings, int64_t now_ms)
{
    bool is_told = !is_warned_of(warnings, tls_certificate_path(c));
    json_t *names = json_array();
    char relative[PRINTER_RELATIVE_SIZE];

    if (is_told)
        buf_printf(&part->detail, "%s%s (%s", buf_size(&part->detail) ? "; " : "",
                   tls_certificate_path(c), tls_certificate_kind(c));
    for (size_t i = 0; i < tls_certificate_name_count(c); i++) {
        const char *name = tls_certificate_name(c, i);

        if (is_told)
            buf_printf(&part->detail, ", %s", name);
        json_array_append_new(names, printer_json_text(name));
    }
    if (is_told)
        buf_printf(&part->detail, ") ends %s",
                   printer_relative(tls_certificate_end_ms(c), now_ms, relative));
    json_array_append_new(list, json_pack("{s:o, s:s, s:o, s:o}", "file",
                                          printer_json_text(tls_certificate_path(c)), "kind",
                                          tls_certificate_kind(c), "names", names, "ends_at",
                                          printer_json_time(tls_certificate_end_ms(c))));
}

static void
add_certificate_warnings(struct status_part *part, const struct buf *warnings, const char *state)
{
    json_t *list = json_array();
    struct slice rest = buf_slice(warnings);

    while (rest.n > 0) {
        struct slice line = slice_split(&rest, '\n');

        status_problem(part, state, "%s%.*s", buf_size(&part->detail) ? "; " : "", (int)line.n,
                       line.p);
        json_array_append_new(list, json_stringn(line.p, line.n));
    }
    status_fact(part, "warnings", list);
}

static void
look_at_certificates(struct status *s)
{
    const struct config *c = s->call->config;
    struct status_part *part = status_add(s, "tls");
    size_t wanted = c->tls_certificate.count, count = 0;
    struct tls_certificate **certificates = mem_alloc((wanted + 1) * sizeof *certificates);
    json_t *list = json_array();
    struct buf warnings;

    buf_init(&warnings, 0);
    for (size_t i = 0; i < wanted; i++)
        if (tls_certificate_read(c->tls_certificate.items[i], c->tls_key.items[i], &warnings,
                                 &certificates[count]) == ERR_OK)
            count++;
    if (wanted == 0) {
        part->state = "off";
        buf_add_text(&part->detail, "no tls-certificate is set: STARTTLS is not offered");
    } else if (count == wanted)
        tls_certificates_warnings(certificates, count, c->hostname, s->now_ms, &warnings);
    for (size_t i = 0; i < count; i++)
        describe_certificate(part, list, certificates[i], buf_text(&warnings), s->now_ms);
    status_fact(part, "certificates", list);
    add_certificate_warnings(part, &warnings, count == wanted ? "warning" : "unusable");
    while (count > 0)
        tls_certificate_free(&certificates[--count]);
    free(certificates);
    buf_fini(&warnings);
}

void
status_look_host(struct status *s)
{
    look_at_disks(s);
    look_at_resolver(s);
    look_at_certificates(s);
}
