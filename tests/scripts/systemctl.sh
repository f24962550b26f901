#!/bin/sh
# Stands in for systemctl and for the kubelet: keeps processes as directories of $SANDBOX/proc.
# With a file $SANDBOX/stubborn the kubelet "refuses" every manifest. With $SANDBOX/var/crashes a unit has ended, and was
# started again, each time that somebody looks; what the file says, it is. $SANDBOX/var/flags are its flags, a word a line.
set -eu
PATH=/usr/bin:/bin # not the stand-ins of the fault injection
start() { # start PROGRAM: a new process, its command line on standard input
  read -r last 2>/dev/null <"$SANDBOX/last-pid" || last=100
  pid=$((last + 1))
  echo "$pid" >"$SANDBOX/last-pid"
  mkdir -p "$SANDBOX/proc/$pid"
  printf '%.15s\n' "$1" >"$SANDBOX/proc/$pid/comm"
  tr '\n' '\000' >"$SANDBOX/proc/$pid/cmdline"
  echo "$pid (a b) c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 $((pid * 10)) 20" >"$SANDBOX/proc/$pid/stat"
}
stop() {
  for process in "$SANDBOX"/proc/[0-9]*; do
    read -r comm 2>/dev/null <"$process/comm" || continue
    [ "$comm" != "$(printf '%.15s' "$1")" ] || rm -rf "$process"
  done
}
case $1 in
  static-pod)
    [ ! -e "$SANDBOX/stubborn" ] || exit 0
    stop kube-apiserver
    sed -n "/command:/,/image:/s/^    - //p" "$2" | start kube-apiserver
    ;;
  restart)
    name=${2%.service}
    stop "$name"
    { printf '%s\n' "/usr/bin/$name" && cat "$SANDBOX/var/flags" 2>/dev/null || :; } | start "$name"
    ;;
  is-active) [ ! -s "$SANDBOX/var/crashes" ] ;;
  show)
    [ ! -e "$SANDBOX/var/crashes" ] || "$0" restart "$4"
    name=$(printf '%.15s' "${4%.service}")
    for process in "$SANDBOX"/proc/[0-9]*; do
      read -r comm 2>/dev/null <"$process/comm" || continue
      [ "$comm" != "$name" ] || echo "MainPID=${process##*/}"
    done
    ;;
esac
