/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The grammar of postern.conf, through libconfuse: NAME = VALUE, NAME = { VALUE, VALUE }, comments
 * (#, //, C). Texts in values, problems with their lines out; what a value means is config.c's.
 */
#ifndef BASE_CONFIG_FILE_H
#define BASE_CONFIG_FILE_H

#include "base/buf.h"

struct config_file_option {
    const char *name;
    bool is_list;
    bool may_be_empty; /* of a list: { } says what leaving it out says */
};

struct config_file_ops {
    /* A value in the order of the file; `text` is borrowed for the call. */
    void (*on_value)(void *ctx, size_t option, unsigned line, const char *text);
    /* `setting` is a name of the table or a word of the file; NULL: no setting is to blame. */
    void (*on_problem)(void *ctx, unsigned line, const char *setting, const char *text);
};

/* Reads all of `text`; every problem is told, not the first alone. */
void config_file_read(struct slice text, const struct config_file_option *options, size_t count,
                      const struct config_file_ops *ops, void *ctx);

#endif
