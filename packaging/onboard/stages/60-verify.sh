# The final checks: what runs on this box, and a container that uses the GPU.
#
# The container is run where there is an image for it: loaded as gb10-gpu-check, or staged as a
# payload whose target is /opt/gb10/images/gpu-check.tar (the output of `docker save`). Any image
# with glibc will do, since the NVIDIA runtime adds nvidia-smi.
# shellcheck shell=sh
set -u

archive=$GB10_ROOT/opt/gb10/images/gpu-check.tar
image=gb10-gpu-check

# first COMMAND… : the first line that it prints, where there is such a command.
first() { if command -v "$1" >/dev/null; then "$@" 2>/dev/null | head -n 1; fi; }

# named NAME VALUE : a line of the detail, for what there is.
named() { [ -z "$2" ] || printf '%s: %s\n' "$1" "$2"; }

os_release() { sed -n "s/^$1=\"\{0,1\}\([^\"]*\)\"\{0,1\}\$/\1/p" "$GB10_ROOT/etc/os-release" 2>/dev/null; }

versions() {
    named product "$(cat "$GB10_SYS/class/dmi/id/product_name" 2>/dev/null)"
    named firmware "$(cat "$GB10_SYS/class/dmi/id/bios_version" 2>/dev/null)"
    named os "$(os_release PRETTY_NAME)"
    named dgx "$(sed -n 's/^DGX_SWBUILD_VERSION="\{0,1\}\([^"]*\)"\{0,1\}$/\1/p' "$GB10_ROOT/etc/dgx-release" 2>/dev/null)"
    named kernel "$(uname -r)"
    named driver "$(first nvidia-smi --query-gpu=driver_version --format=csv,noheader)"
    named docker "$(first docker --version)"
    named containerd "$(first containerd --version)"
    named nvidia-ctk "$(first nvidia-ctk --version)"
}

gpu_container() {
    if ! command -v docker >/dev/null; then
        echo "GPU container: not run, there is no docker"
        return
    fi
    if [ -e "$archive" ]; then
        progress "loading $archive"
        loaded=$(docker load -i "$archive" 2>&1) || fail "docker load -i $archive: $loaded"
        image=$(printf '%s\n' "$loaded" | sed -n 's/^Loaded image\( ID\)\{0,1\}: //p' | tail -n 1)
        [ -n "$image" ] || fail "docker load -i $archive names no image: $loaded"
    elif ! docker image inspect "$image" >/dev/null 2>&1; then
        echo "GPU container: not run, no image is staged"
        return
    fi
    progress "running $image"
    # An earlier run that was killed may have left its container.
    docker rm -f gb10-gpu-check >/dev/null 2>&1
    seen=$(docker run --rm --name gb10-gpu-check --pull never --network none --gpus all \
        -e NVIDIA_DRIVER_CAPABILITIES=compute,utility "$image" nvidia-smi -L 2>&1) \
        || fail "GPU container ($image): $seen"
    case $seen in
        *GPU\ [0-9]*) echo "GPU container ($image): $seen" ;;
        *) fail "GPU container ($image) sees no GPU: $seen" ;;
    esac
}

gpu_container
versions
