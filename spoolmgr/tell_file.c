/* SPDX-License-Identifier: BSD-2-Clause
 *
 * spool-dir/told: what customers have been told and are to be told, as lines of words between tabs,
 * replaced by rename.
 */
#include "spoolmgr/tell_private.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/parse.h"

#define FILE_MOST (64 << 20) /* that is read */

static void
path_of(const struct tell *tell, const char *end, char *dst, size_t dst_size)
{
    snprintf(dst, dst_size, "%s/told%s", tell->keeper->config->spool_dir, end);
}

static void
text_of(struct tell *tell, struct buf *out)
{
    int32_t today = clock_local_day(clock_wall_ms());

    buf_printf(out, "told\t1\t%" PRId64 "\n", clock_wall_ms());
    for (size_t i = 0; i < TELL_SLOTS; i++)
        for (const struct tell_customer *c = tell->customers[i]; c != NULL; c = c->next) {
            if (customer_trouble_is_empty(&c->trouble, today))
                continue;
            buf_printf(out, "customer\t%u\t%" PRIu64 "\t%s\n", c->id, c->messages, c->name);
            customer_trouble_text(&c->trouble, out);
        }
}

static bool
put(const char *path, const char *path_new, struct slice text)
{
    int fd = open(path_new, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    size_t done = 0;

    while (fd >= 0 && done < text.n) {
        ssize_t n = write(fd, text.p + done, text.n - done);

        if (n <= 0)
            break;
        done += (size_t)n;
    }
    if (fd >= 0 && close(fd) == 0 && done == text.n && rename(path_new, path) == 0)
        return true;
    (void)unlink(path_new);
    return false;
}

/* Not synced, since nothing may block the loop: behind a loss of power it may be an older one, or
 * empty.  Then things are told twice, and a digest lacks what was in it and is cleaned away. */
void
tell_file_write(struct tell *tell)
{
    char path[4096], path_new[4096];
    struct buf text;
    bool is_good;

    buf_init(&text, 0);
    text_of(tell, &text);
    path_of(tell, "", path, sizeof path);
    path_of(tell, ".new", path_new, sizeof path_new);
    is_good = put(path, path_new, buf_slice(&text));
    buf_fini(&text);
    if (!is_good && !tell->has_failed)
        log_line(LOG_LEVEL_WARN, NULL, "told-unwritable",
                 "file=%s effect=\"behind a restart customers may be told things twice\"", path);
    tell->has_failed = !is_good;
    tell->is_dirty = !is_good;
}

/* "customer" id waited name; what follows is of it. NULL: it is no such line. */
static struct tell_customer *
read_customer(struct tell *tell, struct slice line)
{
    char name[REGISTRY_NAME_SIZE];
    struct tell_customer *c;
    uint64_t id, waited;

    if (!slice_equal(slice_split(&line, '\t'), SLICE("customer")) ||
        parse_u64(slice_split(&line, '\t'), &id) != ERR_OK || id > UINT32_MAX ||
        parse_u64(slice_split(&line, '\t'), &waited) != ERR_OK ||
        !slice_to_text(line, name, sizeof name))
        return NULL;
    c = tell_customer_of(tell, (uint32_t)id, name);
    c->waited = waited;
    return c;
}

/* ERR_SYNTAX: what is good of it has been taken. */
static int
read_text(struct tell *tell, struct slice text)
{
    struct slice line = slice_split(&text, '\n');
    struct tell_customer *c = NULL;
    uint64_t written_at_ms;
    int err = ERR_OK;

    if (!slice_starts_nocase(line, SLICE("told\t1\t")) ||
        parse_u64((struct slice){line.p + 7, line.n - 7}, &written_at_ms) != ERR_OK)
        return ERR_SYNTAX;
    tell->written_at_ms = (int64_t)written_at_ms;
    while (text.n > 0) {
        struct tell_customer *next;

        line = slice_split(&text, '\n');
        next = read_customer(tell, line);
        if (next != NULL)
            c = next;
        else if (c == NULL || customer_trouble_parse(&c->trouble, line) != ERR_OK)
            err = ERR_SYNTAX;
    }
    return err;
}

static void
read_open(struct tell *tell, int fd, const char *path)
{
    struct buf text;
    ssize_t n = 1;
    char *room;

    buf_init(&text, FILE_MOST);
    while (n > 0 && buf_room(&text, 65536, &room) == ERR_OK) {
        n = read(fd, room, 65536);
        buf_added(&text, n > 0 ? (size_t)n : 0);
    }
    if (n != 0 || read_text(tell, buf_slice(&text)) != ERR_OK)
        log_line(LOG_LEVEL_WARN, NULL, "told-unreadable",
                 "file=%s effect=\"customers may be told things twice, and not of what had ended\"",
                 path);
    buf_fini(&text);
}

void
tell_file_read(struct tell *tell)
{
    char path[4096];
    int fd;

    path_of(tell, "", path, sizeof path);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        read_open(tell, fd, path);
        close(fd);
    }
    for (size_t i = 0; i < TELL_SLOTS; i++)
        for (struct tell_customer *c = tell->customers[i]; c != NULL; c = c->next)
            tell->line_count += c->trouble.failure_count;
}
