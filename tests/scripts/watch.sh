#!/bin/sh
# Stands before every program that the scripts call, and looks at what others can see of it: its
# arguments and environment (as ps does), and the files that it is given. $WATCH/values holds one private
# value a line; a line of $WATCH/seen is a value in the open.
name=${0##*/}
PATH=$WATCH/real:/usr/bin:/bin
! grep -aqFf "$WATCH/values" "/proc/$$/cmdline" "/proc/$$/environ" || echo "arguments or environment of $name" >>"$WATCH/seen"
case $name in
  mv | chmod | chown | sync | cp)
    for file; do
      [ -f "$file" ] || continue
      mode=$(stat -L -c %a "$file")
      case $mode in ?00 | ??0) continue ;; esac
      ! grep -aqFf "$WATCH/values" "$file" || echo "$file, of mode $mode, before $name" >>"$WATCH/seen"
    done
    ;;
esac
echo "$name" >>"$WATCH/called"
exec "$name" "$@"
