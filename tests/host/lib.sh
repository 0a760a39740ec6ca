# shellcheck shell=bash disable=SC2119,SC2120 # optional arguments
# What the host tests share: a LAN of network namespaces, containers that boot a
# real systemd in them, and checks. A test sources this, defines `setup` and one
# function per check, and ends with `run_checks FUNCTION…`.
#
# Namespaces and their addresses; the host under test runs in `host`:
#
#     dev1, dev2, dev3   10.88.0.11-13 --- switch --- 10.88.0.1  host
#     wan                                203.0.113.2 --- 203.0.113.1
#
# All of them are made by the test and gone when it ends, and so is every
# process that it started. Nothing leaves them.

set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../lib.sh
. "$here/../lib.sh"
# shellcheck disable=SC2034 # used by tests
source_tree=$(cd "$here/../.." && pwd)
# The Debian that hosts run, and devices unless a test says otherwise. Every test is of Debian 12,
# unless its name says otherwise.
export SUITE=${SUITE-bookworm}
topic=$(basename "$0")
[[ $SUITE == bookworm ]] || topic=$SUITE/$topic

url=http://10.88.0.1:8088
wan_ip=203.0.113.2
# shellcheck disable=SC2034 # used by tests
state=/var/lib/gb10-provision-api/state

# --- checks -----------------------------------------------------------------

# What keeps the tests from running here, if anything.
obstacle() {
    has cargo curl dh groff lintian python3 || return 0
    [[ ${needs_root-yes} == no ]] && return
    ((EUID == 0)) || { echo "needs root"; return; }
    has ip mmdebstrap nsenter systemd-nspawn || return 0
    can_make_spaces || echo "needs the right to make network namespaces, and a root folder that is a mount point"
}

# can_make_spaces: whether a command runs in a namespace, not only whether one can be made.
can_make_spaces() {
    local status=0 space=gb10-$$-probe
    ip netns add "$space" 2>/dev/null || return
    ip netns exec "$space" true 2>/dev/null || status=1
    ip netns delete "$space" 2>/dev/null
    return "$status"
}

# --- network ----------------------------------------------------------------

mac_of() {
    echo "02:10:88:00:00:1$1"
}

# The LAN as drawn above. The host's own LAN address is left to the test.
lan_without_host_address() {
    local n
    for n in switch host dev1 dev2 dev3 wan; do add_space "$n"; done
    ip -n "$(space switch)" link add lan type bridge
    ip -n "$(space switch)" link set lan up
    cable switch port0 host lan0
    ip -n "$(space switch)" link set port0 master lan
    for n in 1 2 3; do
        cable switch "port$n" "dev$n" eth0
        ip -n "$(space switch)" link set "port$n" master lan
        ip -n "$(space "dev$n")" link set eth0 address "$(mac_of "$n")"
        ip -n "$(space "dev$n")" address add "10.88.0.1$n/24" dev eth0
    done
    cable host wan0 wan eth0
    ip -n "$(space host)" address add 203.0.113.1/24 dev wan0
    ip -n "$(space wan)" address add "$wan_ip/24" dev eth0
    # Linux takes packets for the LAN address from here, too.
    ip -n "$(space wan)" route add 10.88.0.0/24 via 203.0.113.1
}

host_address() {
    ip -n "$(space host)" address add 10.88.0.1/24 dev lan0
}

lan() {
    lan_without_host_address
    host_address
}

# --- containers -------------------------------------------------------------

# The processes of a container are in files, as checks run in subshells:
# $work/NAME/nspawn and, the first process inside, $work/NAME/leader.

# container NAME KIND [SUITE]: a root file system, of its own, on top of a cached one.
container() {
    local lower
    lower=$("$here/root" "${@:2}") || exit
    mkdir -p "$work/$1"/{changes,scratch,root}
    mount -t overlay -o "lowerdir=$lower,upperdir=$work/$1/changes,workdir=$work/$1/scratch" overlay "$work/$1/root"
}

# boot NAME SPACE [OPTION…] [-- ARGUMENT…]: boots a container's systemd in a
# namespace, and waits until it is up. ARGUMENTs are its kernel command line.
boot() {
    switch_on "$@"
    wait_for 60 "container $1 to be up" is_up "$1"
}

# The same, without waiting for more than its systemd.
switch_on() {
    local name=$1 space options=()
    space=$(space "$2")
    shift 2
    while (($#)) && [[ $1 != -- ]]; do
        options+=("$1")
        shift
    done
    in_own_cgroup "$name" systemd-nspawn --quiet --directory="$work/$name/root" --register=no --keep-unit \
        --network-namespace-path="/run/netns/$space" --console=pipe \
        "${options[@]}" --boot "${@:2}" </dev/null >>"$work/$name/console" 2>&1 &
    echo $! >"$work/$name/nspawn"
    wait_for 20 "the first process of container $name, or its end" has_begun_or_ended "$name"
    find_leader "$name" || fail "systemd-nspawn ended: $(last_words "$name")"
}

has_begun_or_ended() {
    find_leader "$1" || ! is_running "$(<"$work/$1/nspawn")"
}

# last_words NAME: of a container that died, what it said last.
last_words() {
    grep --text --invert-match '^[[:space:]]*$' "$work/$1/console" | tail -n 1 || echo "without a word"
}

# in_own_cgroup NAME COMMAND…: becomes the command, in control groups of its own. The systemds of two
# containers in one group take each other's services for theirs.
in_own_cgroup() {
    local hierarchy group=gb10-$$-$1
    shift
    for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/{systemd,unified}; do
        [[ -e $hierarchy/cgroup.procs ]] || continue
        # Where that is not allowed, it stays in the one that it is in.
        mkdir -p "$hierarchy/$group" || continue
        echo "$BASHPID" >"$hierarchy/$group/cgroup.procs"
    done
    exec "$@"
}

# Those of containers that have ended; their last processes may take a moment.
remove_cgroups() {
    local group end=$((SECONDS + 3))
    for group in /sys/fs/cgroup/"gb10-$$-"* /sys/fs/cgroup/{systemd,unified}/"gb10-$$-"*; do
        while [[ -d $group ]]; do
            find "$group" -depth -type d -exec rmdir {} + 2>/dev/null
            ((SECONDS < end)) || break
            sleep 0.05
        done
    done
}

# With the kernel's packet filter for units in force (IPAddressAllow= and so on).
boot_with_filter() {
    SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 boot "$1" "$2" --system-call-filter=bpf \
        --capability=CAP_BPF,CAP_NET_ADMIN,CAP_PERFMON
}

# find_leader NAME: the child of nspawn that is the first process inside; for a
# moment there is another.
find_leader() {
    local pid child
    pid=$(<"$work/$1/nspawn")
    # Not by $(<FILE): bash ends the whole check where the file is gone, and says nothing.
    for child in $(cat "/proc/$pid/task/$pid/children" 2>/dev/null); do
        if grep --quiet --perl-regexp '^NSpid:.*\t1$' "/proc/$child/status"; then
            echo "$child" >"$work/$1/leader"
            return 0
        fi
    done
    return 1
}

is_up() {
    local how
    how=$(in_container "$1" systemctl is-system-running || true)
    [[ $how == running || $how == degraded ]]
}

# in_container NAME COMMAND…
in_container() {
    local pid
    pid=$(<"$work/$1/leader")
    shift
    nsenter --target "$pid" --mount --uts --ipc --net --pid --cgroup \
        env --chdir=/ --ignore-environment PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 SYSTEMD_PAGER= "$@"
}

# halt NAME: an orderly shutdown, which takes a second or so; then it is cut.
halt() {
    local pid leader end=$((SECONDS + 15))
    [[ -e $work/$1/leader ]] || return 0
    pid=$(<"$work/$1/nspawn") leader=$(<"$work/$1/leader")
    kill -s RTMIN+4 "$leader" 2>/dev/null || true
    while is_running "$pid" && ((SECONDS < end)); do sleep 0.05; done
    if is_running "$pid"; then kill -KILL "$leader" "$pid" || true; fi
    rm "$work/$1"/{nspawn,leader}
}

# is_running PID: an ended child that nobody waited for is not.
is_running() {
    [[ $(sed 's/.*) //; s/ .*//' "/proc/$1/stat" 2>/dev/null) == [!ZX] ]]
}

# --- the host under test ----------------------------------------------------

# in_host COMMAND…
in_host() {
    in_container host "$@"
}

# host_with_package: a LAN, and a host on it that has the package and runs.
host_with_package() {
    lan
    container host host
    boot_with_filter host host
    install_package
}

# The package of this source.
built_package() {
    local folder
    folder=$("$here/package") || exit
    echo "$folder"/*.deb
}

# install_package [FILE]: as an administrator does it. It must ask nothing.
install_package() {
    local file=${1-}
    [[ -n $file ]] || file=$(built_package)
    cp "$file" "$work/host/root/root/package.deb"
    in_host apt-get install --quiet --yes /root/package.deb </dev/null
}

# next_version N: the same package, made newer, as $work/upgradeN.deb.
next_version() {
    local folder=$work/repacked
    rm -rf "$folder"
    dpkg-deb --raw-extract "$(built_package)" "$folder"
    sed -i "s/^Version: .*/&+test$1/" "$folder/DEBIAN/control"
    # The program differs too, as it does in an upgrade.
    echo "version $1" >>"$folder/usr/bin/gb10-provision-api"
    (cd "$folder" && find . -type f ! -path './DEBIAN/*' -printf '%P\0' | xargs -0 md5sum >DEBIAN/md5sums)
    dpkg-deb --build --root-owner-group -Znone "$folder" "$work/upgrade$1.deb"
}

# drop_in UNIT NAME [LINE…]: as `systemctl edit` writes it; without lines, gone.
drop_in() {
    local folder=$work/host/root/etc/systemd/system/$1.d
    mkdir -p "$folder"
    if (($# > 2)); then printf '%s\n' "${@:3}" >"$folder/$2.conf"; else rm -f "$folder/$2.conf"; fi
    in_host systemctl daemon-reload
}

# stage NAME TEXT: writes a template.
stage() {
    local folder=$work/host/root/var/lib/gb10-provision-api/cloud-init-templates
    mkdir -p "$folder"
    printf '%s\n' "$2" >"$folder/$1.new"
    mv "$folder/$1.new" "$folder/$1"
}

# fetch SPACE PATH [CURL-OPTION…]: from a namespace; fails for an answer >= 400.
fetch() {
    on "$1" curl --silent --show-error --fail --max-time 15 "${@:3}" "$url$2"
}

# beat SPACE STAGE PHASE [MAC]: a heartbeat; prints the status code.
beat() {
    local mac=${4:+"\"mac\": \"$4\", "}
    on "$1" curl --silent --max-time 15 --output /dev/null --write-out '%{http_code}' \
        --data "{$mac\"stage\": \"$2\", \"phase\": \"$3\"}" "$url/heartbeat"
}

service_property() {
    in_host systemctl show --property "$1" --value gb10-provision-api.service
}

# signal NAME: to the service's process. A bare system has no kill(1).
signal() {
    in_host systemctl kill --kill-whom=main --signal="$1" gb10-provision-api.service
}

# another_process_than PID: whether the service has one, and not that.
another_process_than() {
    local pid
    pid=$(service_property MainPID)
    [[ $pid != 0 && $pid != "$1" ]]
}

status_has() {
    [[ $(service_property StatusText) == *"$1"* ]]
}

status_lacks() {
    ! status_has "$1"
}

is_active() {
    [[ $(in_host systemctl is-active "gb10-provision-api.$1") == active ]]
}

# nothing_failed: no unit of the host did.
nothing_failed() {
    local failed
    failed=$(in_host systemctl list-units --failed --plain --no-legend)
    same "failed units" "" "$failed"
}

# messages MATCH…: what journalctl finds of the service, by short lines.
messages() {
    in_host journalctl --sync
    in_host journalctl --quiet --output=cat --unit=gb10-provision-api.service "$@"
}

# logged MATCH…: whether there is such a message.
logged() {
    [[ -n $(messages "$@") ]]
}

# --- the end ----------------------------------------------------------------

# Ends what the test started: containers, processes in its namespaces, mounts.
tear_down() {
    local name
    set +e
    for name in "$work"/*/leader; do halt "$(basename "$(dirname "$name")")"; done
    remove_spaces
    ((EUID)) || remove_cgroups
    remove_work
}
