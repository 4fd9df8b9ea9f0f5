/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The pager is our child and reads from a pipe that takes the place of standard output, and of
 * standard error where that is a terminal too: a complaint that is written past it would be painted
 * over.  $PAGER is a program and its options, apart by blanks; no shell is asked.  Nobody gets one
 * from less either (LESSSECURE), since relayctl is often run by sudo.
 */
#define _GNU_SOURCE 1

#include "admin/pager.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/slice.h"

#define PAGER_DEFAULT "less"
#define WORDS_MAX 16

/* Verbs, and nouns that stand alone. */
static const char *const long_words[] = {"list",   "show",  "summary", "trace",       "explain",
                                         "report", "audit", "check",   "instructions"};

static pid_t pager;                       /* 0: none */
static int terminal, terminal_error = -1; /* what the pipe has taken the place of */

static bool
is_long(const struct command_line *line)
{
    const struct command *command = line->command;
    const char *word = command && command->verb ? command->verb : command ? command->noun : NULL;

    if (line->help)
        return true;
    if (line->version || command == NULL || command->groups & COMMAND_CHANGES ||
        command_value(line, "json"))
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(long_words); i++)
        if (strcmp(word, long_words[i]) == 0)
            return true;
    return false;
}

/* Cuts `text` up.  False: no pager is wanted. */
static bool
split(char *text, char *words[WORDS_MAX + 1])
{
    struct slice rest = slice_of(text);
    unsigned count = 0;

    while (rest.p != NULL && count < WORDS_MAX) {
        struct slice word = slice_split(&rest, ' ');

        text[word.p + word.n - text] = '\0';
        if (word.n > 0)
            words[count++] = text + (word.p - text);
    }
    words[count] = NULL;
    return count > 0 && strcmp(words[0], "cat") != 0;
}

/* In the child.  What is written to `said` is that it could not be started. */
static void
become(char **words, int from, int said)
{
    char failed = 1;

    if (dup2(from, STDIN_FILENO) >= 0 && setenv("LESS", "FRX", 0) == 0 &&
        setenv("LESSSECURE", "1", 1) == 0)
        execvp(words[0], words);
    if (write(said, &failed, 1) < 0)
        _exit(126);
    _exit(127);
}

/* -1: not. */
static pid_t
spawn(char **words, int from)
{
    int said[2];
    char failed;
    ssize_t n;
    pid_t pid;

    if (pipe2(said, O_CLOEXEC) < 0)
        return -1;
    pid = fork();
    if (pid == 0)
        become(words, from, said[1]);
    close(said[1]);
    do
        n = read(said[0], &failed, 1);
    while (n < 0 && errno == EINTR);
    close(said[0]);
    if (pid > 0 && n != 0) {
        waitpid(pid, NULL, 0);
        return -1;
    }
    return pid;
}

/* Ctrl-C ends the command, and leaves its reader with what there is until then. */
static void
on_interrupt(int number)
{
    close(STDOUT_FILENO);
    close(STDERR_FILENO);
    while (waitpid(pager, NULL, 0) < 0 && errno == EINTR)
        ;
    signal(number, SIG_DFL);
    raise(number);
}

static void
divert(int to)
{
    fflush(NULL);
    terminal = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (isatty(STDERR_FILENO))
        terminal_error = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    dup2(to, STDOUT_FILENO);
    if (terminal_error >= 0)
        dup2(to, STDERR_FILENO);
    signal(SIGINT, on_interrupt);
    signal(SIGPIPE, SIG_IGN); /* who has seen enough need not see the end */
}

void
pager_start(const struct command_line *line)
{
    const char *wanted = getenv("PAGER");
    char *words[WORDS_MAX + 1], *text;
    int ends[2];
    pid_t pid = -1;

    if (!is_long(line) || !isatty(STDOUT_FILENO) || pipe2(ends, O_CLOEXEC) < 0)
        return;
    text = mem_strdup(wanted ? wanted : PAGER_DEFAULT);
    if (split(text, words))
        pid = spawn(words, ends[0]);
    close(ends[0]);
    if (pid > 0) {
        pager = pid;
        divert(ends[1]);
    }
    close(ends[1]);
    free(text);
}

bool
pager_end(void)
{
    if (pager == 0)
        return false;
    signal(SIGINT, SIG_IGN);
    fflush(NULL);
    dup2(terminal, STDOUT_FILENO);
    if (terminal_error >= 0)
        dup2(terminal_error, STDERR_FILENO);
    while (waitpid(pager, NULL, 0) < 0 && errno == EINTR)
        ;
    pager = 0;
    return true;
}
