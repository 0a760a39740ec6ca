# The GPU's driver: nvidia-smi answers. Then the checks.
#
# memory.total is not looked at: a GB10 shares its memory with the CPU, and nvidia-smi says [N/A].
# shellcheck shell=sh
set -u

# A gb10-onboard from before the checks has no such function.
command -v checks >/dev/null || checks() { echo 'not checked: the gb10-onboard of this box is from before the checks'; }

# Seconds to wait for the driver, which may still be built or loaded after the first boot.
driver_wait=${GB10_DRIVER_WAIT:-60}
nvidia=0x10de

gpu=''
for device in "$GB10_SYS"/bus/pci/devices/*; do
    # A class of 0x03xxxx is a display controller, which tells the GPU from its sound device.
    case $(cat "$device/vendor" "$device/class" 2>/dev/null | tr '\n' ' ') in
        "$nvidia 0x03"*) gpu="PCI ${device##*/} ($nvidia/$(cat "$device/device"))" ;;
    esac
done

if ! command -v nvidia-smi >/dev/null; then
    [ -n "$gpu" ] || absent "no NVIDIA GPU on the PCI bus, and no nvidia-smi"
    fail "$gpu is there, but nvidia-smi is not: the driver is not installed"
fi

while :; do
    if answer=$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>&1); then
        case $answer in *,*) break ;; esac
    fi
    if [ "$driver_wait" -le 0 ]; then
        [ -n "$gpu" ] || absent "no NVIDIA GPU on the PCI bus; nvidia-smi: $answer"
        fail "nvidia-smi does not answer for $gpu: $answer"
    fi
    [ $((driver_wait % 20)) -ne 0 ] || progress "waiting for nvidia-smi: $answer"
    driver_wait=$((driver_wait - 1))
    sleep 1
done

module=$(head -n 1 "$GB10_SYS/module/nvidia/version" 2>/dev/null) || module=unknown
checked=$(checks) || fail "$checked"
echo "nvidia-smi: $answer; kernel module $module; ${gpu:-not seen on the PCI bus}"
printf '%s\n' "$checked"
