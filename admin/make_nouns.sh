#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Prints relayctl-NOUN(8): the help of each verb, which comes from the table of commands, and those
# sections of relayctl.8 that describe one of them. So each thing is written once.
#
#   make_nouns.sh RELAYCTL relayctl.8 NOUN
set -eu
relayctl=$1 manual=$2 noun=$3
verbs=$("$relayctl" completion --words -- help "$noun" '' | cut -f1 | paste -sd ' ' -)

literal() {
    sed -e 's/\\/\\e/g' -e 's/-/\\-/g' -e "s/^[.']/\\\\\&&/"
}

# A section is of this noun if an item of its list is a command of it.
sections() {
    awk -v noun="$noun" -v verbs=" $verbs " '
        function flush() { if (is_ours) printf "%s", text; text = ""; is_ours = 0 }
        function is_command(i) { return $i == noun && (verbs == "  " ? i == 3 : index(verbs, " " $(i + 1) " ")) }
        /^\.S[hs] / { flush(); is_inside = is_inside && /^\.Ss/ || /^\.Sh COMMANDS/ }
        is_inside && !/^\.Sh COMMANDS/ { text = text $0 "\n" }
        is_inside && $1 == ".Cm" && line == ".It Xo" && $2 == noun && (verbs == "  " || index(verbs, " " $3 " ")) { is_ours = 1 }
        is_inside && $1 == ".It" && $2 == "Cm" { for (i = 3; i <= NF; i++) if (is_command(i)) is_ours = 1 }
        { line = $0 }
        END { flush() }' "$manual"
}

title=$(printf %s "$noun" | tr '[:lower:]' '[:upper:]')
cat <<END
.\\" SPDX-License-Identifier: BSD-2-Clause
.\\" Made from the table of commands and from relayctl.8.
$(grep '^\.Dd' "$manual")
.Dt RELAYCTL-$title 8
.Os
.Sh NAME
.Nm relayctl-$noun
.Nd the commands of relayctl that begin with $noun
.Sh COMMANDS
END
page() {
    printf '.Ss %s\n.Bd -literal\n' "$*"
    "$relayctl" "$@" --help | literal
    printf '.Ed\n'
}
if "$relayctl" "$noun" --help | grep -q "^relayctl $noun \[OPTIONS\]"; then
    page "$noun"
fi
for verb in $verbs; do
    page "$noun" "$verb"
done
printf '.Sh DETAILS\n'
sections
cat <<END
.Sh SEE ALSO
.Xr postern.conf 5 ,
.Xr postern-json 7 ,
.Xr postern-replies 7 ,
.Xr relayctl 8
END
