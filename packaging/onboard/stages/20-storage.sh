# The NVMe disk: it is there, alive and writable. Then the checks, of free space among others.
# shellcheck shell=sh
set -u

# A gb10-onboard from before the checks has no such function.
command -v checks >/dev/null || checks() { echo 'not checked: the gb10-onboard of this box is from before the checks'; }

read_of() { head -n 1 "$1" 2>/dev/null | sed 's/[[:space:]]*$//'; }

found=''
for controller in "$GB10_SYS"/class/nvme/nvme*; do
    [ -e "$controller" ] || continue
    name=${controller##*/}
    model=$(read_of "$controller/model")
    state=$(read_of "$controller/state")
    case $state in
        live | '') ;;
        *) fail "$name ($model): its state is $state, not live" ;;
    esac
    found="$found${found:+, }$name ($model, firmware $(read_of "$controller/firmware_rev"))"
done
[ -n "$found" ] || absent "no NVMe disk: $GB10_SYS/class/nvme is empty"

disks=''
for disk in "$GB10_SYS"/block/nvme*n*; do
    [ -e "$disk" ] || continue
    name=${disk##*/}
    [ "$(read_of "$disk/ro")" != 1 ] || fail "$name: the disk has become read-only"
    sectors=$(read_of "$disk/size") # of 512 bytes, whatever the disk's own are
    disks="$disks${disks:+, }$name $((${sectors:-0} / 1953125)) GB"
done
[ -n "$disks" ] || fail "$found: without a namespace, so there is no disk"

probe=$GB10_STATE/tmp/writable
echo probe >"$probe" || fail "$GB10_STATE cannot be written: is the root file system read-only?"
rm -f "$probe"

# -P keeps each file system on one line; the field before the percentage is what is available.
free_mib=$(df -Pk "$GB10_ROOT/" | awk 'NR == 2 { for (i = 3; i <= NF; i++) if ($i ~ /^[0-9]+%$/) print int($(i - 1) / 1024) }')
[ -n "$free_mib" ] || fail "df does not tell the free space of $GB10_ROOT/"
checked=$(checks) || fail "$checked"
echo "$found; $disks; $((free_mib / 1024)) GiB free on $GB10_ROOT/"
printf '%s\n' "$checked"
