/* SPDX-License-Identifier: BSD-2-Clause
 *
 * relayd: the command line, then the parent.
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "config.h"

#include "base/config.h"
#include "base/crash_point.h"
#include "base/io_fault.h"
#include "base/log.h"
#include "net/loop.h"
#include "net/tls_memory.h"
#include "relayd/parent.h"

enum { EXIT_USAGE = 2 };

static const char usage[] =
    "usage: relayd [-c FILE] [-t]\n"
    "  -c, --config FILE   read FILE instead of " CONFIG_DEFAULT_FILE "\n"
    "  -t, --test          check the configuration, print every problem with its line, and exit\n"
    "      --sample        print a sample configuration with all settings and their defaults\n"
    "      --help          print this text\n"
    "      --version       print the version\n"
    "Runs in the foreground and logs to standard error. SIGHUP reloads, SIGTERM stops. See "
    "relayd(8).\n";

static int
print_sample(void)
{
    struct buf out;

    buf_init(&out, 0);
    config_write_sample(&out);
    fputs(buf_text(&out), stdout);
    buf_fini(&out);
    return 0;
}

static struct config *
load(const char *path)
{
    struct buf problems;
    struct config *config;

    buf_init(&problems, 0);
    if (config_load(path, &problems, &config) < 0)
        fputs(buf_text(&problems), stderr);
    buf_fini(&problems);
    return config;
}

int
main(int argc, char **argv)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'}, {"test", no_argument, NULL, 't'},
        {"sample", no_argument, NULL, 's'},       {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'v'},      {NULL, 0, NULL, 0},
    };
    const char *path = CONFIG_DEFAULT_FILE;
    bool test = false;
    struct config *config;
    int option;

    tls_memory_init();
    while ((option = getopt_long(argc, argv, "c:t", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            path = optarg;
            break;
        case 't':
            test = true;
            break;
        case 's':
            return print_sample();
        case 'h':
            fputs(usage, stdout);
            return 0;
        case 'v':
            puts("relayd (Postern) " PACKAGE_VERSION);
            return 0;
        default:
            fputs("Try: relayd --help\n", stderr);
            return EXIT_USAGE;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "relayd: unexpected argument \"%s\"\n%s", argv[optind], usage);
        return EXIT_USAGE;
    }
    signal(SIGPIPE, SIG_IGN);
    if (!test)
        loop_expect_signal(SIGHUP); /* a reload while it starts comes after */
    config = load(path);
    if (config == NULL)
        return 1;
    if (test) {
        int status = parent_test(config);

        config_free(&config);
        return status;
    }
    log_init("relayd", STDERR_FILENO, getenv("POSTERN_DEBUG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
    crash_point_begin();
    io_fault_begin();
    return parent_run(config);
}
