# shellcheck shell=sh
# What a phase does in the cluster: the lines of CLUSTER in order, or on the way back those of
# CLUSTER-BACK, with kubectl as it is configured here. It prints no object that may be a Secret, and
# asks of Secrets one public key at a time. Each operation can be done again, so the journal needs
# only their count.

# what main.sh has set
: "${verb?}" "${dir?}" "${plan?}" "${phase?}" "${state?}" "${other_state?}" "${work?}" "${dry?}" "${mode?}" "${digest=}" "${timeout?}" "${tab?}" "${nl?}" "${sum=}" "${value=}"

has_work() { has_cluster_work "$1"; }
other_has_work() { has_node_work "$1"; }

# check_place: is this the cluster that the plan was made for? Its kube-system namespace has a UID.
check_place() {
  command -v kubectl >/dev/null 2>&1 || die 22 "kubectl is not installed here; nothing was changed"
  [ "$mode" != status ] || return 0
  key "$phase" cluster-uid
  wanted=$value
  work=$(mktemp -d "${TMPDIR:-/tmp}/carota.XXXXXX") # until there is a journal
  # asked once: whom kubectl has not reached yet it may not reach at all. It complains of an aggregated API that is away
  # when it succeeds, too.
  found=$(kubectl --request-timeout=60s get namespace kube-system -o 'go-template={{.metadata.uid}}' 2>"$work/why" </dev/null) ||
    die 11 "kubectl does not reach a cluster with this configuration: $(sed '$!d' "$work/why" | visible)"
  [ -z "$wanted" ] || [ "$wanted" = "$found" ] ||
    die 11 "kubectl reaches another cluster: kube-system has the UID $found, the plan is for $wanted. Give kubectl the right KUBECONFIG"
  check_kubectl
}

# check_kubectl: Kubernetes promises that kubectl and cluster fit within one minor version; `patch --patch-file` came with 1.20
check_kubectl() {
  # the client's comes first
  minors=$(k version -o json 2>/dev/null | sed -n 's/^ *"minor": "\([0-9][0-9]*\).*/\1/p' | tr '\n' ' ')
  mine=${minors%% *} theirs=${minors#* }
  theirs=${theirs%% *}
  [ -z "$mine" ] || [ "$mine" -ge 20 ] || die 22 "kubectl here is 1.$mine, and patches no object by a file. Bring one of 1.20 or newer"
  [ -n "$theirs" ] || return 0
  case $((mine - theirs)) in -1 | 0 | 1) return 0 ;; esac
  text="that kubectl 1.$mine does what is asked of it on a cluster of 1.$theirs"
  confirmed "$text" || refuse 22 "kubectl here is 1.$mine, the cluster 1.$theirs: more than one minor version apart. Bring a kubectl of 1.$theirs; or add --i-checked"
}

k() { k_from /dev/null --request-timeout=60s "$@"; }

# k_from FILE ARGUMENTS…: kubectl, with FILE on its standard input. It prints an answer that is whole, or none: what a
# lost connection had let through is not put before what the next one brings.
k_from() {
  : >"$work/answer"
  k_retry "$@" 3>>"$work/answer" || return 1
  cat "$work/answer"
}

# k_retry FILE ARGUMENTS…: kubectl, with FILE on its standard input and its answer to descriptor 3. A connection that is
# lost on the way says nothing of the cluster, and everything that is asked here can be asked twice: so it is, up to five
# times more in half a minute. What kubectl says otherwise, of certificates that it does not believe for
# one, is final.
k_retry() {
  input=$1 pause=1
  shift
  until complaint=$(kubectl "$@" <"$input" 2>&1 >&3 3>&-); do
    if [ "$pause" -gt 16 ] || ! lost_connection "$complaint"; then
      printf '%s\n' "$complaint" >&2
      return 1
    fi
    : >"$work/answer"
    say "  kubectl lost its connection, trying again in $pause s: $(printf '%s\n' "$complaint" | sed '$!d' | visible)" >&2
    sleep "$pause"
    pause=$((pause * 2))
  done
  [ -z "$complaint" ] || printf '%s\n' "$complaint" >&2
}

# lost_connection TEXT: does kubectl say that it could not reach an API server, or that this one has not
# reached etcd?
lost_connection() {
  case $1 in
    *x509:* | *'tls: '*) return 1 ;;
    *'connection lost'* | *'connection reset'* | *'onnection refused'* | *' was refused - did you '* | *': EOF'* | *'unexpected EOF'* | *'broken pipe'* | *'use of closed network'*) ;;
    *'server closed idle'* | *'i/o timeout'* | *'handshake timeout'* | *'Client.Timeout exceeded'* | *'no route to host'* | *'network is unreachable'* | *'GOAWAY'*) ;;
    *'(ServiceUnavailable)'* | *'unable to handle the request'* | *'etcdserver: '*'timed out'* | *'etcdserver: leader changed'* | *'etcdserver: no leader'*) ;;
    *) return 1 ;;
  esac
}

# each_operation COMMAND: runs COMMAND with one line's columns as variables
each_operation() {
  i=0
  while IFS=$tab read -r op a b c d e <&4; do
    i=$((i + 1))
    "$1"
  done 4<"$list"
}

# begin: what every verb needs before its first operation
begin() {
  list=$dir/$1
  [ -f "$list" ] || die 2 "phase $phase has no $1: there is nothing to run in the cluster"
  total=$(awk 'END { print NR }' "$list")
  progress=0
  [ ! -f "$state/$phase/$2" ] || read -r progress <"$state/$phase/$2"
  each_operation tell_note
}

# Notes first, all of them: a PodDisruptionBudget that a workload's own strategy may breach, for one.
tell_note() { [ "$op" != note ] || say "note: $a"; }

run_apply() {
  begin_work "done"
  [ "$value" != rolling-back ] || die 12 "a rollback of this phase was begun here. Finish it first: $dir/rollback.sh --cluster"
  if [ "$value" = "done" ]; then
    say "the cluster's part of phase $phase is already done; nothing to do. verify.sh --cluster looks whether it still holds"
    return
  fi
  begin CLUSTER progress
  if [ "$dry" = 1 ]; then
    each_operation tell
    return
  fi
  keep_acks
  # pods that a roll does not reach are judged by this time
  [ -f "$state/$phase/began" ] || mark began "$(date -u +%Y-%m-%dT%H:%M:%SZ)"
  each_operation perform
  mark "done" "$(date -u +%Y-%m-%dT%H:%M:%SZ) plan $digest"
  say "the cluster's part of phase $phase is done. Next: $dir/verify.sh --cluster, and the gate in $dir/README.md"
}

# The inverse objects were compiled with the plan; nothing is read back from the cluster.
run_rollback() {
  begin_work no
  if [ "$value" = no ]; then
    say "the cluster's part of phase $phase is not applied from here; nothing to do"
    return
  fi
  begin CLUSTER-BACK back
  if [ "$dry" = 1 ]; then
    each_operation tell
    return
  fi
  mark rolling-back "$(date -u +%Y-%m-%dT%H:%M:%SZ)"
  keep_acks
  rm -f "$state/$phase/done" "$state/$phase/progress"
  each_operation perform
  rm -f "$state/$phase/began" "$state/$phase/back-began" "$state/$phase/acks" "$state/$phase/back"
  rm -f "$state/$phase/rolling-back"
  say "the cluster's part of phase $phase is rolled back"
}

run_verify() {
  open_journal
  # what controllers publish follows the nodes, so that the nodes' journal counts too where it is here
  begun_since "$state" "$other_state"
  phase_state "$phase"
  if [ -n "$later" ] && [ "$value" = "done" ]; then
    say "begun since: $later. What the cluster holds now is theirs to verify, and is not looked at"
    return
  fi
  begin CLUSTER progress
  failed=''
  each_operation verify_one
  [ -z "$failed" ] || die 24 "the cluster is not as phase $phase leaves it (see above)"
  say "verified: the cluster is as phase $phase leaves it"
}

perform() {
  [ "$i" -gt "$progress" ] || return 0
  case $op in
    note | ack) ;;
    patch)
      say "$i of $total: patch $a"
      k_write >"$work/out" 2>&1 ||
        { visible <"$work/out" >&2 && die 1 "kubectl could not patch $a (see above); start again when the reason is gone"; }
      visible <"$work/out"
      ;;
    rollout)
      say "$i of $total: wait for the rollout of $a $b/$c"
      k_rollout "$timeout" ||
        die 23 "the rollout of $a $b/$c did not end within $timeout s. What to look at: kubectl -n $b describe $a/$c, and its pods and PodDisruptionBudgets. When it has ended, start again"
      ;;
    prune-auth)
      say "$i of $total: set $a of kube-system/extension-apiserver-authentication"
      prune
      # An API server that still has the old CA puts it back within a minute.
      sleep 65
      holds_prune || die 23 "$a of kube-system/extension-apiserver-authentication was changed back: an API server still has the old CA in its flags' files. Finish this phase on every control plane, then start again"
      ;;
    wait-ca | wait-ca-all | gate-pods | probe)
      # who started before this did not find there yet what the way back has put back
      [ "$op:$verb" != gate-pods:rollback ] || [ -f "$state/$phase/back-began" ] || mark back-began "$(date -u +%Y-%m-%dT%H:%M:%SZ)"
      say "$i of $total: wait for $a $b${c:+/$c}"
      wait_for
      ;;
    gate-nodes)
      say "$i of $total: compare the Node objects with the plan's"
      look_for || die 13 "these nodes are not in the plan, and would be locked out at its end:$nl$(sed 's/^/  /' "$work/laggards")
Collect each (collect.sh node), declare it in cluster.toml, and compile again"
      ;;
    *) die 10 "unknown operation in $list: $op" ;;
  esac
  if [ "$verb" = rollback ]; then mark back "$i"; else mark progress "$i"; fi
}

# As it goes on: it may take minutes.
k_rollout() { k_retry /dev/null -n "$b" rollout status "$a/$c" --timeout="$1s" 2>&1 3>&1 | visible && k_rolled; }
# The status of a pipe is its last command's: ask once more whether it has ended.
k_rolled() { k_from /dev/null -n "$b" rollout status "$a/$c" --timeout=1s >/dev/null 2>&1; }

# wait_for: until an operation's check leaves no laggard; tells how many are left when that changes
wait_for() {
  end=$(($(date +%s) + timeout))
  before=''
  until look_for; do
    count="$((all - $(awk 'END { print NR }' "$work/laggards"))) of $all"
    [ "$count" = "$before" ] || say "  $count"
    before=$count
    [ "$(date +%s)" -lt "$end" ] || die 23 "after $timeout s $count; these are behind:$nl$(sed 's/^/  /' "$work/laggards")$nl$(remedy)"
    sleep 2
  done
  say "  $all of $all"
}

remedy() {
  case $op in
    probe) echo "The server still serves a certificate of the old CA, cannot be reached from here, or was not given its new one: see phase 14 on that node" ;;
    gate-pods) echo "Nothing restarts them by itself. Restart each in the way its owner expects (delete the pod, run the Job anew), then start again" ;;
    *) echo "Their owner is the controller manager: see that its leader runs with the new --root-ca-file, and its log. Then start again" ;;
  esac
}

# look_for: sets `all`, fills $work/laggards; status 0 when there are none
look_for() {
  all=1
  : >"$work/laggards"
  case $op in
    wait-ca)
      k -n "$b" get "$a/$c" -o "go-template=$(value_of "$a" "$d")" >"$work/values" 2>/dev/null || : >"$work/values"
      hash_values <"$work/values" | HASH=$e awk '$2 == ENVIRON["HASH"] { found = 1 } END { exit !found }' || printf '%s\n' "$a $b/$c" >"$work/laggards"
      ;;
    wait-ca-all)
      # columns here: kind, name, key, hash
      k get namespaces -o 'go-template={{range .items}}{{if eq .status.phase "Active"}}{{.metadata.name}}{{"\n"}}{{end}}{{end}}' >"$work/namespaces" || die 1 "kubectl cannot list the namespaces"
      k get "$a" -A --field-selector "metadata.name=$b" -o "go-template={{range .items}}$(value_of "$a" "$c"){{end}}" >"$work/values" || die 1 "kubectl cannot list $a"
      hash_values <"$work/values" >"$work/hashes"
      HASH=$d awk 'FILENAME == ARGV[1] { if ($2 == ENVIRON["HASH"]) good[$1] = 1; next } !($1 in good)' "$work/hashes" "$work/namespaces" >"$work/laggards"
      all=$(awk 'END { print NR }' "$work/namespaces")
      ;;
    gate-pods) pods_since ;;
    gate-nodes)
      k get nodes -o 'go-template={{range .items}}{{.metadata.name}}{{"\n"}}{{end}}' >"$work/nodes" || die 1 "kubectl cannot list the nodes"
      awk 'FILENAME == ARGV[1] { known[$1] = 1; next } !($1 in known)' "$dir/$a" "$work/nodes" >"$work/laggards"
      all=$(awk 'END { print NR }' "$work/nodes")
      ;;
    probe) probe || printf '%s\n' "$a: $(sed -n 's/^ *verif[a-z]* error[: ]*/not verified: /Ip' "$work/probe" | sed 1q | visible)" >"$work/laggards" ;;
  esac
  [ ! -s "$work/laggards" ]
}

# value_of KIND KEY: a template that prints `namespace hex-of-value`; hexadecimal keeps a value on a line
value_of() {
  case $2 in '' | *[!A-Za-z0-9._-]*) die 10 "not a key: $2" ;; esac
  case $1 in
    secret | secrets)
      case $2 in *.crt) ;; *) die 10 "only certificates are read from Secrets, not $2" ;; esac
      decode=' | base64decode'
      ;;
    *) decode='' ;;
  esac
  printf '{{.metadata.namespace}} {{with .data}}{{with index . "%s"}}{{. %s | printf "%%x"}}{{end}}{{end}}{{"\\n"}}' "$2" "$decode"
}

# hash_values: from `namespace hex` lines to `namespace sha256`; each different value is hashed once
hash_values() {
  awk 'NF == 2' >"$work/hex"
  awk '!seen[$2]++ { print $2 }' "$work/hex" >"$work/distinct"
  while read -r hex; do
    sum=$(printf '%s\n' "$hex" | awk 'BEGIN { for (i = 0; i < 256; i++) byte[sprintf("%02x", i)] = i }
      { for (i = 1; i < length($0); i += 2) printf "%c", byte[substr($0, i, 2)] }' | sha256sum)
    printf '%s %s\n' "$hex" "${sum%% *}"
  done <"$work/distinct" >"$work/sums"
  awk 'FILENAME == ARGV[1] { sum[$1] = $2; next } { print $1, sum[$2] }' "$work/sums" "$work/hex"
}

# probe: the server at address `a` serves, for the name `b`, a chain that verifies against the file `c`
# alone. OpenSSL takes an address for a name only by another option.
probe() {
  command -v openssl >/dev/null 2>&1 || die 22 "openssl is not installed here, which looks at served certificates"
  case $b in
    *:*) set -- -verify_ip "$b" ;;
    *[!0-9.]*) set -- -servername "$b" -verify_hostname "$b" ;;
    *) set -- -verify_ip "$b" ;;
  esac
  openssl s_client -connect "$a" "$@" -no-CAfile -no-CApath -CAfile "$dir/$c" -verify_return_error -brief </dev/null >"$work/probe" 2>&1
}

# pods_since: pods of `a` named b/c that started before the phase began, or before its way back came to them
pods_since() {
  began=$(date -u +%Y-%m-%dT%H:%M:%SZ)
  mark=began
  [ "$verb" != rollback ] || mark=back-began
  [ ! -f "$state/$phase/$mark" ] || read -r began <"$state/$phase/$mark"
  k -n "$b" get pods -o 'go-template={{range .items}}{{.metadata.name}} {{.status.phase}} {{.status.startTime}}{{range .metadata.ownerReferences}} {{.kind}}/{{.name}}{{end}}{{"\n"}}{{end}}' >"$work/pods" || die 1 "kubectl cannot list the pods of $b"
  KIND=$a NAME=$c BEGAN=$began LAGGARDS=$work/laggards awk '
    BEGIN { laggards = ENVIRON["LAGGARDS"]; kind = tolower(ENVIRON["KIND"]); sub(/s$/, "", kind); name = ENVIRON["NAME"] }
    function mine(   i, owner) {
      if (kind == "pod") return $1 == name
      for (i = 4; i <= NF; i++) {
        owner = $i; sub(/^[^\/]*\//, "", owner)
        if (owner == name) return 1
        # of a Deployment the ReplicaSet owns the pods, of a CronJob the Job: name-suffix
        if (index(owner, name "-") == 1 && substr(owner, length(name) + 2) !~ /-/ && (kind == "deployment" || kind == "cronjob")) return 1
      }
      return 0
    }
    $2 == "Succeeded" || $2 == "Failed" || !mine() { next }
    { all++; if ($3 < ENVIRON["BEGAN"]) print $1 " (started " $3 ")" >laggards }
    END { print all + 0 }' "$work/pods" >"$work/all"
  read -r all <"$work/all"
}

# prune: the one key, by a merge patch; its value is public
prune() {
  KEY=$a awk 'BEGIN { printf "{\"data\":{\"%s\":\"", ENVIRON["KEY"] }
    { gsub(/\\/, "\\\\"); gsub(/"/, "\\\""); gsub(/\t/, "\\t"); gsub(/\r/, "\\r"); printf "%s\\n", $0 }
    END { print "\"}}" }' "$dir/$b" >"$work/patch"
  k -n kube-system patch configmap extension-apiserver-authentication --type merge --patch-file "$work/patch" >/dev/null ||
    die 1 "kubectl cannot patch kube-system/extension-apiserver-authentication"
  holds_prune || die 1 "kube-system/extension-apiserver-authentication does not hold what was just written to it; start again"
}

holds_prune() {
  sha "$dir/$b"
  wanted=$sum
  k -n kube-system get configmap extension-apiserver-authentication -o "go-template=$(value_of configmap "$a")" >"$work/values" ||
    die 1 "kubectl cannot read kube-system/extension-apiserver-authentication"
  [ "$(hash_values <"$work/values")" = "kube-system $wanted" ]
}

# is_secret FILE: then nothing of it is shown
is_secret() { awk '/^[- ]*kind: *"?Secret/ { found = 1 } END { exit !found }' "$1"; }

# k_write ARGUMENTS…: the fields of an object's file into the object, and nothing else of it. A patch, since nothing may be
# taken away: of an object that was made by `kubectl apply`, `kubectl apply --server-side` first gives all fields to the
# new manager, and then removes those that its file lacks. By standard input: kubectl splits the argument of -f at commas.
# The patch by a file: an argument is no longer than 128 KiB.
k_write() { k_from "$dir/$a" patch -f - --type "$b" --patch-file "$dir/$a" "$@"; }

# k_differs: 0 when the object lacks fields of its file, with what would change; 1 when it has them all
k_differs() {
  # what an empty patch would leave, for the same form
  k_from "$dir/$a" patch -f - --type "$b" -p '{}' --dry-run=server -o yaml >"$work/there" && k_write --dry-run=server -o yaml >"$work/then" || return 0
  without_marks <"$work/there" >"$work/there.plain"
  without_marks <"$work/then" >"$work/then.plain"
  sha "$work/there.plain"
  before=$sum
  sha "$work/then.plain"
  [ "$before" != "$sum" ] || return 1
  show_diff "/$a" "$work/there.plain" "$work/then.plain"
}

# without_marks: an object without what every write changes, and who wrote what
without_marks() {
  awk '/^  managedFields:/ { skip = 1; next } skip && /^( ? ?[^ -])/ { skip = 0 }
    !skip && !/^  (resourceVersion|generation): /'
}

tell() {
  case $op in
    note) return 0 ;;
    ack) say "$i of $total: needs --ack $a" ;;
    patch)
      say "$i of $total: would patch $a"
      if is_secret "$dir/$a"; then
        say "  (Secrets: not shown; the file holds only what is public)"
      else
        k_differs >"$work/out" 2>&1 || echo '  (nothing would change)' >"$work/out"
        visible <"$work/out"
      fi
      ;;
    *) say "$i of $total: would $op $a $b $c" ;;
  esac
}

verify_one() {
  case $op in
    patch)
      # Secrets are shown by nobody; their public part has a wait-ca.
      if ! is_secret "$dir/$a" && k_differs >"$work/out" 2>&1; then
        failed=1
        say "$a: the cluster differs"
        visible <"$work/out"
      fi
      ;;
    rollout) k_rolled || { failed=1 && say "$a $b/$c: its rollout has not ended"; } ;;
    prune-auth) holds_prune || { failed=1 && say "$a of kube-system/extension-apiserver-authentication is not as written"; } ;;
    wait-ca | wait-ca-all | gate-pods | gate-nodes | probe)
      look_for || {
        failed=1
        say "$op $a: $(($(awk 'END { print NR }' "$work/laggards"))) of $all are behind:"
        sed 's/^/  /' "$work/laggards"
      }
      ;;
  esac
}
