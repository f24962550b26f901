#!/bin/sh
# Stands in for kubectl and for a cluster's controllers: objects are files of $CLUSTER; what controllers
# publish is read from the processes of the nodes, $NODES. Writes down each call.
set -eu
printf '%s\n' "$*" >>"$CLUSTER/calls"

hex() { od -An -v -tx1 "$1" | tr -d ' \n'; }

# published: what the controller manager that leads publishes as the CA of the API
published() {
  read -r leader <"$CLUSTER/leader"
  hex "$NODES/$leader/served/root-ca"
}

# union KEY FLAG: every API server adds the CAs of its own flag to what is published, and takes none away
union() {
  touch "$CLUSTER/auth/$1"
  for node in "$NODES"/cp-*; do
    for process in "$node"/proc/[0-9]*; do
      read -r comm <"$process/comm"
      [ "$comm" = kube-apiserver ] || continue
      file=$(tr '\000' '\n' <"$process/cmdline" | sed -n "s/^--$2=//p")
      awk 'FILENAME == ARGV[1] { if (/BEGIN/) block = ""; block = block $0 "\n"; if (/END/) there[block] = 1; next }
        /BEGIN/ { block = "" } { block = block $0 "\n" } /END/ { if (!(block in there)) printf "%s", block; there[block] = 1 }' \
        "$CLUSTER/auth/$1" "$node$file" >"$CLUSTER/more"
      cat "$CLUSTER/more" >>"$CLUSTER/auth/$1"
    done
  done
}

# object: the name of the file that holds the object on standard input
object() {
  awk '/^kind: / { kind = $2 } /^[a-z]/ { inside = /^metadata:/ }
    inside && /^  name: / { name = $2 } inside && /^  namespace: / { namespace = $2 }
    END { print kind "." namespace "." name }' "$CLUSTER/stdin"
}

case "$*" in
  *'get namespace kube-system'*) cat "$CLUSTER/uid" ;;
  *'get namespaces'*) cat "$CLUSTER/namespaces" ;;
  *'get nodes -l node-role.kubernetes.io/control-plane'*) sed 's/$/ node True/' "$CLUSTER/control-planes" ;;
  *'get nodes -l node-role.kubernetes.io/master'*) ;;
  *'get nodes'*) cat "$CLUSTER/nodes" ;;
  *'get pods -n kube-system -l tier'*) sed 's/.*/& kube-apiserver-& True/' "$CLUSTER/control-planes" ;;
  *'-n shop get pods'*) cat "$CLUSTER/pods" ;;
  'patch -f - --type '*)
    cat >"$CLUSTER/stdin"
    name=$(object)
    case "$*" in
      *' -p {} --dry-run=server -o yaml') [ ! -e "$CLUSTER/objects/$name" ] || cat "$CLUSTER/objects/$name" ;;
      *' --dry-run=server -o yaml') cat "$CLUSTER/stdin" ;;
      *)
        mv "$CLUSTER/stdin" "$CLUSTER/objects/$name"
        echo "$name patched"
        ;;
    esac
    ;;
  *'rollout status'*) echo 'successfully rolled out' ;;
  *'-n kube-system patch configmap extension-apiserver-authentication'*)
    for last; do :; done
    read -r patch <"$last"
    key=$(printf '%s\n' "$patch" | sed 's/^{"data":{"\([^"]*\)":.*/\1/')
    value=$(printf '%s\n' "$patch" | sed 's/^{"data":{"[^"]*":"\(.*\)"}}$/\1/')
    printf '%b' "$value" >"$CLUSTER/auth/$key"
    ;;
  *'version -o json') printf '{\n    "minor": "34",\n    "minor": "34+",\n}\n' ;;
  settle)
    union client-ca-file client-ca-file
    union requestheader-client-ca-file requestheader-client-ca-file
    ;;
  *'get configmap extension-apiserver-authentication'*)
    key=$(printf '%s\n' "$*" | sed 's/.*index \. "\([^"]*\)".*/\1/')
    echo "kube-system $(hex "$CLUSTER/auth/$key")"
    ;;
  *'get configmaps -A --field-selector metadata.name=kube-root-ca.crt'*)
    published=$(published)
    while read -r namespace; do echo "$namespace $published"; done <"$CLUSTER/namespaces"
    ;;
  *'-n shop get secrets/legacy-token'*) echo "shop $(published)" ;;
  *) echo "unexpected: $*" >&2 && exit 1 ;;
esac
