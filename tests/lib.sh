# shellcheck shell=bash
# What the test scripts share: the count of results, checks, prerequisites and root.
#
# A test tells its result by its exit status: 0 is passed, 77 is skipped (as in automake), all else
# is failed. A runner counts what it waited for, and its last line is the count. A runner that calls
# another one adds that line to its own.

# The script that runs, wherever it goes; most have gone to their folder already.
script=$(realpath --quiet "$0") && [[ -e $script ]] || script=$(realpath "${0##*/}")

# The exit status of what cannot run here.
skipped_status=77

# What is kept between runs: tools, Debian systems, the package.
# shellcheck disable=SC2034 # used by runners
cache=${XDG_CACHE_HOME:-$HOME/.cache}/gb10-provision-api-tests

# Set by --no-install, for all that is called from here.
export NO_INSTALL=${NO_INSTALL-}

# --- the count --------------------------------------------------------------

passed=0 failed=0 skipped=0

# result STATUS NAME [WORDS]: prints and counts one.
result() {
    local verdict
    case $1 in
        0) verdict=ok passed=$((passed + 1)) ;;
        "$skipped_status") verdict=SKIP skipped=$((skipped + 1)) ;;
        *) verdict=FAIL failed=$((failed + 1)) ;;
    esac
    echo "$verdict $2${3:+ $3}"
}

# summary: the last line; fails if a test did.
summary() {
    echo "$passed passed, $failed failed, $skipped skipped"
    ((failed == 0))
}

# include NAME COMMAND…: runs another runner, and adds its last line to the count. One that ends
# without that line has failed, whatever it said before.
include() {
    local name=$1 lines=0 line last='' status
    shift
    while IFS= read -r line; do
        ((lines++ == 0)) || echo "$last"
        last=$line
    done < <("$@" 2>&1)
    wait "$!"
    status=$?
    if [[ $last =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed,\ ([0-9]+)\ skipped$ ]]; then
        passed=$((passed + BASH_REMATCH[1])) failed=$((failed + BASH_REMATCH[2]))
        skipped=$((skipped + BASH_REMATCH[3]))
        # Its status may tell of a failure that its count does not.
        ((status == 0 || BASH_REMATCH[2] > 0)) || result "$status" "$name" "ended with status $status"
    else
        ((lines == 0)) || echo "$last"
        result 1 "$name" "ended before its count, with status $status"
    fi
}

# --- checks -----------------------------------------------------------------

# fail WORDS: ends a check as failed, and says why.
fail() {
    echo "$*"
    exit 1
}

# skip WORDS: ends a check, or all of a script when called before, as one that cannot run here.
skip() {
    echo "$*"
    exit "$skipped_status"
}

# same WHAT EXPECTED ACTUAL
same() {
    [[ $2 == "$3" ]] || fail "$1: expected '$2', got '$3'"
}

# contains WHAT PART TEXT
contains() {
    [[ $3 == *"$2"* ]] || fail "$1: no '$2' in '$3'"
}

# figure TEXT: a line that is printed beside the check, whatever comes of it.
figure() {
    echo "# $*"
}

# wait_for SECONDS WHAT COMMAND…: until the command succeeds.
wait_for() {
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < end)) || fail "waited in vain for: $what"
        sleep 0.05
    done
}

# attempt LOG FUNCTION: runs it, in a subshell, up to the first command that fails, with its output
# in the file LOG. Sets `status` and, for a check that did not pass, `why`, the last line of it.
attempt() {
    local log=$1 attempted=$2
    set +e
    (
        set -eE
        trap - EXIT
        trap 'failed_line "$LINENO"' ERR
        "$attempted"
    ) </dev/null >"$log" 2>&1
    status=$? why=''
    set -e
    # shellcheck disable=SC2034 # for the caller
    ((status == 0)) || why=$(tail -n 1 "$log")
}

# failed_line LINE: tells which line of what is attempted failed, for whatever was called there.
failed_line() {
    local line=$1 depth
    for depth in "${!FUNCNAME[@]}"; do
        [[ ${FUNCNAME[depth]} != "$attempted" ]] || ((depth < 2)) || line=${BASH_LINENO[depth - 1]}
    done
    echo "failed: $(sed -n "${line}s/^ *//p" "$script")" >&2
}

# figures LOG: the figures of a test, to stand below its name.
figures() {
    sed -n 's/^# /    /p' "$1"
}

# run_checks FUNCTION…: counts each by the name TOPIC/FUNCTION. Of the script it takes `topic`;
# `obstacle`, which says what keeps the checks from running here, if anything; `setup`, which may skip
# them all, and without which none runs; and `tear_down`. `$work` is a folder for them, in memory. Its
# status is that of the script, whose last command it is.
# shellcheck disable=SC2154 # of the script
run_checks() {
    local check name log status=0 why
    why=$(obstacle)
    if [[ -n $why ]]; then
        for check in "$@"; do result "$skipped_status" "$topic/${check//_/-}" "$why"; done
        summary
        return
    fi
    work=$(mktemp --directory)
    trap tear_down EXIT
    ((EUID)) || mount -t tmpfs -o mode=0755 gb10-tests "$work"
    log=$work/log
    attempt "$log" setup
    if ((status)); then
        ((status == skipped_status)) || sed 's/^/    /' "$log"
        for check in "$@"; do result "$status" "$topic/${check//_/-}" "setup: $why"; done
    else
        for check in "$@"; do
            name=$topic/${check//_/-}
            attempt "$log" "$check"
            result "$status" "$name" "$why"
            figures "$log"
            ((status == 0 || status == skipped_status)) || sed 's/^/    /' "$log"
        done
    fi
    summary
}

remove_work() {
    if ((EUID)); then rm -rf "$work"; else umount --recursive --lazy "$work" && rmdir "$work"; fi
}

# --- network namespaces -----------------------------------------------------

# A network namespace of this name, for this test alone.
space() {
    echo "gb10-$$-$1"
}

# on NAME COMMAND…: runs the command in a namespace.
on() {
    local space
    space=$(space "$1")
    shift
    ip netns exec "$space" "$@"
}

# start NAME COMMAND…: the same, in the background; its process is `$!`.
start() {
    local space
    space=$(space "$1")
    shift
    ip netns exec "$space" "$@" &
}

add_space() {
    ip netns add "$(space "$1")"
    ip -n "$(space "$1")" link set lo up
}

# cable A INTERFACE-OF-A B INTERFACE-OF-B
cable() {
    ip -n "$(space "$1")" link add "$2" type veth peer name "$4" netns "$(space "$3")"
    ip -n "$(space "$1")" link set "$2" up
    ip -n "$(space "$3")" link set "$4" up
}

# Ends what runs in the namespaces of this test, and removes them.
remove_spaces() {
    local space pid
    for space in /run/netns/"gb10-$$-"*; do
        [[ -e $space ]] || continue
        space=$(basename "$space")
        for pid in $(ip netns pids "$space" 2>/dev/null); do kill -KILL "$pid" 2>/dev/null; done
        ip netns delete "$space"
    done
}

# --- prerequisites ----------------------------------------------------------

# has COMMAND…: whether they are there; says which is not.
has() {
    local command
    for command in "$@"; do
        type -P "$command" >/dev/null || { echo "needs $command"; return 1; }
    done
}

# can_be_root: whether as_root works.
can_be_root() {
    ((EUID == 0)) || sudo -n true 2>/dev/null
}

# as_root COMMAND…: through sudo, with this environment, where the user is another.
as_root() {
    if ((EUID == 0)); then "$@"; else sudo -n -E env PATH="$PATH" HOME="$HOME" "$@"; fi
}

# install_missing PACKAGE…: with apt-get, those that are not installed. Says so before; what cannot
# be installed is no error, for the tests that need it are skipped.
install_missing() {
    local package state missing=()
    for package in "$@"; do
        state=$(dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null || true)
        [[ $state == installed ]] || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    if [[ -n $NO_INSTALL ]]; then
        echo "not installed, tests that need them are skipped: ${missing[*]}"
    elif ! can_be_root; then
        echo "not installed, for that needs root or sudo; tests that need them are skipped: ${missing[*]}"
    else
        echo "installing with apt-get: ${missing[*]}"
        # A fresh machine may be installing its updates just now.
        as_root env DEBIAN_FRONTEND=noninteractive sh -c \
            'get() { apt-get -qq -o DPkg::Lock::Timeout=300 "$@"; }
            get update && get install --no-install-recommends "$@" >/dev/null' sh "${missing[@]}" \
            || echo "apt-get failed, tests that need them are skipped: ${missing[*]}"
    fi
}

# Where packages are unpacked whose programs are needed here, and whose daemon is not to run.
unpacked=$cache/unpacked

# unpack_missing PACKAGE…: those that are not there, in the same way.
unpack_missing() {
    local package folder missing=()
    for package in "$@"; do
        [[ -d $unpacked/$package ]] || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    if [[ -n $NO_INSTALL ]]; then
        echo "not unpacked, tests that need them are skipped: ${missing[*]}"
        return 0
    fi
    echo "unpacking in $unpacked: ${missing[*]}"
    mkdir -p "$unpacked"
    for package in "${missing[@]}"; do
        folder=$(mktemp --directory "$unpacked/new.XXXXXX")
        if (cd "$folder" && download "$package" && dpkg-deb --extract ./*.deb files); then
            mv --no-target-directory "$folder/files" "$unpacked/$package"
        else
            echo "apt-get failed, tests that need it are skipped: $package"
        fi
        rm -rf "$folder"
    done
}

# download PACKAGE: into this folder. Its address may be known only once apt-get has asked for it.
download() {
    apt-get -qq download "$1" 2>/dev/null && return
    ! can_be_root || as_root apt-get -qq update
    apt-get -qq download "$1"
}

# --- the source -------------------------------------------------------------

# source_files: those that the package is made of, each with a NUL behind it. The current folder is
# the source's, which may be a clone or an unpacked tarball, and may have been built in.
source_files() {
    find Cargo.toml Cargo.lock LICENSE* docs src templates systemd packaging debian \
        \( -path debian/made -o -path debian/.debhelper -o -path debian/gb10-provision-api \) -prune -o \
        ! -type d ! -name '*.debhelper*' ! -name '*.substvars' ! -path debian/files -print0 | sort -z
}
