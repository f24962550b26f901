#!/bin/sh
# Gathers what a rotation of certificate authorities needs to know, and nothing private: every private
# key, token and password is replaced by a reference before it reaches the snapshot.
# Printed by `carota collect`. It changes nothing on the node and nothing in the cluster.
set -eu
umask 077

usage() {
  cat <<'END'
Gathers a snapshot of a Kubernetes cluster for carota, without its private values.

  sh collect.sh node    [--out DIR] [--node NAME] [--root DIR] [--force]
      on each node, as root: the files that a rotation may touch or needs to know
  sh collect.sh cluster [--out DIR] [--kubeconfig FILE | --from DIR] [--force]
      once, with kubectl and the rights to read everything: the API objects
  sh collect.sh user NAME FILE [--out DIR] [--force]
      once for each kubeconfig that lives outside the nodes

  --out DIR          the snapshot; default: snapshot
  --node NAME        the name of the Node object; default: the host's name
  --root DIR         read the node's files under DIR instead of /
  --kubeconfig FILE  passed on to kubectl
  --from DIR         read DIR/<kind>.yaml instead of asking the API
  --force            replace what an earlier run gathered

Needs a POSIX shell, coreutils (or busybox), awk, sed and find; `cluster` needs kubectl.
Private values are held for a moment in a private directory under TMPDIR or /dev/shm.
END
}

say() { printf 'collect.sh: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }
refuse() { say "$*"; exit 2; }

# @public-form@

# ---- Arguments.
out=snapshot
node=
root=
kubeconfig=
from=
force=
user=
user_file=

value_of() {
  if [ "$#" -lt 2 ] || [ -z "$2" ]; then refuse "$1 needs a value; see --help"; fi
}

parse() {
  what=${1-}
  case $what in
    node | cluster | user) shift ;;
    -h | --help | help) usage; exit 0 ;;
    '') usage >&2; exit 2 ;;
    *) refuse "the first argument is node, cluster or user; see --help" ;;
  esac
  while [ "$#" -gt 0 ]; do
    case $what:$1 in
      *:-h | *:--help) usage; exit 0 ;;
      *:--force) force=1; shift; continue ;;
      *:--out) value_of "$@"; out=$2 ;;
      node:--node) value_of "$@"; node=$2 ;;
      node:--root) value_of "$@"; root=$2 ;;
      cluster:--kubeconfig) value_of "$@"; kubeconfig=$2 ;;
      cluster:--from) value_of "$@"; from=$2 ;;
      *:-*) refuse "unknown option for $what; see --help" ;;
      user:*)
        if [ -z "$user" ]; then user=$1; elif [ -z "$user_file" ]; then user_file=$1; else refuse "too many arguments; see --help"; fi
        shift
        continue
        ;;
      *) refuse "too many arguments; see --help" ;;
    esac
    shift 2
  done
  if [ "$what" = user ] && [ -z "$user_file" ]; then refuse "user needs a name and a file; see --help"; fi
  [ -z "$kubeconfig" ] || [ -z "$from" ] || refuse "--kubeconfig and --from exclude each other"
}

# A name that Kubernetes would accept for a Node: it becomes part of paths and scripts.
check_name() {
  [ "${#2}" -le 253 ] || refuse "$1: longer than 253 characters"
  # One pattern at a time: a line break in the name must not hide behind another line.
  case $2 in
    '' | *[!a-z0-9.-]* | .* | -* | *. | *- | *..* | *.-* | *-.*)
      refuse "$1: give a name of lower-case letters, digits, '-' and '.', as Kubernetes has it"
      ;;
  esac
}

check_tools() {
  missing=
  for tool in awk cat chmod cp find head mkdir mktemp mv rm rmdir sed sha256sum sort stat tail tr uname wc "$@"; do
    command -v "$tool" >/dev/null 2>&1 || missing="$missing $tool"
  done
  [ -z "$missing" ] || fail "these programs are missing:$missing"
}

# ---- Places for the work. `stage` lies in the snapshot and is renamed at the end; `work` holds
# originals and private values and is removed whatever happens.
stage=
work=

clean() {
  [ -z "$stage" ] || rm -rf -- "$stage"
  [ -z "$work" ] || rm -rf -- "$work"
  stage=
  work=
}

prepare() {
  case $out in
    /*) ;;
    *) out=$PWD/$out ;;
  esac
  trap clean EXIT
  trap 'clean; trap - EXIT; exit 130' INT
  trap 'clean; trap - EXIT; exit 143' TERM HUP
  (umask 022 && mkdir -p -- "$out") || fail "cannot create the snapshot directory"
  stage=$(mktemp -d "$out/.collect.XXXXXX") || fail "cannot write to the snapshot directory"
  for place in "${TMPDIR:-/dev/shm}" "${TMPDIR:-/tmp}"; do
    if [ -d "$place" ] && [ -w "$place" ] && work=$(mktemp -d "$place/carota.XXXXXX"); then break; fi
  done
  [ -n "$work" ] || fail "no place for temporary files; set TMPDIR"
  mkdir "$work/values"
}

# Renames the result, staged under the same relative path, to its place in the snapshot.
publish() {
  target=$out/$1
  (umask 022 && mkdir -p -- "${target%/*}")
  if [ -e "$target" ] || [ -L "$target" ]; then
    [ -n "$force" ] || refuse "$1 is there already; --force replaces it"
    mv -- "$target" "$stage/old"
  fi
  mv -- "$stage/$1" "$target"
}

refuse_existing() {
  [ -z "$force" ] || return 0
  if [ -e "$out/$1" ] || [ -L "$out/$1" ]; then refuse "$1 is there already; --force replaces it"; fi
}

largest=4194304

# Whether file $1 is text that can be looked into.
is_text() {
  # Bytes that no text has: NUL, and the control characters other than tab, line feed, form feed, CR, escape.
  binary=$(LC_ALL=C tr -dc '\000-\010\013\016-\032\034-\037\177' <"$1" | head -c 1 | wc -c)
  [ "$binary" -eq 0 ]
}

# Whether file $1 is, or contains, the manifest of a Secret: any of its values may be private.
holds_secrets() {
  awk '/^[ \t{-]*"?kind"?[ \t]*:[ \t]*["\047]?Secret(List)?["\047]?[ \t,}\r]*$/ || /"kind"[ \t]*:[ \t]*"Secret(List)?"/ { found = 1; exit } END { exit !found }' "$1"
}

# ---- node
newline='
'

# Percent-encodes control characters, `%` and everything that is not ASCII; sets `encoded`.
encode() {
  case $1 in
    *[!A-Za-z0-9/._@:+,=-]*)
      encoded=$(printf '%s/' "$1" | LC_ALL=C awk '
        BEGIN { for (i = 1; i < 256; i++) code[sprintf("%c", i)] = i }
        {
          if (NR > 1) printf "%%0A"
          n = length($0)
          for (i = 1; i <= n; i++) {
            c = substr($0, i, 1)
            if (c ~ /^[ -$&-~]$/) printf "%s", c
            else printf "%%%02X", code[c]
          }
        }')
      encoded=${encoded%/}
      ;;
    *) encoded=$1 ;;
  esac
}

# `owner` (uid:gid), `mode` and `size` of a file or link, without following it.
facts() {
  mode=$(stat -c '%u:%g %s %a' -- "$1") || return 1
  owner=${mode%% *}
  mode=${mode#* }
  size=${mode% *}
  mode=${mode#* }
  while [ "${#mode}" -lt 4 ]; do mode=0$mode; done
}

line() {
  printf '%s\n' "$1" >>"$work/files"
}

seen="$newline"
tab=$(printf '\t')

# Resolves path $1 (absolute, on the node) component by component inside the root, records each link on
# the way, and sets `resolved`; fails when it does not exist or leaves the root.
resolve() {
  rest=${1#/}
  resolved=
  hops=0
  while [ -n "$rest" ]; do
    part=${rest%%/*}
    case $rest in
      */*) rest=${rest#*/} ;;
      *) rest= ;;
    esac
    case $part in
      '' | .) continue ;;
      ..)
        [ -n "$resolved" ] || return 1
        resolved=${resolved%/*}
        continue
        ;;
    esac
    if [ -L "$root$resolved/$part" ]; then
      hops=$((hops + 1))
      [ "$hops" -le 40 ] || return 1
      link_target=$(readlink_exact "$root$resolved/$part") || return 1
      case $resolved/$part in
        /lib | /bin | /sbin | /lib64 | /var/run | /var/lock) ;; # the system's own
        *) add_link "$resolved/$part" "$link_target" ;;
      esac
      case $link_target in
        /*) resolved= ;;
      esac
      rest=$link_target${rest:+/$rest}
      rest=${rest#/}
    else
      resolved=$resolved/$part
      [ -e "$root$resolved" ] || return 1
    fi
  done
  [ -n "$resolved" ]
}

# A link's target; a line break at its end stays.
readlink_exact() {
  target_text=$(readlink -- "$1" && printf x) || return 1
  target_text=${target_text%x}
  printf '%s' "${target_text%"$newline"}"
}

add_link() {
  encode "$1"
  case $seen in
    *"$newline$encoded$newline"*) return 0 ;;
  esac
  seen="$seen$encoded$newline"
  name=$encoded
  facts "$root$1" || return 0
  encode "$2"
  line "l$tab-$tab-$tab$owner$tab$name$tab$encoded"
}

withhold() {
  line "x$tab-$tab$mode$tab$owner$tab$1"
}

# Adds the regular file at path $1, none of whose directories is a link.
add_file() {
  encode "$1"
  case $seen in
    *"$newline$encoded$newline"*) return 0 ;;
  esac
  seen="$seen$encoded$newline"
  name=$encoded
  source=$root$1
  facts "$source" || return 0
  if [ "$size" -gt "$largest" ]; then
    withhold "$name"
    return 0
  fi
  # A copy first: the kubelet may replace the file while it is read.
  cp -- "$source" "$work/original" 2>/dev/null || fail "cannot read $name; run this as root"
  case "$newline$secret_files" in
    *"$newline$1$newline"*) withhold "$name"; return 0 ;;
  esac
  if ! is_text "$work/original" || holds_secrets "$work/original"; then
    withhold "$name"
    return 0
  fi
  hash=$(sha256sum <"$work/original")
  hash=${hash%% *}
  : >"$work/values/refs"
  if contains_private "$work/original"; then
    if ! public_form "$work/original" "$1" "$work/values" >"$work/public"; then
      withhold "$name"
      return 0
    fi
    private=1
  else
    cp -- "$work/original" "$work/public"
    private=
  fi
  if [ -n "$private" ] && ! awk '/^carota-kept:token@/ { exit 1 }' "$work/values/refs"; then
    hash=-
  fi
  if ! (umask 022 && mkdir -p -- "$tree${name%/*}" && cat -- "$work/public" >"$tree$name") 2>/dev/null; then
    # A name that is too long once encoded.
    [ "${#name}" -gt 255 ] || fail "cannot write to the snapshot"
    withhold "$name"
    return 0
  fi
  line "f$tab$hash$tab$mode$tab$owner$tab$name"
  case $1 in
    */manifests/* | *.service | *.conf | *.env | *.yaml | *.yml | *.json | *kubeconfig* | */config | /etc/default/* | /etc/sysconfig/*)
      cp -- "$work/public" "$work/texts/$texts"
      texts=$((texts + 1))
      ;;
  esac
}

# Adds path $1 whatever it is: a file, a link and what it leads to, or a directory with all in it.
add() {
  resolve "$1" || return 0
  if [ -f "$root$resolved" ]; then
    add_file "$resolved"
  elif [ -d "$root$resolved" ]; then
    add_directory "$resolved"
  fi
}

# Everything below directory $1, none of whose own directories is a link. Links are recorded; a linked
# file is gathered as well. No variable of the loop is used after the recursion.
add_directory() {
  for entry in "$root$1"/* "$root$1"/.[!.]* "$root$1"/..?*; do
    [ -e "$entry" ] || [ -L "$entry" ] || continue
    if [ -L "$entry" ]; then
      entry=${entry#"$root"}
      link_target=$(readlink_exact "$root$entry") || continue
      add_link "$entry" "$link_target"
      resolve "$entry" || continue
      if [ -f "$root$resolved" ]; then
        add_file "$resolved"
      elif [ -d "$root$resolved" ] && follow_directory "$resolved"; then
        add_directory "$resolved"
      fi
    elif [ -d "$entry" ]; then
      add_directory "${entry#"$root"}"
    elif [ -f "$entry" ]; then
      add_file "${entry#"$root"}"
    fi
  done
}

# A linked directory is walked once, and only if it looks like one for Kubernetes.
follow_directory() {
  case $1 in
    /*/*) ;;
    *) return 1 ;;
  esac
  system_path "$1/" && return 1
  encode "$1"
  case $seen in
    *"$newline@$encoded$newline"*) return 1 ;;
  esac
  seen="$seen@$encoded$newline"
}

# Places that belong to the system, not to the cluster: programs, devices, logs, public trust stores.
system_path() {
  case $1 in
    /bin/* | /sbin/* | /lib/* | /lib64/* | /usr/* | /opt/*/bin/* | /opt/bin/* | /dev/* | /proc/* | /sys/* | /boot/* | /tmp/*) return 0 ;;
    /run/* | /var/run/* | /var/log/* | /var/cache/* | /var/tmp/* | /var/lib/etcd/* | /var/lib/containerd/* | /var/lib/docker/* | /var/lib/kubelet/pods/*) return 0 ;;
    /etc/ssl/certs/* | /etc/ca-certificates/* | /etc/pki/ca-trust/* | /etc/pki/tls/* | /etc/ssl/private/*) return 0 ;;
    /etc/passwd | /etc/shadow* | /etc/gshadow* | /etc/group | /etc/hosts | /etc/resolv.conf | /etc/localtime | /etc/machine-id | /etc/nsswitch.conf | /etc/ssh/* | /etc/sudoers*) return 0 ;;
  esac
  return 1
}

# Absolute paths that flags, settings and mounts of the gathered texts name.
named_paths() {
  find "$work/texts" -type f -exec cat {} + | LC_ALL=C awk '
    {
      text = $0
      while (match(text, /(^|[="\047 :,@-])\/[A-Za-z0-9._@\/+-]+/)) {
        at = RSTART
        size = RLENGTH
        path = substr(text, at, size)
        sub(/^[^\/]/, "", path)
        sub(/[.\/]+$/, "", path)
        if (path ~ /^\/[^\/]+\/[^\/]/ && path !~ /\/\//) print path
        text = substr(text, at + size)
      }
    }' | LC_ALL=C sort -u
}

# Files that hold nothing but passwords or tokens.
find_secret_files() {
  secret_files=$(
    find "$root/etc/kubernetes" "$root/etc/systemd/system" "$root/usr/lib/systemd/system" "$root/etc/default" "$root/etc/sysconfig" -type f -size -4096k -exec cat {} + 2>/dev/null |
      LC_ALL=C sed -n 's/.*--\(token-auth-file\|basic-auth-file\)[=" ,]*\(\/[A-Za-z0-9._@\/+-]*\).*/\2/p'
  )$newline
}

# Follows what the texts name: files, and for a certificate or key its whole directory.
follow_names() {
  round=0
  while [ "$round" -lt 3 ]; do
    round=$((round + 1))
    named_paths >"$work/names.$round"
    while IFS= read -r named <&3; do
      system_path "$named" && continue
      resolve_quietly "$named" || continue
      system_path "$resolved" && continue
      if [ -f "$root$resolved" ]; then
        [ "$(stat -c '%s' -- "$root$resolved")" -le "$largest" ] || continue
        case $named in
          *.crt | *.pem | *.key | *.cert | *.cer) add_siblings "$named" ;;
        esac
        resolve_quietly "$named" || continue
        if looks_relevant "$root$resolved"; then add "$named"; fi
      elif [ -d "$root$resolved" ] && [ "$round" -eq 1 ] && ! system_path "$resolved/"; then
        add_certificates "$resolved"
      fi
    done 3<"$work/names.$round"
  done
}

# resolve without recording the links on the way.
resolve_quietly() {
  keep_seen=$seen
  keep_lines=$(wc -l <"$work/files")
  resolve "$1" && found=0 || found=1
  if [ "$keep_seen" != "$seen" ]; then
    seen=$keep_seen
    head -n "$keep_lines" "$work/files" >"$work/files.kept"
    cat "$work/files.kept" >"$work/files"
  fi
  return "$found"
}

looks_relevant() {
  is_text "$1" || return 1
  awk '/-----BEGIN |^apiVersion:|"apiVersion"|^kind:|--[a-z-]+=|certificate-authority|_token|^[A-Z_]+=/ { found = 1; exit } END { exit !found }' "$1"
}

add_siblings() {
  resolve_quietly "${1%/*}" || return 0
  system_path "$resolved/" || add_certificates "$resolved"
}

# The certificates, keys and configurations in directory $1 and the directories in it.
add_certificates() {
  for entry in "$root$1"/* "$root$1"/*/* "$root$1"/*/*/*; do
    [ -f "$entry" ] || continue
    case $entry in
      *.crt | *.pem | *.key | *.cert | *.cer | *kubeconfig*) add "${entry#"$root"}" ;;
    esac
  done
}

unit_directories='/etc/systemd/system /usr/lib/systemd/system /lib/systemd/system /run/systemd/system'

add_units() {
  for directory in $unit_directories; do
    [ ! -L "$root${directory%/systemd/system}" ] || continue
    for entry in "$root$directory"/kube*.service "$root$directory"/etcd*.service "$root$directory"/cloud-controller-manager*.service; do
      [ -f "$entry" ] || [ -L "$entry" ] || continue
      add "${entry#"$root"}"
    done
    for entry in "$root$directory"/kube*.service.d "$root$directory"/etcd*.service.d "$root$directory"/cloud-controller-manager*.service.d; do
      [ -d "$entry" ] || continue
      for drop_in in "$entry"/*.conf; do
        [ -f "$drop_in" ] || [ -L "$drop_in" ] || continue
        add "${drop_in#"$root"}"
      done
    done
  done
  # What EnvironmentFile= names; `-` before the path means that it may be absent.
  find "$work/texts" -type f -exec cat {} + |
    LC_ALL=C sed -n 's/^[[:space:]]*EnvironmentFile=-\{0,1\}\(\/[A-Za-z0-9._@\/+-]*\).*/\1/p' | LC_ALL=C sort -u >"$work/environment"
  while IFS= read -r named <&3; do add "$named"; done 3<"$work/environment"
}

# Units of others that name a certificate or kubeconfig which was collected: they read it, too.
add_readers() {
  LC_ALL=C awk -F "$tab" '$5 ~ /\.(crt|pem|cert|cer)$/ || $5 ~ /kubeconfig/ || $5 ~ /^\/etc\/kubernetes\/[^\/]*\.conf$/ { print $5 }' "$work/files" | LC_ALL=C sort -u >"$work/material"
  [ -s "$work/material" ] || return 0
  for directory in $unit_directories; do
    [ ! -L "$root${directory%/systemd/system}" ] || continue
    [ -d "$root$directory" ] || continue
    find "$root$directory" -type f \( -name '*.service' -o -path '*.service.d/*.conf' \) -exec awk '
      FILENAME == ARGV[1] { path[$0]; next }
      FILENAME in named { next }
      { for (p in path) if (index($0, p)) { named[FILENAME]; print FILENAME; next } }' "$work/material" {} +
  done >"$work/readers"
  while IFS= read -r named <&3; do add "${named#"$root"}"; done 3<"$work/readers"
}

add_homes() {
  for entry in "$root"/root "$root"/home/*; do
    add_kubeconfigs "${entry#"$root"}"
  done
  [ -f "$root/etc/passwd" ] || return 0
  sed -n 's/^[^:]*:[^:]*:[^:]*:[^:]*:[^:]*:\(\/[A-Za-z0-9._\/-]*\):.*/\1/p' "$root/etc/passwd" | LC_ALL=C sort -u >"$work/homes"
  while IFS= read -r named <&3; do
    case $named in
      / | /bin | /dev* | /proc* | /usr* | /sys*) ;;
      *) add_kubeconfigs "${named%/}" ;;
    esac
  done 3<"$work/homes"
}

add_kubeconfigs() {
  for entry in "$root$1"/.kube/*; do
    [ -f "$entry" ] || continue
    case $entry in
      */config) ;;
      *) awk '/^kind: Config/ { found = 1; exit } END { exit !found }' "$entry" 2>/dev/null || continue ;;
    esac
    add "${entry#"$root"}"
  done
}

collect_node() {
  # The kubelet registers the host's name in lower case.
  [ -n "$node" ] || node=$(uname -n | tr '[:upper:]' '[:lower:]')
  check_name "the node's name" "$node"
  check_tools readlink
  if [ -n "$root" ]; then
    [ -d "$root" ] || refuse "--root is not a directory"
    root=$(cd -- "$root" && pwd -P)
    root=${root%/}
  fi
  prepare
  refuse_existing "nodes/$node"
  tree=$stage/nodes/$node
  (umask 022 && mkdir -p -- "$tree")
  chmod 0755 "$stage/nodes" "$tree"
  mkdir "$work/texts"
  texts=0
  : >"$work/files"
  find_secret_files
  for place in /etc/kubernetes /etc/cni/net.d /var/lib/kubelet/pki /var/lib/kube-proxy /var/lib/kube-scheduler \
    /var/lib/kube-controller-manager /var/lib/kubernetes /srv/kubernetes /etc/ssl/etcd \
    /var/lib/kubelet/config.yaml /var/lib/kubelet/instance-config.yaml /var/lib/kubelet/kubeadm-flags.env \
    /var/lib/kubelet/kubeconfig /etc/default/kubelet /etc/sysconfig/kubelet; do
    add "$place"
  done
  for entry in "$root"/etc/etcd* "$root"/var/lib/kubelet/bootstrap* "$root"/var/lib/kubelet/*kubeconfig* "$root"/etc/default/kube* "$root"/etc/sysconfig/kube* "$root"/etc/default/etcd* "$root"/etc/sysconfig/etcd*; do
    [ -e "$entry" ] || continue
    add "${entry#"$root"}"
  done
  add_units
  add_homes
  follow_names
  add_readers
  [ -s "$work/files" ] || fail "found nothing of Kubernetes on this node"
  {
    printf '# carota snapshot 1\t%s\n' "$node"
    # By path: the fifth column of every line.
    LC_ALL=C sort -u "$work/files" | LC_ALL=C sort -t "$tab" -k 5,5
  } >"$tree/FILES"
  chmod 0644 "$tree/FILES"
  publish "nodes/$node"
  say "nodes/$node: $(wc -l <"$work/files" | tr -d ' ') entries"
}

# ---- cluster
kinds='apiservices.apiregistration.k8s.io certificatesigningrequests.certificates.k8s.io
clustertrustbundles.certificates.k8s.io configmaps cronjobs.batch
customresourcedefinitions.apiextensions.k8s.io daemonsets.apps deployments.apps jobs.batch
mutatingwebhookconfigurations.admissionregistration.k8s.io namespaces nodes poddisruptionbudgets.policy
pods replicasets.apps secrets serviceaccounts services statefulsets.apps
validatingwebhookconfigurations.admissionregistration.k8s.io'

kubectl_get() {
  if [ -n "$kubeconfig" ]; then
    kubectl --kubeconfig "$kubeconfig" "$@"
  else
    kubectl "$@"
  fi
}

# Puts the raw list of kind $1 into $work/raw; status 1 when the API does not serve it.
fetch() {
  if [ -n "$from" ]; then
    [ -f "$from/${1%%.*}.yaml" ] || return 1
    cat -- "$from/${1%%.*}.yaml" >"$work/raw"
    return 0
  fi
  if [ "$1" = version ]; then
    kubectl_get version -o yaml >"$work/raw" 2>"$work/error" && return 0
  else
    kubectl_get get "$1" --all-namespaces -o yaml >"$work/raw" 2>"$work/error" && return 0
  fi
  if awk '/the server doesn.t have a resource type|could not find the requested resource/ { found = 1; exit } END { exit !found }' "$work/error"; then
    return 1
  fi
  cat "$work/error" >&2
  fail "kubectl could not read ${1%%.*}; the account needs to read every object of every namespace"
}

collect_kind() {
  name=${1%%.*}
  if ! fetch "$1"; then
    printf '%s\n' "$name" >>"$stage/cluster/MISSING"
    return 0
  fi
  case $name in
    secrets) form=secrets ;;
    *) form=cluster ;;
  esac
  is_text "$work/raw" || fail "$name: not text"
  public_form_of "$form" "$work/raw" "cluster/$name.yaml" "$work/values" >"$stage/cluster/$name.yaml" ||
    fail "$name: its private values cannot be told apart; was it printed by 'kubectl get $name -A -o yaml'?"
  chmod 0644 "$stage/cluster/$name.yaml"
}

collect_cluster() {
  if [ -n "$from" ]; then
    check_tools
    [ -d "$from" ] || refuse "--from is not a directory"
  else
    check_tools kubectl
  fi
  prepare
  refuse_existing cluster
  mkdir "$stage/cluster"
  chmod 0755 "$stage/cluster"
  : >"$stage/cluster/MISSING"
  chmod 0644 "$stage/cluster/MISSING"
  for kind in $kinds version; do
    collect_kind "$kind"
  done
  for kind in configmaps namespaces nodes pods secrets; do
    [ -f "$stage/cluster/$kind.yaml" ] || fail "there are no $kind; a snapshot without them is of no use"
  done
  publish cluster
  say "cluster: $(find "$out/cluster" -name '*.yaml' | wc -l | tr -d ' ') kinds"
}

# ---- user
collect_user() {
  check_name "the user's name" "$user"
  check_tools
  [ -f "$user_file" ] || refuse "the kubeconfig is not there"
  prepare
  refuse_existing "users/$user.kubeconfig"
  mkdir "$stage/users"
  cp -- "$user_file" "$work/original" || fail "cannot read the kubeconfig"
  [ "$(wc -c <"$work/original")" -le "$largest" ] || fail "the kubeconfig is too large"
  is_text "$work/original" || fail "the kubeconfig is not text"
  public_form "$work/original" "users/$user.kubeconfig" "$work/values" >"$stage/users/$user.kubeconfig" ||
    fail "the private values of the kubeconfig cannot be told apart"
  chmod 0644 "$stage/users/$user.kubeconfig"
  publish "users/$user.kubeconfig"
  say "users/$user.kubeconfig"
}

parse "$@"
case $what in
  node) collect_node ;;
  cluster) collect_cluster ;;
  user) collect_user ;;
esac
