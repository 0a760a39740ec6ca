# All is done: sums up in one line.
# shellcheck shell=sh
set -u

read -r uptime _ </proc/uptime || uptime=0
stamps=0
for stamp in "$GB10_STATE"/stamps/*; do
    [ ! -e "$stamp" ] || stamps=$((stamps + 1))
done

# Reported, but not required: the operator judges what failed besides the onboarding.
failed=''
if command -v systemctl >/dev/null; then
    failed="; failed units: $(systemctl list-units --state=failed --no-legend --plain 2>/dev/null \
        | awk '{ printf "%s%s", sep, $1; sep = " " } END { if (NR == 0) printf "none" }')"
fi
echo "$(uname -n) is ready, ${uptime%.*} s after its boot; $stamps stages before this one$failed"
