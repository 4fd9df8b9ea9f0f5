/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The verdict in its colour, what was looked at, and prose beside them.
 */
#include "admin/finding.h"

#include <string.h>

#include "admin/paragraph.h"

#define TEXT_COLUMN 29

static void
print_part(FILE *out, const char *label, const char *text)
{
    char sentence[1200];

    if (text[0] == '\0')
        return;
    fprintf(out, "%*s", TEXT_COLUMN, "");
    snprintf(sentence, sizeof sentence, "%s%s", label, text);
    paragraph_wrap(out, TEXT_COLUMN, sentence);
}

void
finding_print(const struct printer_settings *settings, const struct finding *finding)
{
    FILE *out = settings->out;
    char sentence[1200];

    fputs("  ", out);
    printer_put_word(settings, finding->verdict, 9);
    fprintf(out, "%-17s ", finding->check);
    snprintf(sentence, sizeof sentence, "%s%s%s%s", finding->text, finding->detail[0] ? " (" : "",
             finding->detail, finding->detail[0] ? ")" : "");
    paragraph_wrap(out, TEXT_COLUMN, sentence);
    print_part(out, "", finding->before);
    if (strcmp(finding->verdict, "pass") != 0)
        print_part(out, "Remedy: ", finding->remedy);
}
