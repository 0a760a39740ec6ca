# shellcheck shell=bash disable=SC2119,SC2120 # optional arguments
# What the netboot tests share: a LAN with the service and dnsmasq on it, and boxes: arm64 machines with
# a real UEFI (AAVMF), under QEMU without KVM. A test sources this, defines `setup` and one function
# per check, and ends with `run_checks FUNCTION…`.
#
#     boxes (QEMU)  ---  switch  ---  10.88.0.1  host (the service, dnsmasq)
#
# Real are firmware, shim, GRUB, kernel, dnsmasq, and the service with all that it hands out. Stand-ins are
# the installer and the journal (see there); and the disk of an installed box only says so, and switches
# the box off.

set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../lib.sh
. "$here/../lib.sh"
topic=netboot/$(basename "$0")

# The program of the service; `run` builds it.
SERVER=${SERVER:-${CARGO_TARGET_DIR:-$here/../../target}/debug/gb10-provision-api}
url=http://10.88.0.1:8088
# What the disk of an installed box says on the serial port.
disk_says="This is the disk."
firmware=/usr/share/AAVMF
# Longest that a boot may take, on a machine that does much else.
boot_limit=240

# What keeps the tests from running here, if anything.
obstacle() {
    ((EUID == 0)) || { echo "needs root"; return; }
    has bsdtar cargo cpio curl dnsmasq ip jq mcopy mformat nft python3 qemu-system-aarch64 sfdisk xorriso xz || return 0
    [[ -e $firmware/AAVMF_CODE.fd ]] || { echo "needs $firmware, of the package qemu-efi-aarch64"; return; }
    "$here/parts" boot 2>/dev/null >&2 || { "$here/parts" boot 2>&1 | tail -n 1; return; }
    unshare --mount --net true 2>/dev/null || echo "needs the right to make namespaces"
}

tear_down() {
    set +e
    remove_spaces
    remove_work
}

# --- the LAN ----------------------------------------------------------------

lan() {
    add_space switch
    add_space host
    ip -n "$(space switch)" link add lan type bridge
    ip -n "$(space switch)" link set lan up
    cable switch port0 host lan0
    ip -n "$(space switch)" link set port0 master lan
    ip -n "$(space host)" address add 10.88.0.1/24 dev lan0
}

# neighbour NAME MAC IP: something else on the LAN, in a namespace.
neighbour() {
    add_space "$1"
    cable switch "port-$1" "$1" eth0
    ip -n "$(space switch)" link set "port-$1" master lan
    ip -n "$(space "$1")" link set eth0 address "$2"
    ip -n "$(space "$1")" address add "$3/24" dev eth0
}

# dhcp [LINE…]: DHCP and TFTP by our own configuration, and lines for this test.
dhcp() {
    in_host "$SERVER" boot dnsmasq --interface lan0 --reached-at 10.88.0.1:8088 >"$work/dnsmasq.conf"
    printf '%s\n' "$@" >"$work/dnsmasq.more"
    start host dnsmasq --keep-in-foreground --conf-file="$work/dnsmasq.more" --conf-file="$work/dnsmasq.conf" \
        --pid-file --no-ping --dhcp-leasefile="$work/leases" --log-facility="$work/dnsmasq.log"
    wait_for 10 "dnsmasq" grep --quiet 'DHCP, .*IP range' "$work/dnsmasq.log"
}

# --- the service ------------------------------------------------------------

# in_host COMMAND…: on the host, with the settings of the service, and with the test's journal.
in_host() {
    DATA_PATH=$work/data LISTEN=10.88.0.1:8088 on host "$here/with-journal" "$work/journal" "$@"
}

# serve [SETTING=VALUE…]: starts the service, and waits until it answers.
serve() {
    mkdir -p "$work/data" "$work/journal"
    start host "$here/journal" "$work/journal/socket" "$work/journal.json"
    wait_for 10 "the journal" test -S "$work/journal/socket"
    DATA_PATH=$work/data LISTEN=10.88.0.1:8088 start host env "$@" "$here/with-journal" "$work/journal" "$SERVER" \
        >>"$work/service.log" 2>&1
    echo $! >"$work/service.pid"
    wait_for 20 "the service" fetch host /healthz
}

# fetch SPACE PATH [CURL-OPTION…]: from a namespace; fails for an answer >= 400.
fetch() {
    on "$1" curl --silent --show-error --fail --max-time 15 "${@:3}" "$url$2"
}

# record MAC FILTER: what jq finds in the record of a box.
record() {
    fetch host "/clients/$1" | jq --raw-output "$2"
}

# messages FILTER: the messages of the journal that jq lets through.
messages() {
    jq --raw-output "select(.MESSAGE) | select($1) | .MESSAGE" "$work/journal.json"
}

# message_id NAME: of an event, as src/message_id.rs has it.
message_id() {
    sed -n "s/^pub const $1: &str = \"\(.*\)\";$/\1/p" "$here/../../src/message_id.rs"
}

# --- images -----------------------------------------------------------------

# stage_image [NAME]: as an operator does it, of an ISO and a netboot archive that are made here of what
# Debian has. Kernel, shim and GRUB are of one distribution, as Secure Boot wants it.
stage_image() {
    local name=${1-test} parts media=$work/media
    parts=$("$here/parts" boot)
    if [[ ! -e $media/netboot.tar.gz ]]; then
        mkdir -p "$media/arm64"
        cp "$parts/usr/lib/shim/shimaa64.efi.signed" "$media/arm64/bootaa64.efi"
        cp "$parts/usr/lib/grub/arm64-efi-signed/grubnetaa64.efi.signed" "$media/arm64/grubaa64.efi"
        tar --create --file="$media/netboot.tar.gz" --use-compress-program='gzip -1' --directory="$media" arm64
        initrd "$media/initrd"
        # Beside them it has what nobody needs here, so that it is worth noticing who loads it.
        truncate --size=20M "$media/filler"
        xorriso -report_about FAILURE -as mkisofs -quiet -V "$name" -o "$media/installer.iso" -graft-points \
            casper/vmlinuz="$(echo "$parts"/boot/vmlinuz-*)" casper/initrd="$media/initrd" \
            casper/filler="$media/filler"
    fi
    in_host "$SERVER" boot stage --name "$name" "$media/installer.iso" "$media/netboot.tar.gz"
    in_host "$SERVER" boot grub --reached-at 10.88.0.1:8088 --write
}

# initrd FILE: of the stand-in for the installer.
initrd() {
    local parts folder=$work/initrd
    parts=$("$here/parts" boot)
    mkdir -p "$folder"/{bin,modules}
    cp "$here/installer" "$folder/init"
    cp "$parts/usr/bin/busybox" "$folder/bin/busybox"
    kernel_modules "$folder/modules"
    disk_image "$work/disk"
    gzip -1 --keep --stdout "$work/disk" >"$folder/disk.gz"
    (cd "$folder" && find . | cpio --create --format=newc --quiet | gzip -1) >"$1"
}

# kernel_modules FOLDER: those that its network needs, named in the order in which they depend on each
# other. What is built into the kernel has no file.
kernel_modules() {
    local parts name found n=10
    parts=$("$here/parts" boot)
    for name in failover net_failover virtio_net; do
        found=$(find "$parts/usr/lib/modules" -name "$name.ko*" -print -quit)
        case $found in
            *.xz) xz --decompress --stdout "$found" >"$1/$n-$name.ko" ;;
            *.ko) cp "$found" "$1/$n-$name.ko" ;;
        esac
        n=$((n + 1))
    done
}

# disk_image FILE: the disk of an installed box. What subiquity puts there is shim and GRUB below
# /EFI/ubuntu, on the EFI system partition; this GRUB is Debian's, and reads its own folder.
disk_image() {
    local parts esp=$work/esp
    parts=$("$here/parts" boot)
    truncate --size=16M "$esp"
    mformat -i "$esp" ::
    mmd -i "$esp" ::/EFI ::/EFI/ubuntu ::/EFI/debian
    mcopy -i "$esp" "$parts/usr/lib/shim/shimaa64.efi.signed" ::/EFI/ubuntu/shimaa64.efi
    mcopy -i "$esp" "$parts/usr/lib/grub/arm64-efi-signed/grubaa64.efi.signed" ::/EFI/ubuntu/grubaa64.efi
    printf 'echo "%s"\nhalt\n' "$disk_says" | mcopy -i "$esp" - ::/EFI/debian/grub.cfg
    truncate --size=18M "$1"
    printf 'label: gpt\nstart=2048, size=32768, type=U\n' | sfdisk --quiet "$1"
    dd if="$esp" of="$1" bs=1M seek=1 conv=notrunc status=none
}

# --- boxes ------------------------------------------------------------------

# A box is a folder, $work/NAME: its disk, the variables of its UEFI, which outlive a boot, and what it
# says on its serial port. The network comes first in its boot order, the disk second, as curtin leaves
# a box that was installed by PXE.

# box NAME MAC…: a machine that is switched off, with an empty disk, and a port on the LAN for each MAC.
# It boots from the last of them.
box() {
    local folder=$work/$1 port n=0
    mkdir "$folder"
    printf '%s\n' "${@:2}" >"$folder/macs"
    cp --sparse=always "$firmware/AAVMF_VARS.fd" "$folder/vars"
    truncate --size=18M "$folder/disk"
    while ((n < $# - 1)); do
        port=$1-$n
        ip -n "$(space switch)" tuntap add dev "$port" mode tap
        ip -n "$(space switch)" link set "$port" master lan up
        n=$((n + 1))
    done
}

# installed_box NAME MAC…: one whose disk boots.
installed_box() {
    [[ -e $work/disk ]] || disk_image "$work/disk"
    box "$@"
    cp "$work/disk" "$work/$1/disk"
}

# enforce_secure_boot NAME: with the keys that a machine is sold with.
enforce_secure_boot() {
    cp --sparse=always "$firmware/AAVMF_VARS.ms.fd" "$work/$1/vars"
    echo "$firmware/AAVMF_CODE.ms.fd" >"$work/$1/code"
}

# switch_on NAME [QEMU-OPTION…]
switch_on() {
    local folder=$work/$1 code=$firmware/AAVMF_CODE.fd ports=() macs mac n=0 last=
    [[ ! -e $folder/code ]] || code=$(<"$folder/code")
    mapfile -t macs <"$folder/macs"
    for mac in "${macs[@]}"; do
        ((n < ${#macs[@]} - 1)) || last=,bootindex=1
        ports+=(-netdev "tap,id=port$n,ifname=$1-$n,script=no,downscript=no"
            -device "virtio-net-pci,netdev=port$n,mac=$mac,romfile=$last")
        n=$((n + 1))
    done
    [[ ! -e $folder/serial ]] || cat "$folder/serial" >>"$folder/serial.before"
    : >"$folder/serial"
    start switch qemu-system-aarch64 -machine virt -accel tcg -cpu cortex-a57 -m 1024 -nodefaults \
        -drive "if=pflash,unit=0,format=raw,readonly=on,file=$code" \
        -drive "if=pflash,unit=1,format=raw,file=$folder/vars" -device virtio-rng-pci \
        "${ports[@]}" \
        -drive "if=none,id=disk,format=raw,file=$folder/disk" -device nvme,serial=test,drive=disk,bootindex=2 \
        -display none -serial "file:$folder/serial" "${@:2}" >"$folder/qemu" 2>&1
    echo $! >"$folder/pid"
    echo "$EPOCHREALTIME" >"$folder/on-since"
}

# cut_power NAME
cut_power() {
    kill -KILL "$(<"$work/$1/pid")"
    wait_for 10 "the end of QEMU" is_off "$1"
}

is_off() {
    ! kill -0 "$(<"$work/$1/pid")" 2>/dev/null || [[ $(sed 's/.*) //; s/ .*//' "/proc/$(<"$work/$1/pid")/stat") == Z ]]
}

# says NAME TEXT: waits until the box has, since it was switched on. Ends the check, with what it said
# last, where it goes off without, or takes too long.
says() {
    local end=$((SECONDS + boot_limit)) was_off
    until has_said "$1" "$2"; do
        was_off=
        if is_off "$1"; then was_off=yes; fi
        if has_said "$1" "$2"; then break; fi
        if [[ -n $was_off ]] || ((SECONDS >= end)); then
            printable "$1" | tail -n 25
            cat "$work/$1/qemu"
            fail "$1 ${was_off:+is off, and} has not said '$2'"
        fi
        sleep 0.05
    done
    figure "$1: '$2' after $(age "$1") s"
}

has_said() {
    grep --text --quiet --fixed-strings -- "$2" "$work/$1/serial"
}

# goes_off NAME: waits until the box has switched itself off.
goes_off() {
    wait_for "$boot_limit" "$1 to switch itself off" is_off "$1"
}

# age NAME: seconds since it was switched on.
age() {
    local since now=${EPOCHREALTIME/[.,]/}
    since=$(<"$work/$1/on-since")
    echo $(((now - ${since/[.,]/}) / 1000000))
}

# printable NAME: what a box said, without the escapes of a terminal.
printable() {
    sed 's/\x1b\[[0-9;?]*[A-Za-z]//g; s/\r//g' "$work/$1/serial" | tr -cd '\n\40-\176'
}
