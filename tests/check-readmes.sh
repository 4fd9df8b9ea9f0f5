#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Holds READMEs against the tree: what they name in backticks exists, and each source of a folder stands in its README.
cd "${top_srcdir:-$(dirname "$0")/..}" || exit 99
folders=$(echo lib/* relayd spoolmgr admin sql deploy tests tests/*)
bad=0

# The words in backticks of a README, one a line; of "a.{c,h}" both.
words() {
    awk -F '`' '
        function say(word,  from, to, n, i, part) {
            from = index(word, "{"); to = index(word, "}")
            if (!from || to < from) { print word; return }
            n = split(substr(word, from + 1, to - from - 1), part, ",")
            for (i = 1; i <= n; i++) print substr(word, 1, from - 1) part[i] substr(word, to + 1)
        }
        { for (i = 2; i <= NF; i += 2) { n = split($i, word, " "); for (k = 1; k <= n; k++) { sub(/[,;:)"\/]+$/, "", word[k]); say(word[k]) } } }
    ' "$1" | sort -u
}

# A path of the tree, from its top, from lib or from the README's folder, perhaps without .c; what has neither the ending of a source
# nor begins with a folder is no path and passes.
is_there() { # FOLDER PATH
    case $2 in
    /* | *...*) return 0 ;;
    *.[ch] | *.py | *.sh | *.sql | *.def | *.am) ;;
    */*) [ -d "${2%%/*}" ] || [ -d "$1/${2%%/*}" ] || return 0 ;;
    *) return 0 ;;
    esac
    for path in "$2" "lib/$2" "$1/$2" "$2.c" "$1/$2.c" $(echo "$folders" | sed "s,\\( \\|\$\\),/$2\\1,g"); do
        for file in $path; do # with * and ?
            [ -e "$file" ] && return 0
        done
    done
    return 1
}

for folder in $folders; do
    readme=$folder/README.md
    [ -f "$readme" ] || continue
    set -f # words with * are looked up in is_there
    for word in $(words "$readme"); do
        set +f
        is_there "$folder" "$word" || { echo "$readme: there is no $word" && bad=1; }
    done
    set +f
    for file in "$folder"/*.c "$folder"/*.py; do
        name=${file##*/}
        case $name in
        '*'* | test_*) continue ;; # tests are in tests/README.md
        esac
        grep -qw -- "${name%.*}" "$readme" || { echo "$readme: $name is not in it" && bad=1; }
    done
done
exit $bad
