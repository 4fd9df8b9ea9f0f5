#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Refuses functions that have no place here; what to use instead stands beside each.
cd "${top_srcdir:-$(dirname "$0")/..}" || exit 99
bad=0
ban() {
    found=$(grep -nE "(^|[^A-Za-z0-9_])($1)[[:space:]]*\(" lib/*/*.[ch] relayd/*.[ch] spoolmgr/*.[ch] admin/*.[ch] 2>/dev/null |
        grep -vE ':[0-9]+:[[:space:]]*(/?\*|//)')
    [ -z "$found" ] && return
    echo "$found"
    echo "  -> $2"
    bad=1
}
ban 'strcpy|strcat|stpcpy|strncpy|strncat' 'use struct buf, snprintf or memcpy with a known size'
ban 'sprintf|vsprintf' 'use snprintf or buf_printf'
ban 'atoi|atol|atoll|atof' 'use parse_u64 of base/parse.h, which says what is wrong'
ban 'strtok' 'use slice_split'
ban 'alloca' 'use an arena'
ban 'gets|tmpnam|mktemp' 'use fgets, mkstemp'
ban 'gethostbyname|getaddrinfo|gethostbyaddr|getnameinfo' 'names are looked up by the DNS layer only; it blocks'
ban 'system|popen' 'start processes with net/process.h'
exit $bad
