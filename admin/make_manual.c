/* SPDX-License-Identifier: BSD-2-Clause
 *
 * make_manual: prints postern.conf(5).  The settings come from the table that also makes the parser
 * (config.def), so that the manual cannot be of another opinion; the page is made when Postern is
 * built, since defaults name the folders that were configured.
 */
#include <stdio.h>

#include "base/config.h"

static const char head[] =
    ".\\\" SPDX-License-Identifier: BSD-2-Clause\n"
    ".Dd November 22, 2026\n"
    ".Dt POSTERN.CONF 5\n"
    ".Os\n"
    ".Sh NAME\n"
    ".Nm postern.conf\n"
    ".Nd configuration of Postern, the mail gate\n"
    ".Sh DESCRIPTION\n"
    "One file is read by\n"
    ".Xr relayd 8 ,\n"
    ".Xr spoolmgr 8\n"
    "and\n"
    ".Xr relayctl 8 .\n"
    "Each setting is a name, an equals sign and a value; a comment begins with\n"
    ".Sq # .\n"
    "A setting that is not written has its default;\n"
    "one that is unknown, or written twice, is a mistake.\n"
    "Customers, domains and backends do not stand here: they are in the database, and\n"
    ".Xr relayctl 8\n"
    "changes them.\n"
    ".Pp\n"
    ".Nm relayd Fl t\n"
    "checks the file and prints every problem with its line.\n"
    ".Nm relayd Fl -sample\n"
    "prints a file with all settings.\n"
    "On SIGHUP\n"
    ".Nm relayd\n"
    "reads it again, and a file with a mistake changes nothing; what a running process cannot "
    "change\n"
    "is taken at the next start.\n"
    ".Ss Values\n"
    ".Bl -tag -width Ds\n"
    ".It Ar text\n"
    "In double quotes.\n"
    ".It Ar list\n"
    "Texts in braces, with commas between them.\n"
    ".It Ar address\n"
    "An address and a port, as in\n"
    ".Qq 192.0.2.25:25\n"
    "or\n"
    ".Qq [2001:db8::25]:25 .\n"
    "Names are not looked up.\n"
    ".It Ar duration\n"
    "A number with its unit: ms, s, m, h or d, as in\n"
    ".Li 30s .\n"
    ".It Ar size\n"
    "A number with its unit: B, KiB, MiB or GiB, as in\n"
    ".Li 20MiB .\n"
    ".It Ar number\n"
    "Digits.\n"
    ".El\n"
    ".Sh SETTINGS\n"
    ".Bl -tag -width Ds\n";

static const char tail[] = ".El\n"
                           ".Sh FILES\n"
                           ".Bl -tag -width Ds\n"
                           ".It Pa " CONFIG_DEFAULT_FILE "\n"
                           "Read when no other file is named with\n"
                           ".Fl c .\n"
                           ".El\n"
                           ".Sh EXAMPLES\n"
                           "Enough to begin with:\n"
                           ".Bd -literal -offset indent\n"
                           "hostname = \"mx1.isp.example\"\n"
                           "listen   = {\"192.0.2.25:25\"}\n"
                           "database = \"host=/run/postgresql dbname=postern user=postern\"\n"
                           "user     = \"postern\"\n"
                           ".Ed\n"
                           ".Sh SEE ALSO\n"
                           ".Xr relayctl 8 ,\n"
                           ".Xr relayd 8 ,\n"
                           ".Xr spoolmgr 8\n";

int
main(void)
{
    struct buf settings;

    buf_init(&settings, 0);
    config_write_manual(&settings);
    printf("%s%s%s", head, buf_text(&settings), tail);
    buf_fini(&settings);
    return fflush(stdout) == 0 ? 0 : 1;
}
