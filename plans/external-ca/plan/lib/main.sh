# shellcheck shell=sh
# What every apply.sh, verify.sh and rollback.sh of this plan shares: options, messages, guards, the
# journal and the lock. It knows phases and their order; what a phase does on a node stands in
# node.sh, how a static pod is watched in process.sh, what it does in the cluster in cluster.sh.
#
# Every value that comes from a table or a path is used quoted, and reaches awk by a file or the
# environment, never as program text. Exit codes are the interface: `usage` lists them.

set -eu
umask 077
LC_ALL=C PATH=$PATH:/usr/sbin:/sbin
export LC_ALL PATH
unset CDPATH IFS
tab=$(printf '\t')
nl='
'
side=node node='' given_node='' root='' state='' log='' work='' temporary='' locked=''
dry=0 mode=run checked=0 acks='' expected='' timeout=300 code=0 told='' digest='' secrets=''

usage() {
  cat <<USAGE
usage: $verb.sh [options]       phase ${phase:-}
  --node NAME     act on this node (default: this host's name in lower case)
  --cluster       act on the cluster, with kubectl as it is configured here
  --dry-run       print what would change, with a diff, and change nothing
  --status        print which phases are done here, and change nothing
  --digest SHA256 the approved digest of the plan (sha256 of SHA256SUMS); checks it before anything
  --i-checked     you have checked by other means what the script says it cannot see. Of a node that it sees not
                  to be ready it vouches for nothing; for that there is --ack others-not-ready
  --ack NAME      an acknowledgement that the phase asks for; may be given several times
  --root DIR      work on another root directory (image builds, tests); restarts nothing there
  --secrets DIR   where this plan's private files are (default: secrets/ beside the plan)
  --state DIR     with --cluster: where the journal is kept (default: \$HOME/.carota)
  --timeout N     seconds to wait for each restart or rollout (default 300)
  --help          this text
exit: 0 done, or nothing to do       1 a command failed; start again to resume    2 wrong use
  10 plan altered since approval    11 wrong node or cluster    12 phases out of order
  13 drift: not as planned for      14 not root                 15 not enough space
  16 another run holds the lock     17 outside the time window  18 unknown file among the manifests
  19 private value not there        20 other nodes not ready    21 acknowledgement missing
  22 a tool is missing              23 waited in vain           24 verification failed
The scripts check the plan, but only you can check the scripts: before the first run compare
\`sha256sum SHA256SUMS\` with the approved digest, then run \`sha256sum -c SHA256SUMS\`: beside plan.json where
the plan is whole; in a bundle, which lacks some of its files, one folder above.
USAGE
}

# say TEXT: a line for the terminal and for the journal. Never give it a private value.
say() {
  printf '%s\n' "$*"
  journal "$*"
}

journal() {
  [ -n "$log" ] || return 0
  printf '%s %s %s %s: %s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "${node:-cluster}" "$phase" "$verb" "$*" >>"$log"
}

# die EXIT TEXT: stops. The text says what is wrong and what to do.
die() {
  code=$1 told=1
  shift
  printf 'carota: %s\n' "$*" >&2
  journal "stopped with exit $code: $*"
  exit "$code"
}

# refuse EXIT TEXT: a guard. A dry run names each guard that would stop it, and goes on.
refuse() {
  [ "$dry" = 1 ] || die "$@"
  [ "$code" != 0 ] || code=$1
  printf '%s would stop here with exit %s: ' "$verb" "$1"
  shift
  printf '%s\n' "$*"
}

# confirmed TEXT: something the script cannot see, so that --i-checked has to vouch for it.
confirmed() {
  [ "$checked" = 1 ] || return 1
  say "not seen from here, vouched for with --i-checked: $*"
}

sha() { # sha FILE: sets `sum`; through standard input, so that no name is read as an option
  sum=$(sha256sum <"$1") || die 1 "cannot read $1"
  sum=${sum%% *}
}

# flush FILE: onto the disk. Old coreutils know no `sync FILE`.
flush() { sync "$1" 2>/dev/null || sync; }

# visible: file contents for a terminal, without its control characters
visible() { tr '\000-\010\013-\037\177' '?'; }

# show_diff LABEL OLD NEW: a unified diff, or lines taken and added where there is no diff program
show_diff() {
  if command -v diff >/dev/null 2>&1; then
    diff -u -L "a$1" -L "b$1" "$2" "$3" | visible || :
  else
    printf '%s\n' "--- a$1" "+++ b$1"
    awk 'NR == FNR { old[$0]++; line[NR] = $0; last = NR; next } { if (old[$0]-- > 0) kept[$0]++; else new[++n] = $0 }
      END { for (i = 1; i <= last; i++) if (kept[line[i]]-- <= 0) print "-" line[i]
            for (i = 1; i <= n; i++) print "+" new[i] }' "$2" "$3" | visible
  fi
}

options() {
  while [ $# -gt 0 ]; do
    case $1 in
      --node | --root | --digest | --ack | --secrets | --state | --timeout)
        [ $# -ge 2 ] || die 2 "$1 needs a value; see --help"
        case $1 in
          --node) given_node=$2 ;;
          --root) root=$2 ;;
          --digest) expected=$2 ;;
          --ack) acks=$acks$nl$2$nl ;;
          --secrets) secrets=$2 ;;
          --state) state=$2 ;;
          --timeout) timeout=$2 ;;
        esac
        shift
        ;;
      --cluster) side=cluster ;;
      --dry-run) dry=1 ;;
      --status) mode=status ;;
      --i-checked) checked=1 ;;
      --help | -h) mode=help ;;
      *) die 2 "unknown option $1; see --help" ;;
    esac
    shift
  done
  case $timeout in '' | *[!0-9]* | ??????????*) die 2 "--timeout takes a number of seconds" ;; esac
  # a number that begins with 0 is an octal one in $((…))
  timeout=${timeout#"${timeout%%[!0]*}"} timeout=${timeout:-0}
  [ "$verb" != verify ] || dry=0
}

# name_ok TEXT: a name that may become part of a path
name_ok() {
  case $1 in '' | .* | -* | *[!A-Za-z0-9._-]*) return 1 ;; esac
}

# key PHASE KEY: sets `value` to a line of that phase's PHASE file, or to nothing
key() {
  value=''
  while IFS=$tab read -r name rest; do
    [ "$name" != "$2" ] || value=$rest
  done <"$plan/$1/PHASE"
}

read_phase() {
  [ -f "$dir/PHASE" ] || die 10 "$dir/PHASE is missing: this is not a phase of a plan, or not all of it was copied"
  key "$phase" previous && previous=$value
  key "$phase" id && id=$value
  key "$phase" order && order=$value
  key "$phase" not-before && not_before=$value
  key "$phase" not-after && not_after=$value
  name_ok "$id" || die 10 "the plan's id is not a name: $id"
  case $not_before$not_after in '' | *[!0-9]*) die 10 "$dir/PHASE has no window" ;; esac
}

tools() {
  for tool in awk cat chmod chown cp date df find id ln mkdir mktemp mv readlink rm rmdir sed sha256sum sleep sort stat sync tr uname wc; do
    command -v "$tool" >/dev/null 2>&1 || die 22 "$tool is not installed here; nothing was changed"
  done
}

# The plan is what was approved: its digest, each file's hash, and no file more (an added CLUSTER or
# CHANGES would be run though no hash of the list is wrong).
check_plan() {
  [ -f "$plan/SHA256SUMS" ] || die 10 "$plan/SHA256SUMS is missing; copy the whole plan again"
  sha "$plan/SHA256SUMS"
  digest=$sum
  [ -z "$expected" ] || [ "$expected" = "$digest" ] ||
    die 10 "the plan is not the approved one: its digest is $digest, approved is $expected. Fetch the approved plan; nothing was changed"
  files=$(cd "$plan" && find . ! -type d)
  # A bundle has neither what is for reviewers alone nor the files of other nodes; of this node's own, what is
  # missing is found before the first write.
  wrong=$(printf '%s\n' "$files" | (cd "$plan" && awk '
    { there[$0] = 1 }
    END {
      while ((getline line < "SHA256SUMS") > 0) {
        path = substr(line, 67)
        if (path in there || path !~ /^[.]\/([0-9][0-9]-[a-z-]*\/nodes\/|plan[.]json$|report[.]html$)/) print line
      }
    }' | sha256sum -c - 2>&1) | awk '!/: OK$/') || :
  [ -z "$wrong" ] || die 10 "files of the plan were altered after it was written; copy the plan again, nothing was changed:$nl$wrong"
  added=$(printf '%s\n' "$files" | (cd "$plan" && awk '
    BEGIN { while ((getline line < "SHA256SUMS") > 0) listed[substr(line, 67)] = 1; listed["./SHA256SUMS"] = 1 }
    !($0 in listed)'))
  [ -z "$added" ] || die 10 "files were added to the plan after it was written; remove them, nothing was changed:$nl$added"
  # A rotation stays with one plan: another one, even a good one, wants to be named.
  for begun in "$state"/[0-9][0-9]-*/progress; do
    if [ ! -f "$begun" ] || [ -n "$expected" ]; then continue; fi
    read -r pinned <"$state/digest"
    [ "$pinned" = "$digest" ] ||
      die 10 "earlier phases were done here from the plan with digest $pinned, this one has $digest. If that is meant, give --digest $digest"
  done
}

# A killed run leaves the lock behind: it names its process and that one's start, so that a stale
# lock is known for certain. The lock is a hard link, made whole or not at all.
lock() {
  started_at "$$"
  mine="$$ $started"
  printf '%s\n' "$mine" >"$state/lock.$$"
  if ! ln "$state/lock.$$" "$state/lock" 2>/dev/null; then
    holder='' pid='' start=''
    read -r pid start <"$state/lock" 2>/dev/null || :
    [ -z "$pid" ] || { started_at "$pid" && [ "$started" = "$start" ] && holder=$pid; } || :
    [ -z "$holder" ] || lost_lock "process $holder is at work on $state; wait until it has ended"
    say "a run that was killed left its lock (process ${pid:-unknown}); taking over"
    # of those that saw the same lock one goes on, if it is still that one; the name tells which was seen
    case $pid$start in '' | *[!0-9]*) seen_lock=unknown ;; *) seen_lock=$pid.$start ;; esac
    over=$state/over.$seen_lock
    ln "$state/lock.$$" "$over" 2>/dev/null ||
      lost_lock "another run takes $state/lock over just now; wait until it has ended. If there is none, one was killed at it: remove $over"
    if ! is_lock "$pid${start:+ $start}" "$state/lock"; then
      rm -f "$over"
      lost_lock "another run took $state/lock just now; wait until it has ended"
    fi
    cp "$state/lock.$$" "$state/lock.new.$$"
    mv -f "$state/lock.new.$$" "$state/lock"
    rm -f "$over"
  fi
  locked=1
  # its own, and what killed runs left
  for left in "$state"/lock.*; do
    if [ "${left##*.}" = "$$" ] || [ ! -d "/proc/${left##*.}" ]; then rm -f "$left"; fi
  done
}

lost_lock() {
  rm -f "$state/lock.$$"
  die 16 "$1"
}

# is_lock 'PID START' FILE
is_lock() {
  held=''
  IFS= read -r held <"$2" 2>/dev/null || :
  [ "$held" = "$1" ]
}

# started_at PID [PROC]: sets `started` to the start of a process in ticks since boot; PIDs are used again
started_at() {
  started='-'
  [ -r "${2:-/proc}/$1/stat" ] && read -r line 2>/dev/null <"${2:-/proc}/$1/stat" || return 1
  # The name in parentheses may hold spaces and parentheses of its own.
  # shellcheck disable=SC2086 # to be split: numbers and one letter
  set -- ${line##*) }
  started=${20:-'-'}
}

finish() {
  status=$?
  trap - EXIT
  [ -z "$temporary" ] || rm -rf "$temporary"
  [ -z "$work" ] || rm -rf "$work"
  [ "$status" = 0 ] || [ -n "$told" ] || [ "$code" != 0 ] ||
    printf 'carota: a command failed (see above). No file is half-written: start again to go on, or go back with rollback.sh\n' >&2
  [ -z "$log" ] || journal "exit $status"
  [ -z "$locked" ] || ! is_lock "$mine" "$state/lock" || rm -f "$state/lock"
  exit "$status"
}

# mark NAME TEXT: sets a marker of this phase, whole or not at all
mark() {
  printf '%s\n' "$2" >"$state/$phase/.mark"
  flush "$state/$phase/.mark"
  mv -f "$state/$phase/.mark" "$state/$phase/$1"
}

# open_journal: state directory, log and lock. A dry run and verify do without.
open_journal() {
  if [ "$dry" = 1 ] || [ "$verb" = verify ]; then
    [ -n "$work" ] || work=$(mktemp -d "${TMPDIR:-/tmp}/carota.XXXXXX")
    return 0
  fi
  [ -z "$work" ] || rm -rf "$work"
  work=''
  (umask 022 && mkdir -p "${state%/*/*}")
  mkdir -p "$state"
  chmod 0700 "$state"
  log=$state/log
  lock
  mkdir -p "$state/$phase"
  rm -rf "$state/$phase/work"
  mkdir "$state/$phase/work"
  work=$state/$phase/work
  journal "begins, plan $digest"
}

# begun_since JOURNAL…: sets `later` to the phases after this one that were begun, as these journals say
begun_since() {
  later=''
  for journal; do
    for name in "$plan"/[0-9][0-9]-*; do
      name=${name##*/}
      [ "${name%%-*}" -gt "${phase%%-*}" ] || continue
      phase_state "$name" "$journal"
      case "$value $later " in no\ * | *" $name "*) ;; *) later=$later${later:+ }$name ;; esac
    done
  done
}

# phase_state PHASE [JOURNAL]: sets `value` to what a journal says of a phase
phase_state() {
  set -- "${2:-$state}/$1"
  value=no
  [ ! -f "$1/began" ] && [ ! -f "$1/progress" ] || value=begun
  [ ! -f "$1/done" ] || value="done"
  [ ! -f "$1/rolling-back" ] && [ ! -f "$1/restored" ] || value=rolling-back
}

# check_order: forth, the phase before is done here; forth and back, none after it is begun. Phases with
# nothing for this side need not be run.
check_order() {
  for later in "$plan"/[0-9][0-9]-*; do
    later=${later##*/}
    [ "${later%%-*}" -gt "${phase%%-*}" ] || continue
    phase_state "$later"
    [ "$value" = no ] || refuse 12 "phase $later has been applied here since ($value). Roll it back first: $plan/$later/rollback.sh"
  done
  if [ "$verb" = rollback ]; then
    check_other_side_back
    return
  fi
  before=$previous
  while [ "$before" != - ] && [ -n "$before" ]; do
    if has_work "$before"; then
      phase_state "$before"
      [ "$value" = "done" ] || refuse 12 "phase $before comes first and is not done here ($value). Run $plan/$before/apply.sh, then this one"
      break
    fi
    key "$before" previous
    before=$value
  done
  check_other_side
}

# The node's journal says nothing of the cluster, nor the cluster's of the nodes, unless both are kept on
# one machine. The nearest phase whose other half must be complete is asked for by its name.
check_other_side() {
  before=$phase
  case $side:$order in node:cluster*node | cluster:node*cluster) ;; *) before=$previous ;; esac
  while [ "$before" != - ] && [ -n "$before" ]; do
    if other_has_work "$before"; then
      [ "$side" = node ] && [ -f "$other_state/$before/done" ] && return
      if [ "$side" = node ]; then text="$plan/$before/apply.sh --cluster"; else text="$plan/$before/apply.sh on every node that it names"; fi
      acknowledged "$before" || refuse 21 "$text must have finished first, which cannot be seen from here. Check it, then add --ack $before"
      return
    fi
    key "$before" previous
    before=$value
  done
}

# The way back goes through the phases in reverse, and in each from the nodes to the cluster, because what
# controllers publish follows the nodes. So a node wants the cluster's halves of later phases undone; the
# cluster wants the nodes' halves of this one too. A half that comes after a half of this side that is not
# applied (check_order has looked) was never begun.
check_other_side_back() {
  for later in "$plan"/[0-9][0-9]-*; do
    later=${later##*/}
    [ "$later" != "$phase" ] || [ "$side" = cluster ] || continue
    [ "${later%%-*}" -ge "${phase%%-*}" ] || continue
    key "$later" order
    case $later:$side:$value in
      "$phase":* | *:node:cluster* | *:cluster:node*) ;;
      *) ! has_work "$later" || return 0 ;;
    esac
    # a gate in the cluster leaves nothing to undo
    if other_has_work "$later" && { [ "$side" = cluster ] || has_operations "$plan/$later/CLUSTER-BACK"; }; then
      other_is_undone
      return 0
    fi
    [ "$later" = "$phase" ] || ! has_work "$later" || return 0
  done
}

other_is_undone() {
  if [ "$side" = node ]; then text="$plan/$later/rollback.sh --cluster"; else text="$plan/$later/rollback.sh on every node, the phases after it first"; fi
  phase_state "$later" "$other_state"
  if [ "$value" != no ]; then
    refuse 12 "the other half of phase $later has been applied since ($value, says $other_state). Roll it back first: $text"
  elif [ "$side" = cluster ] || [ ! -d "$other_state/$later" ]; then
    # a journal that knows the phase, and not as applied, saw it undone; of the nodes it may be one of many
    acknowledged "undone-$later" ||
      refuse 21 "$later must be undone, or never have been begun, which cannot be seen from here: $text. Check it, then add --ack undone-$later"
  fi
}

has_node_work() { [ -s "$plan/$1/CHANGES" ]; }
has_cluster_work() { has_operations "$plan/$1/CLUSTER" || has_operations "$plan/$1/CLUSTER-BACK"; }
has_operations() {
  [ -f "$1" ] && [ -n "$(awk -F'\t' '$1 != "note" && $1 != "ack" { print; exit }' "$1")" ]
}

# acknowledged NAME: given now, or in an earlier run of this phase
acknowledged() {
  given "$1" && return
  [ -f "$state/$phase/acks" ] || return 1
  case $nl$(cat "$state/$phase/acks")$nl in *"$nl$1$nl"*) return 0 ;; *) return 1 ;; esac
}

given() {
  case $acks in *"$nl$1$nl"*) return 0 ;; *) return 1 ;; esac
}

# What people must have done that no script can see, by name, before the first write.
check_acks() {
  table=$dir/CLUSTER
  [ "$verb" = apply ] || table=$dir/CLUSTER-BACK
  [ -f "$table" ] || return 0
  while IFS=$tab read -r op name text <&3; do
    [ "$op" = ack ] || continue
    acknowledged "$name" || refuse 21 "to be acknowledged first: $text${nl}If that is so, add: --ack $name"
  done 3<"$table"
}

# keep_acks: for the resumed run, and for the record
keep_acks() {
  [ -z "$acks" ] || printf '%s\n' "$acks" | awk 'NF' >>"$state/$phase/acks"
  [ -z "$acks" ] || journal "acknowledged:$(printf '%s' "$acks" | tr '\n' ' ')"
  printf '%s\n' "$digest" >"$state/.digest"
  mv -f "$state/.digest" "$state/digest"
}

# begin_work SETTLED: guards and journal, and `value`, the state of the phase. Where that is SETTLED already
# there is nothing to guard.
begin_work() {
  phase_state "$phase"
  found=$value
  if [ "$found" != "$1" ]; then
    check_window
    check_order
    check_acks
  fi
  open_journal
  phase_state "$phase"
  [ "$found" != "$1" ] || [ "$value" = "$1" ] || die 16 "another run was at work on $phase just now; start again"
}

check_window() {
  now=$(date +%s)
  [ "$now" -lt "$not_before" ] || [ "$now" -gt "$not_after" ] || return 0
  text="the clock says $(date -u +%Y-%m-%dT%H:%M:%SZ), the plan is proven from $not_before to $not_after (seconds since 1970, now $now)"
  # The way back must not be shut by a clock: there --i-checked opens it.
  if [ "$verb" = rollback ]; then
    confirmed "$text" || refuse 17 "$text. Set the clock right; or add --i-checked if no certificate has expired"
  else
    refuse 17 "$text. Set the clock right, or compile the plan again for another window"
  fi
}

show_status() {
  for name in "$plan"/[0-9][0-9]-*; do
    name=${name##*/}
    phase_state "$name"
    text=$value
    if [ "$value" = "done" ]; then
      read -r text <"$state/$name/done"
    elif ! has_work "$name"; then
      text="nothing to do here"
    fi
    printf '%-32s %s\n' "$name" "$text"
  done
}

# main VERB PHASE_DIR OPTIONS…
main() {
  verb=$1 dir=$2
  shift 2
  trap finish EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 141' PIPE
  trap 'exit 143' TERM
  plan=${dir%/*} phase=${dir##*/}
  options "$@"
  if [ "$mode" = help ]; then
    usage
    return 0
  fi
  read_phase
  tools
  [ -z "$root" ] || root=$(CDPATH='' cd -- "$root" && pwd -P) || die 2 "--root: no such directory"
  root=${root%/}
  case $secrets in
    '') secrets=${plan%/*}/secrets ;;
    /*) ;;
    *) secrets=$(pwd)/$secrets ;;
  esac
  if [ "$side" = cluster ]; then
    state=${state:-${HOME:-/root}/.carota}/$id other_state=$root/var/lib/carota/$id
    # shellcheck source=/dev/null
    . "$plan/lib/cluster.sh"
  else
    state=$root/var/lib/carota/$id other_state=${HOME:-/root}/.carota/$id
    # shellcheck source=/dev/null
    . "$plan/lib/public-form.sh"
    # shellcheck source=/dev/null
    . "$plan/lib/process.sh"
    # shellcheck source=/dev/null
    . "$plan/lib/node.sh"
  fi
  check_place "$given_node"
  if [ "$mode" = status ]; then
    show_status
    return 0
  fi
  check_plan
  "run_$verb"
  exit "$code"
}
