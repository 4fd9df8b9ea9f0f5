#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Each file of the repository is listed for the distribution, so that "make distcheck" finds nothing missing months later.
cd "${top_srcdir:-$(dirname "$0")/..}" || exit 99
[ -e .git ] && command -v git >/dev/null || exit 77 # a tarball is what was listed
files=$(git -c safe.directory="$PWD" ls-files) && [ -n "$files" ] || exit 99
# What counts is what a variable is given, not comments, rules and recipes; a folder is listed as one only below corpus/.
find . -name '*.am' -not -path './var/*' -exec cat {} + | sed 's/#.*//' | awk -v files="$files" '
    { is_continued = sub(/\\$/, ""); line = line $0 " "; if (is_continued) next }
    line ~ /^[A-Za-z0-9_]+ *\+?=/ { sub(/^[^=]*=/, "", line); n = split(line, word); for (i = 1; i <= n; i++) listed[word[i]] = 1 }
    { line = "" }
    END {
        n = split(files, file, "\n")
        for (i = 1; i <= n; i++) {
            folder = file[i]
            sub(/\/[^\/]*$/, "", folder)
            if (file[i] in listed || folder ~ /\/corpus\// && folder in listed || file[i] ~ /^\.ci\/|^\.gitignore$|\.am$|^configure\.ac$/) continue
            print file[i] " is in no EXTRA_DIST and no list of sources"
            bad = 1
        }
        exit bad
    }'
