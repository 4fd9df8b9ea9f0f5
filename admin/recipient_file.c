/* SPDX-License-Identifier: BSD-2-Clause
 *
 * A wrong line is told with its number, and nothing is changed: a list that is half imported and
 * complete would refuse the other half.
 */
#include "admin/recipient_file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "smtp/smtp_path.h"

#define WRONG_MAX 20
#define LINE_SIZE 2048

const char *
recipient_address_parse(const char *text, struct recipient_address *address,
                        char why[FIELD_TEXT_SIZE])
{
    char checked[FIELD_TEXT_SIZE], *at;
    struct field field = {.option = ""};
    bool is_null = false;
    const char *wrong = field_check_mailbox(&field, text, checked, &is_null, why);

    if (wrong)
        return wrong;
    at = strrchr(checked, '@');
    *at = '\0';
    if (strpbrk(checked, "%!/|"))
        return "asks for relaying with one of % ! / |, which is refused whoever asks; "
               "use the form user@acme.example";
    for (const char *c = checked; *c; c++)
        if ((unsigned char)*c >= 0x80 && smtp_utf8_length(slice_of(c)) == 0 &&
            ((unsigned char)*c & 0xc0) != 0x80)
            return "is not UTF-8; save the file as UTF-8";
    for (char *c = checked; *c; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c - 'A' + 'a');
    CHECK(slice_to_text(slice_of(checked), address->local_part, sizeof address->local_part));
    CHECK(slice_to_text(slice_of(at + 1), address->domain, sizeof address->domain));
    return NULL;
}

bool
recipient_address_is_of(const struct recipient_address *address, const char *domain)
{
    size_t n = strlen(address->domain), tail = strlen(domain);

    if (domain[0] != '.')
        return strcmp(address->domain, domain) == 0;
    return n > tail && strcmp(address->domain + n - tail, domain) == 0;
}

void
recipient_array_add(struct buf *array, const char *local_part)
{
    buf_add_text(array, buf_size(array) == 0 ? "{\"" : ",\"");
    for (const char *c = local_part; *c; c++) {
        if (*c == '"' || *c == '\\')
            buf_add_text(array, "\\");
        buf_add(array, c, 1);
    }
    buf_add_text(array, "\"");
}

void
recipient_array_end(struct buf *array)
{
    buf_add_text(array, buf_size(array) == 0 ? "{}" : "}");
}

/* The first column, without its quotes and the spaces around it; cuts the line. */
static char *
first_column(char *line)
{
    char *end, *to;

    line += strspn(line, " \t");
    if (*line != '"') {
        end = line + strcspn(line, ",;\t\r\n");
        while (end > line && end[-1] == ' ')
            end--;
        *end = '\0';
        return line;
    }
    to = ++line;
    for (end = line; *end && (*end != '"' || end[1] == '"'); end++) {
        end += *end == '"'; /* doubled */
        *to++ = *end;
    }
    *to = '\0';
    return line;
}

struct reading {
    const char *domain;
    struct buf *array;
    unsigned long line, count, wrong;
};

static void
complain(struct reading *r, const char *text, const char *why)
{
    if (++r->wrong <= WRONG_MAX)
        call_complain("line %lu: \"%.200s\" %s", r->line, text, why);
}

static void
take_line(struct reading *r, char *line)
{
    struct recipient_address address;
    char why[FIELD_TEXT_SIZE], *text;
    const char *wrong;

    if (r->line == 1 && strncmp(line, "\xef\xbb\xbf", 3) == 0)
        line += 3;
    text = first_column(line);
    if (text[0] == '\0' || text[0] == '#')
        return;
    if (r->count == 0 && r->wrong == 0 && strchr(text, '@') == NULL && r->domain != NULL &&
        r->line <= 2) /* the header */
        return;
    wrong = recipient_address_parse(text, &address, why);
    if (wrong == NULL && !recipient_address_is_of(&address, r->domain)) {
        snprintf(why, sizeof why, "is not of %s%s; import the recipients of each domain for itself",
                 r->domain[0] == '.' ? "a subdomain of " : "", r->domain + (r->domain[0] == '.'));
        wrong = why;
    }
    if (wrong) {
        complain(r, text, wrong);
        return;
    }
    r->count++;
    recipient_array_add(r->array, address.local_part);
}

static enum command_status
read_lines(FILE *f, struct reading *r)
{
    char line[LINE_SIZE];

    while (fgets(line, sizeof line, f)) {
        r->line++;
        if (strchr(line, '\n') == NULL && !feof(f)) {
            complain(r, line, "is too long a line; use one address a line");
            for (int c = 0; c != EOF && c != '\n';)
                c = fgetc(f);
            continue;
        }
        take_line(r, line);
    }
    return ferror(f) ? COMMAND_FAILED : COMMAND_DONE;
}

enum command_status
recipient_file_read(const char *path, const char *domain, struct buf *array, unsigned long *count)
{
    bool is_stdin = strcmp(path, "-") == 0;
    struct reading r = {.domain = domain, .array = array};
    FILE *f = is_stdin ? stdin : fopen(path, "re");
    enum command_status status = f ? read_lines(f, &r) : COMMAND_FAILED;

    if (status != COMMAND_DONE)
        call_complain("%s cannot be read: %s", path, strerror(errno));
    if (f && !is_stdin)
        fclose(f);
    recipient_array_end(array);
    *count = r.count;
    if (r.wrong > WRONG_MAX)
        call_complain("and %lu more", r.wrong - WRONG_MAX);
    if (r.wrong)
        status = call_usage("%lu line%s wrong; nothing was changed", r.wrong,
                            r.wrong == 1 ? " is" : "s are");
    return status;
}
