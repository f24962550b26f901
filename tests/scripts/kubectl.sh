#!/bin/sh
# Stands in for kubectl: answers from the files of $CLUSTER, and writes down each call.
set -eu
PATH=/usr/bin:/bin # not the stand-ins of the fault injection
umask 022
printf '%s\n' "$*" >>"$CLUSTER/calls"
# complaint: what kubectl has to say whenever it is called
[ ! -f "$CLUSTER/complaint" ] || cat "$CLUSTER/complaint" >&2
# lost: how many more calls, which of them, and what kubectl says of it; partial: what of the answer comes through
if [ -f "$CLUSTER/lost" ]; then
  IFS='|' read -r times which said <"$CLUSTER/lost"
  case "$*" in
    *"$which"*)
      if [ "$times" -gt 0 ]; then
        echo "$((times - 1))|$which|$said" >"$CLUSTER/lost"
        [ ! -f "$CLUSTER/partial" ] || cat "$CLUSTER/partial"
        echo "$said" >&2
        exit 1
      fi
      ;;
  esac
fi
case "$*" in
  *'get namespace kube-system'*) cat "$CLUSTER/uid" ;;
  *'get namespaces'*) cat "$CLUSTER/namespaces" ;;
  *'get nodes'*) cat "$CLUSTER/nodes" ;;
  *'get pods -n kube-system -l tier'*) cat "$CLUSTER/static-pods" ;;
  *'get pods'*) cat "$CLUSTER/pods" ;;
  'version -o json' | *' version -o json') cat "$CLUSTER/version" ;;
  'patch -f - --type '*)
    cat >"$CLUSTER/stdin"
    mkdir -p "$CLUSTER/objects"
    there=$CLUSTER/objects/$(sed -n 's/^  name: //p' "$CLUSTER/stdin")
    case "$*" in
      *' -p {} --dry-run=server -o yaml') [ ! -e "$there" ] || cat "$there" ;;
      *' --dry-run=server -o yaml') cat "$CLUSTER/stdin" ;;
      *)
        cat "$CLUSTER/stdin" >>"$CLUSTER/applied"
        mv "$CLUSTER/stdin" "$there"
        echo 'configmap/x patched'
        ;;
    esac
    ;;
  *'rollout status'*) [ ! -e "$CLUSTER/stuck" ] && echo 'successfully rolled out' ;;
  *'patch configmap'*) for last; do :; done && cp "$last" "$CLUSTER/patch" && cp "$CLUSTER/auth.after" "$CLUSTER/auth" ;;
  *'get configmap extension-apiserver-authentication'*) cat "$CLUSTER/auth" ;;
  *'get configmaps -A'*) cat "$CLUSTER/configmaps" ;;
  *'get secrets'*) cat "$CLUSTER/secret" ;;
  *) echo "unexpected: $*" >&2 && exit 1 ;;
esac
