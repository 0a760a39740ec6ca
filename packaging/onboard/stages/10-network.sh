# The RJ45 port: the RTL8127 is there, has a driver, a MAC and a link. Then the checks.
#
# It is found by its PCI identity, since names can change. A port of another identity counts if it
# has the name that this one has on a GB10, enP7s7.
# shellcheck shell=sh
set -u

# A gb10-onboard from before the checks has no such function.
command -v checks >/dev/null || checks() { echo 'not checked: the gb10-onboard of this box is from before the checks'; }

link_wait=${GB10_LINK_WAIT:-30} # seconds; 10GBASE-T takes some to negotiate
realtek=0x10ec
rtl8127=0x8127
mellanox=0x15b3
net=$GB10_SYS/class/net

# read_of FILE : its first line; nothing where it cannot be read, like `speed` of a port that is down.
read_of() { head -n 1 "$1" 2>/dev/null; }

# link_target LINK : the last part of what it points to.
link_target() {
    target=$(readlink "$1") && printf '%s\n' "${target##*/}"
}

identity() { echo "$(read_of "$1/vendor")/$(read_of "$1/device")"; }

port=''
for candidate in "$net"/*; do
    if [ "$(identity "$candidate/device")" = $realtek/$rtl8127 ]; then
        port=$candidate
        break
    fi
done
[ -n "$port" ] || [ ! -e "$net/enP7s7/device" ] || port=$net/enP7s7

if [ -z "$port" ]; then
    for device in "$GB10_SYS"/bus/pci/devices/*; do
        [ "$(identity "$device")" = $realtek/$rtl8127 ] || continue
        driver=$(link_target "$device/driver") || fail "RTL8127 at ${device##*/}: no driver is bound to it"
        fail "RTL8127 at ${device##*/}: driver $driver is bound, but there is no network interface"
    done
    absent "no RTL8127 (RJ45 port, enP7s7) on the PCI bus. It can vanish at a warm reboot:" \
        "disconnect the box from power for a moment"
fi

name=${port##*/}
driver=$(link_target "$port/device/driver") || driver='no driver'
mac=$(read_of "$port/address")
[ "$mac" != 00:00:00:00:00:00 ] || fail "$name ($driver): its MAC is all zero, a fault of the driver"

while [ "$(read_of "$port/carrier")" != 1 ]; do
    [ "$link_wait" -gt 0 ] || fail "$name ($driver, $mac): no link" \
        "(operstate $(read_of "$port/operstate")): is the cable in, and the switch port up?"
    link_wait=$((link_wait - 1))
    sleep 1
done
speed=$(read_of "$port/speed")
case $speed in
    10000) rate='10 Gb/s' ;;
    '' | -1 | *[!0-9]*) rate='speed unknown' ;;
    *) rate="$speed Mb/s, of the 10000 that the port can do" ;;
esac

checked=$(checks) || fail "$checked"

cx7=0 cx7_up=0
for candidate in "$net"/*; do
    [ "$(read_of "$candidate/device/vendor")" = $mellanox ] || continue
    cx7=$((cx7 + 1))
    [ "$(read_of "$candidate/carrier")" != 1 ] || cx7_up=$((cx7_up + 1))
done

# Reported, but not required: the server may well be away for a moment.
if address=$(python3 -I - "$PROVISION_URL" 2>/dev/null <<'PYTHON'
import http.client
import sys
import urllib.parse

url = urllib.parse.urlsplit(sys.argv[1])
kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
server = kind(url.hostname, url.port, timeout=5)
server.connect()
address = server.sock.getsockname()[0]
server.request("GET", url.path + "/healthz")
server.getresponse()
print(address)
PYTHON
); then
    reach="the server sees this box as $address"
else
    reach='the server does not answer at present'
fi

other=''
[ -z "${MAC:-}" ] || [ "$(printf %s "$MAC" | tr A-F a-f)" = "$mac" ] \
    || other="; it reports as $MAC, which is another port"
echo "$name: $rate, driver $driver, $mac, PCI $(identity "$port/device")$other;" \
    "ConnectX: $cx7 interfaces, $cx7_up with a link; $reach"
printf '%s\n' "$checked"
