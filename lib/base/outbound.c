/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Texts into values, each with a sentence for what is wrong.
 */
#include "base/outbound.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/parse.h"

#define WHAT_TO_WRITE "is no route; write mx, or the smarthost as NAME:PORT or ADDRESS:PORT"

static const char *
parse_name(const char *text, struct outbound *o)
{
    const char *colon = strrchr(text, ':'), *why;
    uint64_t port;

    if (colon == NULL)
        return "has no port; write mx, or the smarthost as NAME:PORT, such as smtp.isp.example:587";
    if (parse_u64(slice_of(colon + 1), &port) < 0 || port < 1 || port > UINT16_MAX)
        return "has a port outside 1 to 65535; write NAME:PORT";
    if (inet_domain_normalize((struct slice){text, (size_t)(colon - text)}, o->host, &why) < 0)
        return WHAT_TO_WRITE;
    o->endpoint = (struct inet_endpoint){.port = (uint16_t)port};
    return NULL;
}

const char *
outbound_parse(const char *text, struct outbound *o)
{
    *o = (struct outbound){.kind = OUTBOUND_SMARTHOST};
    if (text[0] == '\0')
        o->kind = OUTBOUND_NONE;
    else if (strcmp(text, "mx") == 0)
        o->kind = OUTBOUND_MX;
    else if (inet_endpoint_parse(slice_of(text), 0, &o->endpoint) < 0)
        return parse_name(text, o);
    return NULL;
}

const char *
outbound_tls_parse(const char *text, enum outbound_tls *tls)
{
    static const char *const words[] = {
        [OUTBOUND_TLS_NONE] = "none",
        [OUTBOUND_TLS_MAY] = "may",
        [OUTBOUND_TLS_ENCRYPT] = "encrypt",
        [OUTBOUND_TLS_VERIFY] = "verify",
    };

    for (unsigned i = 0; i < ARRAY_SIZE(words); i++) {
        if (strcmp(words[i], text) != 0)
            continue;
        *tls = (enum outbound_tls)i;
        return NULL;
    }
    return "is unknown; write none, may, encrypt or verify";
}

/* --- Credentials. */

static const char *
split(char *line, struct outbound_credentials *c)
{
    char *end = strpbrk(line, "\r\n"), *colon;

    if (end != NULL)
        *end = '\0';
    colon = strchr(line, ':');
    if (colon == NULL || colon == line || colon[1] == '\0')
        return "does not hold one line USER:PASSWORD";
    *colon = '\0';
    if (strlen(line) >= sizeof c->user || strlen(colon + 1) >= sizeof c->password)
        return "holds a user or a password that is too long";
    memcpy(c->user, line, strlen(line) + 1);
    memcpy(c->password, colon + 1, strlen(colon + 1) + 1);
    return NULL;
}

static const char *
read_from(int fd, struct outbound_credentials *c)
{
    char text[sizeof *c + 8];
    const char *wrong;
    struct stat st;
    ssize_t n;

    if (fstat(fd, &st) < 0 || (st.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        return "may be read by others than its owner; chmod 600";
    n = read(fd, text, sizeof text - 1);
    if (n < 0)
        return "cannot be read";
    text[n] = '\0';
    wrong = split(text, c);
    explicit_bzero(text, sizeof text);
    return wrong;
}

const char *
outbound_credentials_read(const char *path, struct outbound_credentials *c)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    const char *wrong = fd < 0 ? "cannot be opened" : read_from(fd, c);

    if (fd >= 0)
        close(fd);
    return wrong;
}
