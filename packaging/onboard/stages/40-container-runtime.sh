# The container runtime: docker, or containerd alone, with the NVIDIA runtime registered. Then the checks.
# shellcheck shell=sh
set -u

# A gb10-onboard from before the checks has no such function.
command -v checks >/dev/null || checks() { echo 'not checked: the gb10-onboard of this box is from before the checks'; }

# Seconds to wait for the daemon, which may still be starting.
daemon_wait=${GB10_DAEMON_WAIT:-30}

# The NVIDIA container toolkit registers the name `nvidia`, or its binary under another name.
register='nvidia-ctk runtime configure registers it'

# answer_of COMMAND… : puts its output into $answer. It is retried while the daemon may be starting.
answer_of() {
    until answer=$("$@" 2>&1); do
        [ "$daemon_wait" -gt 0 ] || fail "$1 does not answer: $answer"
        daemon_wait=$((daemon_wait - 1))
        sleep 1
    done
}

if command -v docker >/dev/null; then
    answer_of docker info --format '{{.ServerVersion}}'
    version=$answer
    # shellcheck disable=SC2016 # a template of Go
    answer_of docker info --format '{{range $name, $runtime := .Runtimes}}{{$name}} {{end}}'
    case " $answer " in
        *" nvidia "*) ;;
        *) fail "docker $version: the NVIDIA runtime is not registered (registered: $answer); $register" ;;
    esac
    found="docker $version; runtimes: $answer"
elif command -v containerd >/dev/null; then
    version=$(containerd --version 2>&1 | awk '{ print $3 }')
    answer_of containerd config dump
    case $answer in
        *nvidia-container-runtime*) ;;
        *) fail "containerd $version: the NVIDIA runtime is not registered; $register" ;;
    esac
    found="containerd $version; the NVIDIA runtime is registered"
else
    absent "neither docker nor containerd is installed"
fi

checked=$(checks) || fail "$checked"
printf '%s\n' "$found" "$checked"
