/* SPDX-License-Identifier: BSD-2-Clause
 *
 *   asker ── {"args":["list","--customer=acme",...],"colour":true,"width":80} and three descriptors
 * ──▶ server ◀── one octet: the exit status ──
 *
 * The server writes to the asker's own descriptors, so nothing is copied between the two.  It takes
 * the verbs of a table, and its configuration from the keeper alone.
 */
#define _GNU_SOURCE 1

#include "admin/spool_serve.h"

#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/parse.h"

#define DESCRIPTORS 3
#define LINE_MAX_BYTES (4 * 1024 * 1024)
#define SERVED 3 /* the connection, in the server */
#define ASK_S 10 /* from the connection to the whole of the arguments */

static const char *const verbs[] = {"list", "show", "summary", "export"};

/* --- The asker. */

/* Its files are the spool's user's alone. */
static bool
is_ours(const struct call *call)
{
    struct stat st;

    if (stat(call->config->spool_dir, &st) < 0)
        return errno != EACCES;
    return geteuid() == 0 || st.st_uid == geteuid();
}

static bool
is_elsewhere(const struct call *call)
{
    const char *text = call_value(call, "node");
    uint64_t node;

    return text != NULL && (parse_u64(slice_of(text), &node) < 0 || node != call->config->node);
}

static json_t *
request_of(const struct call *call)
{
    json_t *args = json_array();

    json_array_append_new(args, json_string(call->line.command->verb));
    for (unsigned i = 0; i < call->line.given_count; i++) {
        const struct command_option *option = call->line.given[i].option;

        if (strcmp(option->name, "config") == 0)
            continue;
        json_array_append_new(
            args, option->value ? json_sprintf("--%s=%s", option->name, call->line.given[i].value)
                                : json_sprintf("--%s", option->name));
    }
    json_array_append_new(args, json_string("--"));
    for (unsigned i = 0; i < call->line.operand_count; i++)
        json_array_append_new(args, json_string(call->line.operands[i]));
    return json_pack("{s:o, s:b, s:i}", "args", args, "colour", call->printing.colour, "width",
                     (int)call->printing.width);
}

/* The descriptors go with the first octet. */
static bool
send_request(int fd, const struct call *call)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(DESCRIPTORS * sizeof(int))];
    } control = {0};
    const int fds[DESCRIPTORS] = {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO};
    json_t *request = request_of(call);
    char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;
    struct iovec first = {.iov_base = text, .iov_len = 1};
    struct msghdr message = {.msg_iov = &first,
                             .msg_iovlen = 1,
                             .msg_control = control.room,
                             .msg_controllen = sizeof control.room};
    bool is_sent = false;

    control.header = (struct cmsghdr){
        .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof fds)};
    memcpy(CMSG_DATA(&control.header), fds, sizeof fds);
    if (text && sendmsg(fd, &message, MSG_NOSIGNAL) == 1) {
        size_t at = 1, length = strlen(text) + 1; /* its NUL ends it */
        ssize_t n = 1;

        while (at < length && (n = send(fd, text + at, length - at, MSG_NOSIGNAL)) > 0)
            at += (size_t)n;
        is_sent = at == length;
    }
    free(text);
    json_decref(request);
    return is_sent;
}

static int
dial(const struct call *call)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    char path[CALL_PATH_SIZE];
    int fd;

    call_path(path, call->config->run_dir, "spoolmgr-read.sock");
    if (!slice_to_text(slice_of(path), un.sun_path, sizeof un.sun_path))
        return -1;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&un, sizeof un) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

bool
spool_serve_ask(const struct call *call, enum command_status *status)
{
    unsigned char octet = COMMAND_LATER;
    int fd;

    if (call->reads_for || is_ours(call) || is_elsewhere(call) || (fd = dial(call)) < 0)
        return false;
    fflush(NULL);
    if (!send_request(fd, call) || recv(fd, &octet, 1, 0) != 1)
        call_complain("the keeper does not serve this now: it has eight readers at once, or its "
                      "log says why; "
                      "try again");
    close(fd);
    *status = (enum command_status)octet;
    return true;
}

/* --- The server. */

static bool
take_descriptors(struct msghdr *message)
{
    struct cmsghdr *c = CMSG_FIRSTHDR(message);
    int fds[DESCRIPTORS];

    if (c == NULL || c->cmsg_type != SCM_RIGHTS || c->cmsg_len != CMSG_LEN(sizeof fds))
        return false;
    memcpy(fds, CMSG_DATA(c), sizeof fds);
    for (int i = 0; i < DESCRIPTORS; i++)
        if (dup2(fds[i], i) < 0)
            return false;
    for (int i = 0; i < DESCRIPTORS; i++)
        if (fds[i] >= DESCRIPTORS)
            close(fds[i]);
    return true;
}

static json_t *
read_request(void)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(DESCRIPTORS * sizeof(int))];
    } control;
    char piece[65536];
    struct iovec first = {.iov_base = piece, .iov_len = 1};
    struct msghdr message = {.msg_iov = &first,
                             .msg_iovlen = 1,
                             .msg_control = control.room,
                             .msg_controllen = sizeof control.room};
    struct buf line;
    json_t *request = NULL;
    ssize_t n = recvmsg(SERVED, &message, MSG_CMSG_CLOEXEC);

    buf_init(&line, 0);
    if (n == 1 && take_descriptors(&message)) {
        do
            buf_add(&line, piece, (size_t)n);
        while (piece[n - 1] != '\0' && buf_size(&line) < LINE_MAX_BYTES &&
               (n = recv(SERVED, piece, sizeof piece, 0)) > 0);
        request = json_loads(buf_text(&line), 0, NULL);
    }
    buf_fini(&line);
    return request;
}

static bool
is_reading(const char *verb)
{
    for (size_t i = 0; verb != NULL && i < ARRAY_SIZE(verbs); i++)
        if (strcmp(verbs[i], verb) == 0)
            return true;
    return false;
}

/* Behind noun and verb, so that whatever comes then, a second configuration is a mistake. */
static char **
words_of(const json_t *args, const char *config, int *argc)
{
    size_t count = json_array_size(args);
    char **argv = mem_alloc((count + 5) * sizeof *argv);
    int n = 0;

    argv[n++] = mem_strdup("relayctl");
    argv[n++] = mem_strdup("spool");
    argv[n++] = mem_strdup(json_string_value(json_array_get(args, 0)));
    argv[n++] = mem_strdup("--config");
    argv[n++] = mem_strdup(config);
    for (size_t i = 1; i < count; i++)
        argv[n++] = mem_strdup(json_string_value(json_array_get(args, i)) ?: "");
    *argc = n;
    return argv;
}

bool
spool_serve_begin(int *argc, char ***argv, const char **who)
{
    const char *config = (*argv)[2];
    json_t *request, *args;
    char width[16];

    *who = (*argv)[3];
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* ends with the keeper */
    close_range(SERVED + 1, ~0U, 0);
    alarm(ASK_S);
    request = read_request();
    alarm(0);
    args = json_object_get(request, "args");
    if (!is_reading(json_string_value(json_array_get(args, 0)))) {
        json_decref(request);
        return false;
    }
    if (!json_is_true(json_object_get(request, "colour")))
        setenv("NO_COLOR", "1", 1);
    snprintf(width, sizeof width, "%d", (int)json_integer_value(json_object_get(request, "width")));
    setenv("COLUMNS", width, 1);
    *argv = words_of(args, config, argc);
    json_decref(request);
    return true;
}

void
spool_serve_end(enum command_status status)
{
    unsigned char octet = (unsigned char)status;

    fflush(NULL);
    if (send(SERVED, &octet, 1, MSG_NOSIGNAL) < 0)
        return; /* its asker has gone */
}
