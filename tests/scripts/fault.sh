#!/bin/sh
# Stands before cp, mv, rm and the like: counts file operations, and at the one that is asked for
# kills the whole process group, a copy half-way (kill), or fails as on a full disk (fail).
name=${0##*/}
read -r n <"$FAULT/count"
n=$((n + 1))
echo "$n" >"$FAULT/count"
if [ "$n" = "$FAULT_AT" ]; then
  echo "$name" >"$FAULT/hit"
  case $FAULT_MODE in
    kill)
      for last; do before=${source-} source=$last; done
      [ "$name" != cp ] || [ ! -f "$before" ] || head -c "$(($(wc -c <"$before") / 2))" "$before" >"$last"
      kill -9 0
      ;;
    fail)
      echo "$name: No space left on device" >&2
      exit 1
      ;;
  esac
fi
[ "$name" != sync ] || exit 0
exec "/usr/bin/$name" "$@"
