/* SPDX-License-Identifier: BSD-2-Clause
 *
 * relayctl spool export: messages as they would go to the backend, into files or to standard
 * output. That it is done, by whom and why, is written down before the first octet leaves the
 * spool.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "admin/commands.h"
#include "admin/selection.h"
#include "admin/spool_content.h"
#include "admin/spool_orders.h"
#include "admin/spool_reader.h"
#include "admin/spool_serve.h"

struct export
{
    struct spool_orders orders;
    struct spool_store *store;
    const char *folder; /* NULL: standard output */
    int folder_fd;
    struct printer *printer;
    size_t failed;
};

static const struct printer_column columns[] = {
    {"id", "ID", PRINTER_LEFT},
    {"file", "FILE", PRINTER_LEFT},
    {"size_bytes", "SIZE", PRINTER_RIGHT},
};

static enum command_status
open_folder(struct export *e)
{
    e->folder_fd = open(e->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (e->folder_fd >= 0)
        return COMMAND_DONE;
    call_complain("--to: %s: %s; it must be a folder that is there", e->folder, strerror(errno));
    return COMMAND_FAILED;
}

static const char *
why_not(int rc)
{
    return rc == ERR_CORRUPT ? "its stored body is damaged"
           : rc == ERR_IO    ? strerror(errno)
                             : err_text(rc);
}

/* A file that is there is not written over; one that could not be written whole does not stay. */
static int
write_file(struct export *e, struct spool_message *m, const char *name)
{
    int fd = openat(e->folder_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    FILE *out = fd >= 0 ? fdopen(fd, "w") : NULL;
    int rc = ERR_IO, saved = errno;

    if (out) {
        rc = spool_content_write(e->store, m, out);
        saved = errno;
        if (fclose(out) != 0 && rc == ERR_OK) {
            rc = ERR_IO;
            saved = errno;
        }
        if (rc != ERR_OK)
            unlinkat(e->folder_fd, name, 0);
    }
    errno = saved;
    return rc;
}

static void
export_to_folder(struct export *e, struct spool_message *m)
{
    char id[REF_SIZE], name[REF_SIZE + 8], path[CALL_PATH_SIZE];
    struct stat st;
    int rc;

    snprintf(name, sizeof name, "%s.eml", ref_text(m->ref, id));
    call_path(path, e->folder, name);
    rc = write_file(e, m, name);
    if (rc != ERR_OK) {
        call_complain("%s: %s", path, why_not(rc));
        e->failed++;
        return;
    }
    printer_text(e->printer, id);
    printer_text(e->printer, path);
    printer_size(e->printer,
                 fstatat(e->folder_fd, name, &st, 0) == 0 ? (uint64_t)st.st_size : m->body_bytes);
}

static void
export_to_output(struct export *e, struct spool_message *m)
{
    char id[REF_SIZE];
    int rc = spool_content_write(e->store, m, e->orders.call->printing.out);

    if (rc == ERR_OK)
        return;
    call_complain("%s: %s", ref_text(m->ref, id), why_not(rc));
    e->failed++;
}

static void
export_all(struct export *e)
{
    if (e->folder)
        e->printer =
            printer_new(&e->orders.call->printing, PRINTER_LIST, columns, ARRAY_SIZE(columns));
    for (size_t i = 0; i < e->orders.picked_count; i++) {
        struct spool_message *m = spool_store_find(e->store, e->orders.picked[i]);

        if (e->folder)
            export_to_folder(e, m);
        else
            export_to_output(e, m);
    }
    if (e->printer)
        printer_finish(&e->printer);
}

static enum command_status
check_output(const struct export *e)
{
    if (e->folder == NULL && call_value(e->orders.call, "json"))
        return call_usage("--json lists files: it needs --to FOLDER");
    if (e->folder == NULL && e->orders.picked_count > 1)
        return call_usage("%zu messages match, and one can go to standard output; for more: --to "
                          "FOLDER",
                          e->orders.picked_count);
    return COMMAND_DONE;
}

static enum command_status
status_of(const struct export *e, size_t missing)
{
    size_t done = e->orders.picked_count - e->failed;

    if (e->failed + missing == 0)
        return COMMAND_DONE;
    if (done > 0)
        return COMMAND_PARTLY;
    return e->failed > 0 ? COMMAND_FAILED : COMMAND_NOTHING;
}

static enum command_status
run(struct export *e, const struct selection *selection)
{
    enum command_status status;
    size_t missing;

    spool_orders_pick(&e->orders, selection, e->store);
    missing = spool_orders_complain(&e->orders);
    if (e->orders.picked_count == 0) {
        if (missing == 0)
            selection_complain(e->orders.call, selection);
        return missing == 0 && selection->is_empty ? COMMAND_DONE : COMMAND_NOTHING;
    }
    status = check_output(e);
    if (status == COMMAND_DONE && e->folder)
        status = open_folder(e);
    if (status == COMMAND_DONE)
        status = spool_orders_give(&e->orders, e->store);
    if (status != COMMAND_DONE)
        return status;
    if (e->orders.is_broken)
        return COMMAND_LATER;
    export_all(e);
    return status_of(e, missing);
}

enum command_status
spool_export(struct call *call)
{
    struct export e = {.folder = call_value(call, "to"), .folder_fd = -1};
    struct selection selection;
    enum command_status status;

    if (spool_serve_ask(call, &status))
        return status;
    if (call->reads_for && e.folder)
        return call_usage("--to: the spool is read for you by its own user, who writes no files: "
                          "relayctl spool export ID --reason TEXT >FILE, one message at a time");
    status = selection_read(call, &selection);
    spool_orders_init(&e.orders, call, SPOOL_ACT_EXPORT);
    if (status == COMMAND_DONE)
        status = selection_need(call, &selection);
    if (status == COMMAND_DONE)
        status = spool_orders_check_reason(&e.orders);
    if (status == COMMAND_DONE && selection.node && selection.node != call->config->node)
        status = call_usage("--node: content lies in the spool itself; run relayctl on node %u",
                            selection.node);
    if (status == COMMAND_DONE)
        status = spool_reader_open(call, &e.store);
    if (status == COMMAND_DONE)
        status = run(&e, &selection);
    if (e.folder_fd >= 0)
        close(e.folder_fd);
    spool_orders_fini(&e.orders);
    spool_store_close(&e.store);
    selection_fini(&selection);
    return status;
}
