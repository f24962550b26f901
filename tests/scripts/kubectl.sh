#!/bin/sh
# Stands in for kubectl: answers from the files of $CLUSTER, and writes down each call.
set -eu
PATH=/usr/bin:/bin # not the stand-ins of the fault injection
umask 022
printf '%s\n' "$*" >>"$CLUSTER/calls"
# lost: how many more calls, which of them, and what kubectl says of it
if [ -f "$CLUSTER/lost" ]; then
  IFS='|' read -r times which said <"$CLUSTER/lost"
  case "$*" in
    *"$which"*)
      if [ "$times" -gt 0 ]; then
        echo "$((times - 1))|$which|$said" >"$CLUSTER/lost"
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
  *'apply --validate=false --server-side'*)
    cat >"$CLUSTER/stdin"
    cat "$CLUSTER/stdin" >>"$CLUSTER/applied"
    mkdir -p "$CLUSTER/objects"
    mv "$CLUSTER/stdin" "$CLUSTER/objects/$(sed -n 's/^  name: //p' "$CLUSTER/stdin")"
    echo 'configmap/x serverside-applied'
    ;;
  *'diff --server-side'*) cat >/dev/null && cat "$CLUSTER/diff" && [ ! -s "$CLUSTER/diff" ] ;;
  *'patch apiservices.apiregistration.k8s.io '*)
    all=$*
    printf '%s\n' "${all##* -p }" >"$CLUSTER/stdin"
    case $all in *--dry-run=server*) ;; *) cp "$CLUSTER/stdin" "$CLUSTER/merged" ;; esac
    if cmp -s "$CLUSTER/stdin" "$CLUSTER/merged"; then echo 'apiservice/x patched (no change)'; else echo 'apiservice/x patched'; fi
    ;;
  *'rollout status'*) [ ! -e "$CLUSTER/stuck" ] && echo 'successfully rolled out' ;;
  *'patch configmap'*) printf '%s' "$*" | sed 's/.* -p //' >"$CLUSTER/patch" && cp "$CLUSTER/auth.after" "$CLUSTER/auth" ;;
  *'get configmap extension-apiserver-authentication'*) cat "$CLUSTER/auth" ;;
  *'get configmaps -A'*) cat "$CLUSTER/configmaps" ;;
  *'get secrets'*) cat "$CLUSTER/secret" ;;
  *) echo "unexpected: $*" >&2 && exit 1 ;;
esac
