# The payloads of the manifest: each is fetched, resumed after a break, and verified before it
# takes its place. One that is in place and right is not fetched again.
#
# $GB10_PAYLOADS has a line for each: path, size, sha256, target, mode and the path as in a URL,
# separated by tabs, without control characters in them.
# shellcheck shell=sh
set -u

refusals_most=3     # of one payload in a run, before it counts as wrong on the server
pause_first=2       # seconds between tries
pause_longest=${GB10_PAUSE_LONGEST:-30}
stall=30            # seconds without a byte, after which a download counts as broken
report_every=30     # seconds, or ten per cent
reserve=67108864    # bytes that a file system shall have left

tab=$(printf '\t')
todo=$GB10_TMP/todo

size_of() { if [ -f "$1" ]; then wc -c <"$1" | tr -d ' '; else echo 0; fi; }
sum_of() { sha256sum <"$1" | cut -d ' ' -f 1; }
durable() { sync "$@" 2>/dev/null || sync; }

# human BYTES
human() {
    awk -v n="$1" 'BEGIN {
        split("bytes KiB MiB GiB TiB", unit, " ")
        for (i = 1; n >= 1024 && i < 5; i++) n /= 1024
        printf i == 1 ? "%d %s" : "%.1f %s", n, unit[i]
    }'
}

# On the file system of the target, where a rename is one step; left there for the next run.
part_of() { printf '%s/.%s.gb10-part\n' "${1%/*}" "${1##*/}"; }

# there SIZE SHA256 FILE
there() {
    [ -f "$3" ] && [ "$(size_of "$3")" -eq "$1" ] && [ "$(sum_of "$3")" = "$2" ]
}

# --- what is to be done, and whether there is space for it

right=0 count=0 bytes=0
: >"$todo"
: >"$GB10_TMP/space"
while IFS=$tab read -r path size sha256 target mode url; do
    count=$((count + 1))
    target=$GB10_ROOT$target
    [ ! -d "$target" ] || fail "$path: its target $target is a folder"
    [ "$size" -lt 1073741824 ] || [ ! -f "$target" ] || progress "$path: checking what is in place"
    if there "$size" "$sha256" "$target"; then
        chmod "$mode" "$target"
        right=$((right + 1))
        continue
    fi
    printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$path" "$size" "$sha256" "$target" "$mode" "$url" >>"$todo"
    bytes=$((bytes + size))

    folder=${target%/*}
    while [ ! -d "$folder" ] && [ -n "$folder" ]; do folder=${folder%/*}; done
    free=$(df -Pk "$folder/" | awk 'NR == 2 { for (i = 3; i <= NF; i++) if ($i ~ /^[0-9]+%$/) print $(i - 1) }')
    printf '%s\t%s\t%s\t%s\n' "$(stat -c %d "$folder/")" "${free:-0}" \
        $((size - $(size_of "$(part_of "$target")"))) "$folder" >>"$GB10_TMP/space"
done <"$GB10_PAYLOADS"

[ "$count" -gt 0 ] || { echo "no payloads in the manifest" && exit 0; }

short=$(awk -F '\t' -v reserve=$reserve '
    { free[$1] = $2 * 1024; need[$1] += $3; folder[$1] = $4 }
    END {
        for (fs in need)
            if (need[fs] + reserve > free[fs])
                printf "not enough space at %s/: %.0f MiB are missing of the %.0f needed. ", \
                    folder[fs], (need[fs] + reserve - free[fs]) / 1048576, (need[fs] + reserve) / 1048576
    }' "$GB10_TMP/space")
[ -z "$short" ] || fail "$short"

# --- the downloads

# watch PART BEFORE : tells how far all of it is; BEFORE bytes came with the earlier payloads.
# $GB10_TMP/told has the per cent and the time at which it is due next.
watch() {
    while sleep 1; do
        all=$(($2 + $(size_of "$1")))
        percent=$((all * 100 / (bytes > 0 ? bytes : 1)))
        now=$(date +%s)
        read -r next due <"$GB10_TMP/told"
        if [ $percent -ge "$next" ] || [ "$now" -ge "$due" ]; then
            progress "$percent %, $(human $all) of $(human $bytes), at $path"
            echo "$((percent / 10 * 10 + 10)) $((now + report_every))" >"$GB10_TMP/told"
        fi
    done
}

# refuse WHY : what came is deleted; too often, and the stage fails.
refuse() {
    rm -f "$part"
    refusals=$((refusals + 1))
    [ $refusals -lt $refusals_most ] || fail "$path: refused $refusals times and not put in place: $1"
    progress "$path: refused and deleted, to be fetched again: $1"
}

# again WHY : a pause, longer each time that nothing came.
again() {
    if [ "$(size_of "$part")" -gt "$had" ]; then pause=$pause_first; fi
    progress "$path: $1; $(size_of "$part") of $size bytes are here, next try in $pause s"
    sleep "$pause"
    pause=$((pause * 2 < pause_longest ? pause * 2 : pause_longest))
}

# download : fetches into $part until that is whole and right.
download() {
    refusals=0 pause=$pause_first
    while :; do
        had=$(size_of "$part")
        if [ "$had" -gt "$size" ]; then
            rm -f "$part"
            had=0
        fi
        if [ "$had" -lt "$size" ] || [ ! -f "$part" ]; then
            watch "$part" "$before" &
            watcher=$!
            # A limit of 0 would be none.
            code=$(curl -q -gfsS --noproxy '*' --connect-timeout 5 \
                --speed-limit 1 --speed-time $stall --max-filesize $((size > 0 ? size : 1)) \
                -C - -o "$part" -w '%{http_code}' "$PROVISION_URL/onboard/$url" 2>"$GB10_TMP/why")
            outcome=$?
            kill "$watcher" 2>/dev/null
            wait "$watcher" 2>/dev/null
            why=$(tail -n 1 "$GB10_TMP/why")
            case $outcome/$code in
                0/*) [ -e "$part" ] || : >"$part" ;; # of a file of no bytes
                22/408 | 22/429 | 22/5??)
                    again "the server answered $code"
                    continue
                    ;;
                22/416 | 63/* | 33/*)
                    refuse "the server's file is not of $size bytes, or cannot be resumed ($why)"
                    continue
                    ;;
                22/404) fail "$path: no such file is staged on the server (404)" ;;
                22/*) fail "$path: the server answered $code" ;;
                23/*) fail "$path: cannot be written to $part: $why" ;;
                *)
                    again "the download broke ($why)"
                    continue
                    ;;
            esac
        fi
        if [ "$(size_of "$part")" -ne "$size" ]; then
            refuse "$(size_of "$part") bytes, and the manifest says $size"
        else
            sum=$(sum_of "$part")
            [ "$sum" != "$sha256" ] || return 0
            refuse "its sha256 is $sum, and the manifest says $sha256"
        fi
    done
}

began=$(date +%s)
before=0 fetched=0
echo "10 $((began + report_every))" >"$GB10_TMP/told"
while IFS=$tab read -r path size sha256 target mode url <&7; do
    folder=${target%/*}
    mkdir -p "$folder/" || fail "$path: the folder $folder cannot be made"
    part=$(part_of "$target")
    download
    { chmod "$mode" "$part" && durable "$part" && mv -f "$part" "$target" && durable "$folder/"; } \
        || fail "$path: cannot be put in place as $target"
    before=$((before + size))
    fetched=$((fetched + 1))
done 7<"$todo"

echo "$count payloads: $fetched fetched ($(human $bytes) in $(($(date +%s) - began)) s)," \
    "$right already right"
