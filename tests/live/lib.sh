# shellcheck shell=sh disable=SC2034 # what is set here is used by the scripts that read it
# Places, names and small helpers that the scripts of the live test share. It knows how a node is entered; it must not
# know what a rotation is.

: "${here:?}"

cache=${XDG_CACHE_HOME:-$HOME/.cache}/carota-live
version=${CAROTA_LIVE_VERSION:-v1.34.4}
lab=$cache/lab # the running cluster: node roots, process ids, what the load recorded
repository=$(CDPATH='' cd -- "$here/../.." && pwd -P)

# What a version asks for: kubeadm's own format, the tags of the images that it names, where its sources are.
kubeadm_api=v1beta4 etcd_tag=3.6.5-0 coredns_tag=v1.12.1 sources=modules
case $version in
    v1.20.2) kubeadm_api=v1beta2 etcd_tag=3.4.13-0 coredns_tag=1.7.0 sources=debian ;;
esac

bridge=carota0
network=10.99.0
endpoint=api.live.test
planes='cp-1 cp-2 cp-3'
workers='worker-1 worker-2'

# address NODE: prints its last octet
octet() {
    case $1 in
        cp-*) echo "1${1#cp-}" ;;
        worker-*) echo "2${1#worker-}" ;;
        spare-*) echo "3${1#spare-}" ;;
    esac
}
address() { echo "$network.$(octet "$1")"; }
pod_network() { echo "10.244.$(octet "$1")"; }

# Debian's own mirror, as this machine has it
mirror() {
    # shellcheck disable=SC2016 # apt's own variables
    apt-get indextargets --format '$(REPO_URI) $(RELEASE)' | sed -n 's/ bookworm$//p' | sort -u | sed 1q
}

tell() { printf '%s %s\n' "$(date -u +%H:%M:%S)" "$*"; }
stop() {
    printf 'live: %s\n' "$*" >&2
    exit 1
}

# init_of NODE: sets `init` to the process id of the node's systemd
init_of() {
    read -r nspawn <"$lab/$1.pid" && [ -d "/proc/$nspawn" ] || return 1
    # the kernel ends that list without a line break, which `read` takes for a failure
    init='' && read -r init _ 2>/dev/null <"/proc/$nspawn/task/$nspawn/children" || [ -n "$init" ]
}

# on NODE COMMAND…: as root on that node
on() {
    target=$1
    shift
    init_of "$target" || stop "$target does not run"
    nsenter -t "$init" -m -u -i -n -p -C -r -w env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 "$@"
}

# within SECONDS WHAT COMMAND…: until COMMAND succeeds
within() {
    seconds=$1 waited=$2
    shift 2
    deadline=$(($(date +%s) + seconds))
    until "$@" >"$lab/within.log" 2>&1; do
        [ "$(date +%s)" -lt "$deadline" ] || stop "$waited: not within $seconds s: $(tail -n 5 "$lab/within.log")"
        sleep 1
    done
}

admin() { on cp-1 kubectl --kubeconfig /etc/kubernetes/admin.conf "$@"; }
