# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=sh disable=SC2086,SC2154
# Sourced by deploy/quickstart and tests/run: sees to it that the packages of the named groups of packages.txt are there.
# Asks the package source only for what is missing; as an ordinary user it says what to install.

packages_of() { # GROUP ...
    for group; do
        sed -n "/^\[$group\]/,/^\[/p" "$packages_file" | grep -v -e '^\[' -e '^#' -e '^$'
    done
}

packages_missing() { # GROUP ...
    for package in $(packages_of "$@"); do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || echo "$package"
    done
}

packages_install() { # GROUP ...
    missing=$(packages_missing "$@" | tr '\n' ' ')
    [ -z "$missing" ] && return 0
    if [ "$(id -u)" != 0 ]; then
        echo "These packages are missing: $missing" >&2
        echo "Install them as root:  apt-get install $missing" >&2
        return 1
    fi
    echo "Installing: $missing"
    # A mail server that comes along as a test partner must not start to serve this machine.
    case " $missing" in *" postfix "*) echo 'postfix postfix/main_mailer_type select No configuration' | debconf-set-selections ;; esac
    packages_apt_get $missing && return 0
    echo "Refreshing the list of packages."
    apt-get -q update >"$packages_log" 2>&1 && packages_apt_get $missing && return 0
    tail -n 20 "$packages_log" >&2
    echo "The packages could not be installed; the whole output is in $packages_log" >&2
    return 1
}

packages_apt_get() {
    DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install "$@" >"$packages_log" 2>&1
}

# Packages that cannot be installed beside the others are fetched and unpacked; no root is needed.
packages_unpack() { # FOLDER GROUP ...
    folder=$1
    shift
    mkdir -p "$folder" || return 1
    for package in $(packages_of "$@"); do
        [ -e "$folder/$package.done" ] && continue
        packages_fetch "$folder" "$package" && dpkg-deb -x "$folder/$package"_*.deb "$folder" &&
            chmod -R u-s,g-s "$folder/usr" && touch "$folder/$package.done" && continue
        tail -n 5 "$packages_log" >&2
        echo "$package could not be fetched and unpacked; the whole output is in $packages_log" >&2
        return 1
    done
}

packages_fetch() { # FOLDER PACKAGE
    rm -f "$1/$2"_*.deb
    (cd "$1" && apt-get -q download "$2") >"$packages_log" 2>&1 && return 0
    [ "$(id -u)" = 0 ] && apt-get -q update >>"$packages_log" 2>&1
    (cd "$1" && apt-get -q download "$2") >>"$packages_log" 2>&1
}
