# The final checks, with a load where one is staged, and a container that uses the GPU. What the box
# is goes with the report of this stage, as facts.
#
# The container is run where there is an image for it: loaded as gb10-gpu-check, or staged as a
# payload whose target is /opt/gb10/images/gpu-check.tar (the output of `docker save`). Any image
# with glibc will do, since the NVIDIA runtime adds nvidia-smi.
# shellcheck shell=sh
set -u

# A gb10-onboard from before the checks has neither function.
command -v checks >/dev/null || checks() { echo 'not checked: the gb10-onboard of this box is from before the checks'; }
command -v judge >/dev/null || judge() { [ -z "$2" ] || fail "$2"; }

archive=$GB10_ROOT/opt/gb10/images/gpu-check.tar
image=gb10-gpu-check

# gpu_container : runs it, where it can be run, and tells what it saw.
gpu_container() {
    if ! command -v docker >/dev/null; then
        echo "GPU container: not run, there is no docker"
        return
    fi
    if [ -e "$archive" ]; then
        progress "loading $archive"
        loaded=$(docker load -i "$archive" 2>&1) || { judge gpu-container "docker load -i $archive: $loaded"; return; }
        image=$(printf '%s\n' "$loaded" | sed -n 's/^Loaded image\( ID\)\{0,1\}: //p' | tail -n 1)
        [ -n "$image" ] || { judge gpu-container "docker load -i $archive names no image: $loaded"; return; }
    elif ! docker image inspect "$image" >/dev/null 2>&1; then
        echo "GPU container: not run, no image is staged"
        return
    fi
    progress "running $image"
    # An earlier run that was killed may have left its container.
    docker rm -f gb10-gpu-check >/dev/null 2>&1
    seen=$(docker run --rm --name gb10-gpu-check --pull never --network none --gpus all \
        -e NVIDIA_DRIVER_CAPABILITIES=compute,utility "$image" nvidia-smi -L 2>&1) \
        || { judge gpu-container "GPU container ($image): $seen"; return; }
    case $seen in
        *GPU\ [0-9]*)
            judge gpu-container ''
            echo "GPU container ($image): $seen"
            ;;
        *) judge gpu-container "GPU container ($image) sees no GPU: $seen" ;;
    esac
}

checked=$(checks) || fail "$checked"
gpu_container
printf '%s\n' "$checked"
