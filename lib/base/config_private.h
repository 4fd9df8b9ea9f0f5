/* SPDX-License-Identifier: BSD-2-Clause
 *
 * What the parts of config.c share: config_kind.c (from a text into a field), config_rule.c (what
 * one value must keep) and config_whole.c (what values must keep together).
 */
#ifndef BASE_CONFIG_PRIVATE_H
#define BASE_CONFIG_PRIVATE_H

#include "base/config.h"

#define CONFIG_PROBLEM_SIZE 400
#define FIELD(name) offsetof(struct config, name)

enum config_kind {
    KIND_TEXT,
    KIND_WORDS,
    KIND_ENDPOINT,
    KIND_ENDPOINTS,
    KIND_NETWORKS,
    KIND_DURATION,
    KIND_SIZE,
    KIND_NUMBER,
};

struct config_option {
    enum config_kind kind;
    const char *name;
    size_t offset;
    const char *fallback;
    const char *text;
};

enum {
    CONFIG_OPTION_COUNT = 0
#define OPTION(kind, name, field, fallback, text) +1
#include "base/config.def"
#undef OPTION
};

struct config_problem {
    unsigned line; /* 0: none is to blame */
    size_t order;
    char *text;
};

struct config_loading {
    struct config *config;
    unsigned lines[CONFIG_OPTION_COUNT]; /* where it is set; 0: nowhere */
    struct config_problem *problems;
    size_t problem_count;
};

/* --- config.c */
/* Line 0: none is to blame; `setting` NULL: no one setting is. */
void config_add_problem(struct config_loading *l, unsigned line, const char *setting,
                        const char *text);
/* Where the setting of that field stands; 0: nowhere. */
unsigned config_line_of(const struct config_loading *l, size_t offset);

/* --- config_kind.c */
struct config_kind_row {
    /* NULL, or what is wrong. */
    const char *(*read)(const char *text, void *field, uint16_t default_port);
    bool is_list;
    bool is_quoted; /* in the sample */
    const char *word;
};
extern const struct config_kind_row config_kinds[];

/* --- config_rule.c */
uint16_t config_rule_default_port(const struct config_option *option);
/* NULL, or what is wrong with the value that was read from `text`; borrowed until the next call. */
const char *config_rule_check(const struct config *config, const struct config_option *option,
                              const char *text);

/* --- config_whole.c */
void config_check_whole(struct config_loading *l);

#endif
