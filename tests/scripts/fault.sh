#!/bin/sh
# Stands before cp, mv, rm and the like, and kubectl: counts operations, and at the one that is asked for
# kills the whole process group, a copy half-way (kill); fails as on a full disk (fail); or is overtaken
# by someone who edits $FAULT_FILE (edit) or takes it away (vanish). A file that nobody may change
# (fixed) makes every operation on it fail.
name=${0##*/}
for last; do before=${source-} source=$last; done
case $last in ../*) last=$(cd .. && pwd -P)/${last#../} ;; esac
read -r n <"$FAULT/count"
n=$((n + 1))
echo "$n" >"$FAULT/count"
if [ "$n" = "$FAULT_AT" ]; then
  echo "$name $last" >"$FAULT/hit"
  case $FAULT_MODE in
    kill)
      [ "$name" != cp ] || [ ! -f "$before" ] || head -c "$(($(wc -c <"$before") / 2))" "$before" >"$last"
      kill -9 0
      ;;
    fail)
      echo "$name: No space left on device" >&2
      exit 1
      ;;
    edit) [ ! -e "$FAULT_FILE" ] || echo '# someone' >>"$FAULT_FILE" ;;
    vanish) [ ! -e "$FAULT_FILE" ] || /usr/bin/mv "$FAULT_FILE" "$FAULT/vanished" ;;
  esac
fi
case $FAULT_MODE:$name in
  fixed:mv | fixed:rm)
    [ "$last" != "$FAULT_FILE" ] || {
      echo "$name: cannot change '$last': Operation not permitted" >&2
      exit 1
    }
    ;;
esac
case $name in
  sync) exit 0 ;;
  kubectl) exec "$FAULT_BIN/kubectl" "$@" ;;
esac
exec "/usr/bin/$name" "$@"
