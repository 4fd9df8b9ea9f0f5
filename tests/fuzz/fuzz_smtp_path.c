/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The grammar of paths on hostile octets.  Demanded: what was accepted can be put on the wire and
 * is accepted again as the same; the normal form of its domain is a fixed point; nothing of it is a
 * control octet; lengths hold.
 */
#include <stdint.h>
#include <stdio.h>

#include "smtp/smtp_path.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_octets(const char *s)
{
    for (; *s != '\0'; s++)
        CHECK((unsigned char)*s >= 0x20 && *s != 0x7f);
}

static void
check_again(const struct smtp_path *path)
{
    char wire[SMTP_PATH_SIZE + 2], normal[SMTP_PATH_SIZE * 2];
    struct smtp_path again;
    size_t consumed;
    int rc;

    snprintf(wire, sizeof wire, "<%s>", path->text);
    CHECK(strlen(wire) <= SMTP_PATH_MAX);
    rc = path->is_null ? smtp_path_parse_reverse(slice_of(wire), &again, &consumed)
                       : smtp_path_parse_forward(slice_of(wire), &again, &consumed);
    CHECK(rc == ERR_OK && consumed == strlen(wire));
    CHECK(strcmp(again.text, path->text) == 0 && strcmp(again.domain, path->domain) == 0);
    CHECK(again.needs_smtputf8 == path->needs_smtputf8);
    if (path->domain[0] == '\0' || strlen(path->domain) + 4 > SMTP_PATH_MAX)
        return; /* of A-labels it may be longer than a path: "<a@" and ">" do not fit */
    snprintf(normal, sizeof normal, "a@%s", path->domain);
    rc = smtp_path_parse_mailbox(slice_of(normal), &again);
    CHECK(rc == ERR_OK && !again.needs_smtputf8 && strcmp(again.domain, path->domain) == 0);
}

static void
check(int rc, const struct smtp_path *path, size_t consumed, size_t size)
{
    char key[SMTP_PATH_SIZE];

    CHECK(consumed <= size);
    if (rc < 0) {
        CHECK(rc == ERR_SYNTAX && path->text[0] == '\0' && path->domain[0] == '\0');
        return;
    }
    check_octets(path->text);
    check_octets(path->domain);
    CHECK(path->local_length <= SMTP_LOCAL_MAX);
    CHECK((path->domain[0] == '\0') == (path->is_null || path->is_postmaster));
    CHECK(path->domain[0] == '\0' || path->text[path->local_length] == '@');
    smtp_path_key(path, key);
    CHECK(strlen(key) < SMTP_PATH_SIZE);
    check_octets(key);
    check_again(path);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = {(const char *)data, size};
    struct smtp_path path;
    size_t consumed;

    check(smtp_path_parse_forward(in, &path, &consumed), &path, consumed, size);
    check(smtp_path_parse_reverse(in, &path, &consumed), &path, consumed, size);
    check(smtp_path_parse_mailbox(in, &path), &path, 0, size);
    return 0;
}
