#!/bin/sh
# For a person who was handed a new kubeconfig: puts the private values of the present one into it.
#
# usage: (umask 077; sh user.sh PRESENT NEW > COMPLETE)
#
# The new file names each private value by its hash or place (`carota-kept:…`); the values stay in the
# person's own file and are written to standard output only.
set -eu
umask 077
[ $# -eq 2 ] || {
  # the file is made by the shell that calls this: with its umask
  echo "usage: (umask 077; sh user.sh PRESENT NEW > COMPLETE)" >&2
  exit 2
}
here=$(CDPATH='' cd -- "${0%"${0##*/}"}." && pwd -P)
# shellcheck source=/dev/null
. "$here/public-form.sh"
work=$(mktemp -d "${TMPDIR:-/tmp}/carota.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
name=${2##*/}
mkdir "$work/values"
public_form "$1" "users/$name" "$work/values" >"$work/form" || {
  echo "the private values of $1 cannot be told apart" >&2
  exit 13
}
fill_form "$2" "$work/values" >"$work/complete" || {
  echo "$2 keeps a private value that $1 does not have: it was made for another file" >&2
  exit 19
}
cat "$work/complete"
