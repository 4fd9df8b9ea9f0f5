#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Each file of the repository is listed for the distribution, so that "make distcheck" finds nothing missing months later.
cd "${top_srcdir:-$(dirname "$0")/..}" || exit 99
files=$([ -e .git ] && git ls-files 2>/dev/null)
[ -n "$files" ] || exit 77 # a tarball is what was listed
find . -name '*.am' -not -path './var/*' -exec cat {} + | tr -s ' \t=' '\n' | awk -v files="$files" '
    { listed[$0] = 1 }
    END {
        n = split(files, file, "\n")
        for (i = 1; i <= n; i++) {
            folder = file[i]
            sub(/\/[^\/]*$/, "", folder)
            if (file[i] in listed || folder in listed || file[i] ~ /^\.ci\/|^\.gitignore$|\.am$|^configure\.ac$/) continue
            print file[i] " is in no EXTRA_DIST and no list of sources"
            bad = 1
        }
        exit bad
    }'
