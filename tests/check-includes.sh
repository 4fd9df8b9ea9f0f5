#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Holds every #include "..." against the table of folders: arrows point down only, and each include names its folder.
cd "${top_srcdir:-$(dirname "$0")/..}" || exit 99

allowed() {
    case $1 in
    lib/base) echo base ;;
    lib/net) echo base net ;;
    lib/smtp) echo base smtp ;;
    lib/spool) echo base spool ;;
    lib/order) echo base spool order ;;
    lib/notice) echo base smtp spool notice ;;
    lib/registry) echo base policy registry ;;
    lib/dns) echo base net dns ;;
    lib/spf) echo base net dns spf ;;
    lib/route) echo base net registry dns route ;;
    lib/state) echo base net smtp state ;;
    lib/db) echo base net db ;;
    lib/probe) echo base net smtp state probe ;;
    lib/conformance) echo base net smtp conformance ;;
    lib/policy) echo base policy ;;
    lib/sender) echo base net dns sender ;;
    lib/survey) echo base net dns spf sender survey ;;
    lib/milter) echo base net smtp milter ;;
    relayd) echo base net smtp spool registry dns spf route state db probe policy sender milter relayd ;;
    spoolmgr) echo base net smtp spool order notice registry dns route state db spoolmgr ;;
    admin) echo base net smtp spool order notice registry dns route state db probe conformance policy sender survey milter admin ;;
    esac
}

bad=0
for folder in lib/base lib/net lib/smtp lib/spool lib/order lib/notice lib/registry lib/dns lib/spf lib/route lib/state lib/db lib/probe lib/conformance lib/policy lib/sender lib/survey lib/milter relayd spoolmgr admin; do
    list=" $(allowed $folder) "
    for file in "$folder"/*.[ch]; do
        [ -e "$file" ] || continue
        for name in $(sed -n 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*"\([^"]*\)".*/\1/p' "$file"); do
            [ "$name" = config.h ] && continue
            case $name in
            */*) from=${name%%/*} ;;
            *) echo "$file: \"$name\" does not name its folder"; bad=1; continue ;;
            esac
            case $list in
            *" $from "*) ;;
            *) echo "$file: \"$name\": $folder may not include $from"; bad=1 ;;
            esac
        done
    done
done
exit $bad
