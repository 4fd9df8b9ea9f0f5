/* SPDX-License-Identifier: BSD-2-Clause */
#include "admin/simulate_message.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "smtp/smtp_origin.h"
#include "smtp/smtp_path.h"
#include "smtp/smtp_trace.h"

#define PIECE_BYTES 65536

struct reading {
    struct smtp_header_scan header;
    struct smtp_origin origin;
    char domain[INET_DOMAIN_SIZE];
    uint64_t size_bytes;
    bool is_damaged, behind_cr;
    struct buf *content;
    uint64_t content_max;
};

static void
feed(struct reading *r, const char *p, size_t n)
{
    struct slice piece = {p, n};

    r->size_bytes += n;
    if (r->size_bytes <= r->content_max)
        buf_add_slice(r->content, piece);
    smtp_header_scan_feed(&r->header, piece);
    smtp_origin_feed(&r->origin, piece);
}

/* As it would come over SMTP: a line end of the file is CR LF. */
static void
feed_file(struct reading *r, const char *p, size_t n)
{
    size_t begin = 0;

    for (size_t i = 0; i < n; i++) {
        if ((r->behind_cr && p[i] != '\n') || p[i] == '\0')
            r->is_damaged = true;
        if (p[i] == '\n' && !r->behind_cr) {
            feed(r, p + begin, i - begin);
            feed(r, "\r\n", 2);
            begin = i + 1;
        }
        r->behind_cr = p[i] == '\r';
    }
    feed(r, p + begin, n - begin);
}

static void
begin(struct reading *r, const struct call *call, const char *rcpt)
{
    struct smtp_path path;

    if (smtp_path_parse_mailbox(slice_of(rcpt), &path) == ERR_OK)
        snprintf(r->domain, sizeof r->domain, "%s", path.domain);
    smtp_header_scan_init(&r->header, call->config->hostname, r->domain);
    smtp_origin_init(&r->origin);
}

static json_t *
as_json(const struct reading *r)
{
    char text[INET_ENDPOINT_SIZE] = "";
    struct inet_endpoint client;

    if (smtp_origin_client(&r->origin, &client))
        inet_address_text(&client, text);
    return json_pack("{s:I, s:i, s:i, s:b, s:s}", "size", (json_int_t)r->size_bytes, "received",
                     (int)r->header.received_count, "own_received", (int)r->header.own_received,
                     "damaged", r->is_damaged || r->behind_cr, "origin", text);
}

enum command_status
simulate_message_read(const struct call *call, const char *path, const char *rcpt, json_t **message,
                      struct buf *content)
{
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    static char piece[PIECE_BYTES];
    struct reading r = {.content = content, .content_max = call->config->max_message_size};
    size_t n;

    if (file == NULL) {
        call_complain("--message: %s: %s", path, strerror(errno));
        return COMMAND_FAILED;
    }
    begin(&r, call, rcpt);
    while ((n = fread(piece, 1, sizeof piece, file)) > 0)
        feed_file(&r, piece, n);
    if (ferror(file))
        call_complain("--message: %s: %s", path, strerror(errno));
    else
        *message = as_json(&r);
    if (file != stdin)
        fclose(file);
    return *message ? COMMAND_DONE : COMMAND_FAILED;
}
