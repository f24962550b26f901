#!/bin/sh
# Stands in for systemd and for the kubelet of one node, $SANDBOX: keeps its processes as directories
# of $SANDBOX/proc, and in $SANDBOX/served what each server shows to those who connect.
set -eu
PATH=/usr/bin:/bin # not the stand-ins of the fault injection

# start NAME OF: a new process of this name in place of the one of the same pod or unit; its command line on standard
# input
start() {
  for process in "$SANDBOX"/proc/[0-9]*; do
    read -r of 2>/dev/null <"$process/of" || continue
    [ "$of" != "$2" ] || rm -rf "$process"
  done
  read -r last 2>/dev/null <"$SANDBOX/last-pid" || last=100
  pid=$((last + 1))
  echo "$pid" >"$SANDBOX/last-pid"
  mkdir -p "$SANDBOX/proc/$pid"
  cat >"$SANDBOX/command"
  tr '\n' '\000' <"$SANDBOX/command" >"$SANDBOX/proc/$pid/cmdline"
  echo "$pid ($1) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 $((pid * 10)) 20" >"$SANDBOX/proc/$pid/stat"
  printf '%.15s\n' "$1" >"$SANDBOX/proc/$pid/comm"
  echo "$2" >"$SANDBOX/proc/$pid/of"
}

# flag NAME: its value, after `=` or as the next word
flag() { awk -v "name=--$1" 'named { print; named = 0; next } $0 == name { named = 1 } index($0, name "=") == 1 { print substr($0, length(name) + 2) }' "$SANDBOX/command"; }

# words MANIFEST: the command line that it starts, in each spelling that the layouts of the tests have
words() {
  if grep -q 'exec /usr/local/bin' "$1"; then
    tr -s '" \n' '\n' <"$1" | sed -n '/^exec$/,/^1>>/p' | sed '1d; $d'
  elif grep -q 'command: \[' "$1"; then
    sed -n 's/^ *\(command\|args\): \[\(.*\)\]$/\2/p' "$1" | tr -d "'\"" | sed 's/, */\n/g'
  else
    sed -n '/^  - command:/,/^    image:/s/^    - //p; /^    command:/,/^    livenessProbe:/s/^    - //p' "$1" | tr -d "'\""
  fi
}

# on_host FILE: what the host calls a file that a manifest may mount by itself
on_host() {
  volume=$(sed -n "s|.*mountPath: $1, name: \([a-z-]*\)}.*|\1|p" "${manifest-/dev/null}")
  if [ -n "$volume" ]; then
    sed -n "s|.*{name: $volume, hostPath: {path: \"*\([^\",}]*\).*|\1|p" "$manifest"
  else
    echo "$1"
  fi
}

# serve NAME: what the program shows, or publishes, from its start on
serve() {
  mkdir -p "$SANDBOX/served"
  port=$(flag secure-port)
  case $1 in
    kube-apiserver)
      for address in "$(flag advertise-address)" 127.0.0.1; do
        cp "$SANDBOX$(flag tls-cert-file)" "$SANDBOX/served/$address:${port:-6443}"
      done
      ;;
    kube-controller-manager) cp "$SANDBOX$(on_host "$(flag root-ca-file)")" "$SANDBOX/served/root-ca" ;;
  esac
}

case $1 in
  static-pod)
    [ -f "$2" ] || exit 0
    of=${2##*/}
    words "$2" >"$SANDBOX/words"
    read -r name <"$SANDBOX/words" && name=${name##*/}
    start "$name" "${of%%.*}" <"$SANDBOX/words"
    mkdir -p "$SANDBOX/served"
    [ "$name" != etcd ] || ln -sf "..$(flag cert-file)" "$SANDBOX/served/127.0.0.1:2379"
    manifest=$2
    serve "$name"
    ;;
  restart)
    name=${2%.service}
    unit=$(find "$SANDBOX/etc/systemd/system/$name.service" "$SANDBOX/usr/lib/systemd/system/$name.service" 2>/dev/null | sed 1q)
    # words of the command line, with lines that continue; then what its environment file sets
    sed -n '/^ExecStart=./,/[^\\]$/p' "$unit" | sed 's/^ExecStart=//; s/\\$//' | tr -s ' ' '\n' | sed '/^$/d' >"$SANDBOX/words"
    start "$name" "$name" <"$SANDBOX/words"
    sed -n 's/^EnvironmentFile=-*//p' "$unit" | while read -r file; do cat "$SANDBOX$file" 2>/dev/null || :; done |
      sed -n 's/^\([A-Z_]*=\)"*\([^"]*\)"*$/\1\2/p' | tee "$SANDBOX/variables" | tr '\n' '\000' >"$SANDBOX/proc/$pid/environ"
    serve "$name"
    if [ "$name" = etcd ]; then
      mkdir -p "$SANDBOX/served"
      file=$(flag cert-file)
      [ -n "$file" ] || file=$(sed -n 's/^ETCD_CERT_FILE=//p' "$SANDBOX/variables")
      urls=$(sed -n 's/^ETCD_LISTEN_CLIENT_URLS=//p' "$SANDBOX/variables")$(flag listen-client-urls)
      for url in $(echo "$urls" | tr , ' '); do ln -sf "..$file" "$SANDBOX/served/${url#https://}"; done
    fi
    ;;
  show)
    for process in "$SANDBOX"/proc/[0-9]*; do
      read -r comm 2>/dev/null <"$process/comm" || continue
      [ "$comm" != "$(printf '%.15s' "${4%.service}")" ] || echo "MainPID=${process##*/}"
    done
    ;;
  is-active | daemon-reload) ;;
  *) echo "unexpected: $*" >&2 && exit 1 ;;
esac
