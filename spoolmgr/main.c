/* SPDX-License-Identifier: BSD-2-Clause
 *
 * spoolmgr: the command line, the lock, and becoming the configured user.  The rest is the
 * keeper's.
 */
#include "config.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crash_point.h"
#include "base/io_fault.h"
#include "base/log.h"
#include "net/control.h"
#include "net/loop.h"
#include "net/process.h"
#include "spoolmgr/keeper.h"

#define PASS_TIMEOUT_MS 10000

static const char usage[] =
    "usage: spoolmgr [-c FILE] [--once | --fsck | -t]\n"
    "\n"
    "Delivers the mail that the relay has kept.\n"
    "\n"
    "  -c FILE     the configuration (default " CONFIG_DEFAULT_FILE ")\n"
    "  --once      one retry pass over everything that is open, then exit; beside a\n"
    "              running keeper the pass is handed over to it\n"
    "  --fsck      read the whole spool, report, change nothing\n"
    "  -t          check the configuration\n"
    "  --help, --version\n";

enum mode { MODE_RUN, MODE_ONCE, MODE_FSCK, MODE_TEST, MODE_DONE, MODE_USAGE };

struct arguments {
    const char *config_file;
    enum mode mode;
};

static const struct option long_options[] = {
    {"once", no_argument, NULL, 'o'},
    {"fsck", no_argument, NULL, 'f'},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'v'},
    {NULL, 0, NULL, 0},
};

static enum mode
take_option(struct arguments *arguments, int option)
{
    static const struct {
        int option;
        enum mode mode;
    } modes[] = {{'o', MODE_ONCE}, {'f', MODE_FSCK}, {'t', MODE_TEST}};

    if (option == 'c') {
        arguments->config_file = optarg;
        return arguments->mode;
    }
    if (option == 'h')
        fputs(usage, stdout);
    if (option == 'v')
        puts(PACKAGE_STRING);
    if (option == 'h' || option == 'v')
        return MODE_DONE;
    for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
        if (modes[i].option == option && arguments->mode == MODE_RUN)
            return modes[i].mode;
    }
    return MODE_USAGE;
}

static struct arguments
parse(int argc, char **argv)
{
    struct arguments arguments = {CONFIG_DEFAULT_FILE, MODE_RUN};
    int option;

    while (arguments.mode != MODE_DONE && arguments.mode != MODE_USAGE &&
           (option = getopt_long(argc, argv, "c:t", long_options, NULL)) != -1)
        arguments.mode = take_option(&arguments, option);
    if (optind < argc && arguments.mode != MODE_DONE)
        arguments.mode = MODE_USAGE;
    return arguments;
}

static struct config *
load(const char *path)
{
    struct config *config;
    struct buf problems;

    buf_init(&problems, 0);
    if (config_load(path, &problems, &config) != 0) {
        fputs(buf_text(&problems), stderr);
        config = NULL;
    }
    buf_fini(&problems);
    return config;
}

/* Another keeper has the lock: it makes the pass. */
static int
hand_over(const struct config *config, pid_t owner)
{
    char path[4096];
    struct buf answer;
    int err;

    snprintf(path, sizeof path, "%s/spoolmgr.sock", config->run_dir);
    buf_init(&answer, 0);
    err = control_call(path, SLICE("{\"verb\":\"pass\"}"), PASS_TIMEOUT_MS, &answer);
    if (err == 0)
        printf("A keeper is running (pid %ld): the retry pass was handed over to it. It answers: "
               "%s\n",
               (long)owner, buf_text(&answer));
    else
        fprintf(stderr,
                "spoolmgr: a keeper is running (pid %ld), but it does not answer on %s: %s\n",
                (long)owner, path, err_text(err));
    buf_fini(&answer);
    return err == 0 ? 0 : 1;
}

static int
refuse(const struct config *config, pid_t owner)
{
    fprintf(stderr,
            "spoolmgr: another keeper owns the spool in %s (pid %ld); there can be only one. "
            "Stop it first, or use spoolmgr --once to have it make a retry pass.\n",
            config->spool_dir, (long)owner);
    return 1;
}

static int
run(const struct config *config, bool once)
{
    char path[4096];
    pid_t owner;
    bool is_first;
    int fd, err;

    snprintf(path, sizeof path, "%s/lock", config->spool_dir);
    is_first = access(path, F_OK) != 0; /* the lock stays behind its holder */
    err = process_lock(path, &fd, &owner);
    if (err == ERR_BUSY)
        return once ? hand_over(config, owner) : refuse(config, owner);
    if (err != 0) {
        fprintf(stderr,
                "spoolmgr: cannot lock %s: %s; the folder spool-dir must exist and belong to the "
                "user of the relay\n",
                path, strerror(errno));
        return 1;
    }
    crash_point_begin();
    io_fault_begin();
    return keeper_run(config, once, is_first);
}

static int
share_sockets(const struct config *config)
{
    int err = control_share(config->run_dir, config->control_group);

    if (err != 0)
        fprintf(stderr, "spoolmgr: control-group \"%s\": %s\n", config->control_group,
                err == ERR_NOT_FOUND ? "there is no such group" : strerror(errno));
    return err == 0 ? 0 : 1;
}

static int
become(const struct config *config)
{
    int err = process_become(config->user);

    if (err == 0)
        return 0;
    fprintf(stderr, "spoolmgr: cannot become the user \"%s\": %s\n", config->user, err_text(err));
    return 1;
}

static int
set_zone(const struct config *config)
{
    if (clock_set_timezone(config->timezone) == 0)
        return 0;
    fprintf(stderr, "spoolmgr: timezone: the system knows no zone \"%s\"\n", config->timezone);
    return 1;
}

static int
dispatch(const struct config *config, enum mode mode)
{
    if (set_zone(config) != 0)
        return 1;
    if (mode == MODE_TEST) {
        printf("%s: the configuration is good\n", config->path);
        return 0;
    }
    if ((mode != MODE_FSCK && share_sockets(config) != 0) || become(config) != 0)
        return 1;
    if (mode == MODE_FSCK)
        return fsck_run(config);
    return run(config, mode == MODE_ONCE);
}

int
main(int argc, char **argv)
{
    struct arguments arguments = parse(argc, argv);
    struct config *config;
    int status;

    if (arguments.mode == MODE_DONE)
        return 0;
    if (arguments.mode == MODE_USAGE) {
        fputs(usage, stderr);
        return 2;
    }
    log_init("spoolmgr", STDERR_FILENO, LOG_LEVEL_INFO);
    signal(SIGPIPE, SIG_IGN);
    if (arguments.mode == MODE_RUN)
        loop_expect_signal(SIGHUP); /* a reload while it starts comes after */
    config = load(arguments.config_file);
    if (config == NULL)
        return 1;
    status = dispatch(config, arguments.mode);
    config_free(&config);
    return status;
}
