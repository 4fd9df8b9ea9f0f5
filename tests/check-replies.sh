#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Holds the tables of tests/README.md true: each reply of smtp_verdict.def has its row with its codes, and each test that is named
# is there.  A row without a test must be of a reply that nothing gives yet, which is looked up too.
cd "${top_srcdir:-$(dirname "$0")/..}" || exit 99
readme=tests/README.md
bad=0
complain() {
    echo "$readme: $*"
    bad=1
}

sed -n 's/^VERDICT(\([A-Z0-9_]*\), \([0-9]*\), \([0-9]*\), \([0-9]*\), \([0-9]*\),.*/\1 \2 \3.\4.\5/p' lib/smtp/smtp_verdict.def >"${TMPDIR:-/tmp}/replies.$$"
while read -r id code enhanced; do
    [ "$enhanced" = 0.0.0 ] && enhanced=-
    row=$(grep -F "| $id | $code $enhanced |" $readme) || { complain "no row \"| $id | $code $enhanced |\"" && continue; }
    case $row in
    *'`'*) ;;
    *) grep -rq "SMTP_VERDICT_$id\>" relayd lib/smtp --include='*.[ch]' && complain "$id is given, and no test is named" ;;
    esac
done <"${TMPDIR:-/tmp}/replies.$$"
rm -f "${TMPDIR:-/tmp}/replies.$$"

# `folder/file.talk`, `folder/file.py: test_name`, `folder/file.c: test_name`
grep '^|' $readme | grep -oE '`[a-z_/0-9-]+\.(talk|py|c)(: [A-Za-z0-9_]+)?`' | tr -d '`' | sort -u | {
    while IFS=' ' read -r file name; do
        file=tests/${file%:}
        [ -f "$file" ] || { complain "$file is not there" && continue; }
        [ -z "$name" ] || grep -qE "(def |Test\([a-z_]+, )$name\>" "$file" || complain "$file has no test $name"
    done
    exit $bad
} || bad=1
exit $bad
