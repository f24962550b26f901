#!/bin/sh
# Stands before openssl: only s_client is another here, which "connects" to what the servers of the
# sandbox show: those of one node ($SANDBOX), or of all ($NODES) for who looks from outside.
set -eu
[ "$1" = s_client ] || exec /usr/bin/openssl "$@"
shift
address='' anchors='' name='' option=''
while [ $# -gt 0 ]; do
  case $1 in
    -connect) address=$2 && shift ;;
    -CAfile) anchors=$2 && shift ;;
    -verify_ip | -verify_hostname) option=$1 name=$2 && shift ;;
    -servername) shift ;;
    -no-CAfile | -no-CApath | -verify_return_error | -brief) ;;
    *) echo "unexpected: $*" >&2 && exit 1 ;;
  esac
  shift
done
case $address in *:644[34]) ;; *:2379) ;; *) echo "connect: nobody listens at $address" >&2 && exit 1 ;; esac
found=''
if [ -n "${SANDBOX:-}" ]; then
  exec cat "$SANDBOX/served/$address"
fi
for served in "$NODES"/*/served/*:644[34]; do
  # the name of the endpoint leads to each of them
  case $address in [0-9]*) [ "${served##*/}" = "$address" ] || continue ;; esac
  found=1
  /usr/bin/openssl verify -no-CAfile -no-CApath -CAfile "$anchors" "$option" "$name" "$served" || {
    echo "verify error:num=20:unable to get local issuer certificate"
    exit 1
  }
done
[ -n "$found" ]
