# shellcheck shell=sh
# What a phase does on a node: looks at every file it will touch, makes every file ready, and only
# then writes, in the order of CHANGES. It knows files and their public form; it does not know what a
# certificate is, and reads private values only to put them back (lib/public-form.sh).
#
# The journal of a phase, $state/$phase/:
#   progress       number of the last action that is complete; a resumed run goes on behind it
#   backup/N       what action N found (N.absent: nothing); always taken before N writes
#   ran.N back.N   processes that ran before action N wrote, or put back, a static pod's manifest
#   made           directories that were made
#   done           time and plan digest; rolling-back, restored: how far a rollback is

# what main.sh has set
: "${dir?}" "${plan?}" "${phase?}" "${root?}" "${state?}" "${work?}" "${secrets?}" "${dry?}" "${digest=}" "${code?}" "${nl?}" "${tab?}" "${sum=}" "${value=}" "${timeout?}" "${checked?}"
# and process.sh
: "${processes?}" "${seen=}"

# actions PHASE: this node's lines of CHANGES as `n at step set op path mode owner pre post keys`;
# n counts them, `at` is the n of the first action on the same path.
actions() {
  [ -f "$plan/$1/CHANGES" ] && [ -f "$plan/$1/NODES" ] || return 0
  NODE=$node awk -F'\t' 'BEGIN { OFS = FS; node = ENVIRON["NODE"] }
    FILENAME == ARGV[1] { if ($2 == node) mine[$1] = 1; next }
    !($2 in mine) { next }
    { n++; if ($3 != "restart" && !($4 in at)) at[$4] = n; print n, ($3 == "restart" ? n : at[$4]), $0 }' \
    "$plan/$1/NODES" "$plan/$1/CHANGES"
}

has_work() { [ -n "$(actions "$1")" ]; }
other_has_work() { has_cluster_work "$1"; }

# check_place NAME: is this the node it is taken for?
check_place() {
  user=$(id -u)
  host=$(uname -n | tr '[:upper:]' '[:lower:]')
  node=${1:-$host}
  [ -n "$root" ] || [ "$user" = 0 ] || die 14 "this changes files of root's: run it as root, for example with sudo"
  name_ok "$node" || die 2 "not a node's name: $node"
  NODE=$node awk -F'\t' '$2 == ENVIRON["NODE"] { found = 1 } END { exit !found }' "$plan"/[0-9][0-9]-*/NODES 2>/dev/null ||
    die 11 "the plan has nothing for a node named $node. If Kubernetes knows this host by another name, give --node NAME"
  link=$root/var/lib/kubelet/pki/kubelet-client-current.pem
  if [ -L "$link" ] && command -v openssl >/dev/null 2>&1; then
    on_node "$link"
    subject=$(openssl x509 -noout -subject -nameopt multiline -in "$value" 2>/dev/null | sed -n 's/^ *commonName *= *system:node://p')
    [ -z "$subject" ] || [ "$subject" = "$node" ] ||
      die 11 "this host's kubelet is $subject, not $node. Run this on $node, or give --node $subject"
  elif [ -z "$root" ] && [ "$node" != "$host" ]; then
    confirmed "that the host $host is the node $node" ||
      die 11 "this host is $host, not $node, and its kubelet's certificate cannot be asked. Run this on $node, or add --i-checked"
  fi
}

# on_node LINK: sets `value` to where a symbolic link leads, under the root that is worked on
on_node() {
  value=$(readlink "$1")
  case $value in /*) value=$root$value ;; *) value=${1%/*}/$value ;; esac
}

# form FILE PATH OUT VALUES: the public form of a node's file in OUT, its private values in the
# directory VALUES, and `sum`
form() {
  [ ! -d "$4" ] || rm -rf "$4"
  mkdir "$4"
  public_form "$1" "$2" "$4" >"$3" || die 13 "$1 holds something whose private parts cannot be told apart, or cannot be read; nothing was changed"
  sha "$3"
}

check_path() { # a table is hostile until it has been looked at
  case $1/ in
    /*) ;;
    *) die 10 "not an absolute path in CHANGES: $1" ;;
  esac
  case $1/ in */../* | */./* | *//*) die 10 "not a plain path in CHANGES: $1" ;; esac
  [ -n "$root" ] && [ -d "$root${1%/*}" ] || return 0
  value=$(CDPATH='' cd -- "$root${1%/*}" && pwd -P)/
  case $value in "$root"/*) ;; *) die 13 "$1 lies outside of $root, behind a symbolic link; nothing was changed" ;; esac
}

# look N PATH: what is at PATH now, as a line `n sha256-of-public-form mode owner` in $work/now
look() {
  target=$root$2
  [ ! -d "${target%/*}/" ] || note_place "${target%/*}"
  if [ -L "$target" ]; then
    printf '%s\tsymlink\t-\t-\n' "$1"
  elif [ -f "$target" ]; then
    sha "$target"
    printf '%s\n' "$sum" >"$work/raw.$1"
    form "$target" "$2" "$work/form.$1" "$work/values.$1"
    printf '%s\t%s\t%s\n' "$1" "$sum" "$(stat -c "%a$tab%u:%g" "$target")"
  elif [ -e "$target" ]; then
    printf '%s\tother\t-\t-\n' "$1"
  else
    printf 'absent\n' >"$work/raw.$1"
    : >"$work/form.$1"
    printf '%s\tabsent\t-\t-\n' "$1"
  fi
}

# survey: decides for every action whether its work is `met` already, `due`, or something else is there.
survey() {
  actions "$phase" >"$work/actions"
  while IFS=$tab read -r n at _step set op path mode owner pre post keys <&3; do
    case $op in
      restart) continue ;;
      write | remove | check | forget) ;;
      *) die 10 "unknown action in CHANGES: $op" ;;
    esac
    [ "$op" != forget ] || continue
    check_path "$path"
    [ "$n" != "$at" ] || look "$n" "$path"
  done 3<"$work/actions" >"$work/now"
  progress=0
  [ ! -f "$state/$phase/progress" ] || read -r progress <"$state/$phase/progress"
  total=$(awk 'END { print NR }' "$work/actions")
  # Of the actions on a path that are not yet complete, the first must find its pre-image; or one of
  # them its own post-image, when a run was killed between the write and the note in the journal.
  PROGRESS=$progress USER_ID=$user awk -F'\t' '
    BEGIN { OFS = FS; progress = ENVIRON["PROGRESS"] + 0 }
    FILENAME == ARGV[1] { hash[$1] = $2; mode[$1] = $3; owner[$1] = $4; next }
    { line[++n] = $0; at[n] = $2; op[n] = $5; m[n] = $7; o[n] = $8; pre[n] = $9; post[n] = ($5 == "remove" ? "absent" : $5 == "check" ? $9 : $10) }
    # as text: one awk reads 0644 as an octal number, the others as a decimal one
    function octal(text) { sub(/^0+/, "", text); return text "" }
    function judge(i,   a, j, last, before) {
      if (i <= progress) return "met"
      if (op[i] == "restart" || op[i] == "forget") return "due"
      a = at[i]
      if (!(a in from)) {
        last = 0
        for (j = i; j <= n; j++) if (at[j] == a && op[j] != "restart" && op[j] != "forget") {
          if (j > i && pre[j] != before) return "broken"
          before = post[j]
          if (post[j] == hash[a]) last = j
        }
        if (hash[a] == pre[i]) from[a] = i
        else if (last) from[a] = last + 1
        else { from[a] = n + 1; return "drift" }
        if ((op[i] == "write" || op[i] == "check") && hash[a] != "absent" && (octal(mode[a]) != octal(m[i]) || (ENVIRON["USER_ID"] == 0 && owner[a] != o[i])))
          return "mode"
      }
      return i < from[a] ? "met" : "due"
    }
    END { for (i = 1; i <= n; i++) print judge(i), line[i] }' "$work/now" "$work/actions" >"$work/todo"
}

# each_action COMMAND FILE: runs COMMAND with one line's columns as variables
each_action() {
  while IFS=$tab read -r verdict n at _step set op path mode owner pre post keys <&4; do
    "$1"
  done 4<"$2"
}

# guard_drift: names everything that is not as the plan expects, before it stops
guard_drift() {
  drifted=''
  each_action tell_drift "$work/todo"
  [ -z "$drifted" ] || refuse 13 "this node is not as the plan expects (see above); nothing was changed.
Put the files back; or collect this node again (collect.sh node) and compile the plan again"
}

tell_drift() {
  case $verdict in
    broken) die 10 "CHANGES contradicts itself about $path" ;;
    mode) drifted=1 && say "$path: mode and owner are $(stat -c '%a %u:%g' "$root$path"), the plan expects $mode $owner" ;;
    drift) drifted=1 && tell_difference ;;
  esac
  # A kubelet that renewed its certificate reads another file now, with a new key.
  case $verdict:$path in
    met:*) return 0 ;;
    *:*/kubelet-client-[0-9]*.pem) link=$root${path%/*}/kubelet-client-current.pem ;;
    *:*/kubelet-server-[0-9]*.pem) link=$root${path%/*}/kubelet-server-current.pem ;;
    *) return 0 ;;
  esac
  [ -L "$link" ] || return 0
  on_node "$link"
  [ "$value" != "$root$path" ] || [ "$verdict" = drift ] || return 0
  drifted=1
  say "$path: the kubelet has renewed its certificate since the snapshot (${link##*/} leads to ${value##*/}).
Collect this node again and compile again. From phase 12 on the signer is the new CA, so a kubelet that
renews from then on has what this phase would give it: then waiting for its renewal is enough"
}

tell_difference() {
  target=$root$path
  if [ -L "$target" ]; then
    say "$path is a symbolic link now; the scripts write through none"
  elif [ ! -e "$target" ]; then
    say "$path is not there"
  elif [ ! -f "$target" ]; then
    say "$path is not a regular file"
  elif [ "$op:$pre" = check:absent ]; then
    say "$path is there already, and a later phase would make it: an earlier rotation was not cleaned up"
  elif [ "$pre" = absent ]; then
    say "$path is there already, with other contents than the phase would write; difference to those:"
    show_diff "$path" "$work/form.$at" "$dir/nodes/$set$path"
  else
    # The pre-image is in the plan if an earlier phase wrote it; else show what would be written.
    before=$(HASH=$pre awk 'substr($0, 1, 64) == ENVIRON["HASH"] { print substr($0, 67) }' "$plan/SHA256SUMS" |
      while read -r file; do [ ! -f "$plan/$file" ] || { printf '%s\n' "$file" && break; }; done)
    if [ -n "$before" ]; then
      say "$path differs from what the plan expects to find:"
      show_diff "$path" "$plan/$before" "$work/form.$at"
    else
      say "$path differs from what was collected; what this phase would change in it now:"
      [ "$op" != write ] || show_diff "$path" "$work/form.$at" "$dir/nodes/$set$path"
    fi
  fi
}

# flat FILE: JSON or flow style, a field a line, without quotes and spaces
flat() {
  tr -d '" \047' <"$1" | awk '{ gsub(/[,{}]/, "\n"); print }'
}

# Any file there that does not begin with a dot is started as a pod, a backup too; and of two files
# with one pod's name the later wins, so that it would undo this phase.
check_strays() {
  {
    printf '%s\n' /etc/kubernetes/manifests
    awk -F'\t' '$5 == "restart" && sub(/^static-pod:/, "", $6) && sub(/\/[^\/]*$/, "", $6) { print $6 }' "$work/actions"
  } | sort -u >"$work/manifest-dirs"
  while IFS= read -r where <&3; do
    [ -d "$root$where" ] || continue
    names=''
    for file in "$root$where"/*; do
      [ -f "$file" ] || [ -L "$file" ] || continue
      name=$(sed -n '/^metadata:/,/^[^ ]/s/^  name: *//p' "$file" | sed 1q)
      # JSON and flow style
      [ -n "$name" ] || name=$(flat "$file" | sed -n '/^metadata:/,$s/^name://p' | sed 1q)
      case $file in
        *.yaml | *.yml | *.json) ;;
        *)
          kind=$(flat "$file" | sed -n '/^kind:Pod$/p' | sed 1q)
          if [ -z "$name" ] || [ -z "$kind" ]; then
            refuse 18 "${file#"$root"} is no manifest, but the kubelet starts every file there as a pod. Move it to another directory"
            continue
          fi
          ;;
      esac
      case $nl$names in *"$nl$name$nl"*) [ -z "$name" ] ||
        refuse 18 "two files in $where are manifests of the pod $name (${file##*/} is one). Move the one that is not in use elsewhere" ;;
      esac
      names=$names$name$nl
    done
  done 3<"$work/manifest-dirs"
}

# stage: makes every file ready, private values in it, and proves each, before the first is written
stage() { each_action stage_one "$work/todo"; }
stage_one() {
  [ "$verdict:$op" = due:write ] || return 0
  image=$dir/nodes/$set$path new=$work/new.$n
  [ -f "$image" ] || die 10 "$image is missing; copy the plan again"
  case $keys in
    -) cp "$image" "$new" ;;
    new)
      [ -f "$secrets/nodes/$node/$phase$path" ] ||
        { refuse 19 "$secrets/nodes/$node/$phase$path is missing: bring this node's private files (carota bundle --node $node)" && return; }
      cp "$secrets/nodes/$node/$phase$path" "$new"
      ;;
    kept)
      fill_form "$image" "$work/values.$at" >"$new" 2>/dev/null || fill_form_from_all >"$new" 2>/dev/null ||
        { refuse 19 "$path: a private value that it keeps is not on this node, or has changed. Nothing was changed; collect this node again" && return; }
      ;;
    *) die 10 "unknown kind of key in CHANGES: $keys" ;;
  esac
  if [ "$keys" = - ]; then sha "$new"; else form "$new" "$path" "$work/check" "$work/scratch"; fi
  [ "$sum" = "$post" ] && return
  [ "$keys" = - ] && die 10 "$image is not what CHANGES says; copy the plan again"
  die 19 "$path: with its private values it is not what the plan says ($keys). Nothing was changed; bring the private files that belong to this plan"
}

# A key may move between the files of a phase: then its value comes from whichever has it.
fill_form_from_all() {
  rm -rf "$work/all"
  mkdir "$work/all"
  count=0
  for values in "$work"/values.*; do
    [ -s "$values/refs" ] || continue
    cat "$values/refs" >>"$work/all/refs"
    i=0
    while [ -f "$values/value.$((i += 1))" ]; do
      cp "$values/value.$i" "$work/all/value.$((count += 1))"
    done
  done
  fill_form "$image" "$work/all"
}

check_space() {
  kib=512
  each_action add_size "$work/todo"
  each_action has_space "$work/todo"
  [ "$dry" = 1 ] || space_at "$state"
}
add_size() {
  [ "$verdict:$op" = due:write ] || [ "$verdict:$op" = due:remove ] || return 0
  for file in "$work/new.$n" "$root$path"; do
    [ ! -f "$file" ] || kib=$((kib + $(stat -c %s "$file") / 1024 + 1))
  done
}
has_space() { [ "$verdict:$op" != due:write ] || space_at "$root${path%/*}"; }
space_at() {
  place=$1/
  while [ ! -d "$place" ]; do place=${place%/*}; done
  free=$(df -P -k "$place" | awk 'NR > 1 { for (i = NF; i > 1; i--) if ($i ~ /^[0-9]+%$/) { print $(i - 1); exit } }')
  [ -z "$free" ] || [ "$free" -ge "$kib" ] ||
    refuse 15 "$place has $free KiB free, $kib are needed for files and backups. Make room; nothing was changed"
}

# others_ready: one node at a time, where the phase says so. A pod is reported ready some time after its process has
# come to answer, and the API may be away for a moment: so it waits before it refuses. What cannot be seen --i-checked
# vouches for; what is seen not to be ready takes an acknowledgement of its own, each time anew. Where no program of the
# control plane is restarted there is no quorum to lose, and a worker has nothing to ask with.
others_ready() {
  key "$phase" serial
  [ "$value" = 1 ] && awk -F'\t' '$5 == "restart" && $6 ~ /^(static-pod|unit):/ { found = 1 } END { exit !found }' "$work/actions" || return 0
  admin=$root/etc/kubernetes/admin.conf
  began=$(date +%s) told_wait='' patience=15
  [ "$timeout" -gt "$patience" ] || patience=$timeout
  until look_at_others; do
    # whoever has looked already need not wait long for an answer that may never come, nor anybody for a pod that may not
    # exist: a kubelet that gives a changed pod of its own to the API anew is done in seconds
    if [ -n "$bad" ] || [ "$checked:$asked" = 0:answer ]; then patience=$timeout; fi
    if { [ -n "$bad" ] && given others-not-ready; } || [ "$dry" = 1 ] || [ -z "$bad$asked" ] || [ $(($(date +%s) - began)) -ge "$patience" ]; then
      accept_others
      return 0
    fi
    [ "$told_wait" = "$patience" ] || say "  waiting for the other nodes, at most $patience s:$bad$unseen"
    told_wait=$patience
    sleep 2
  done
}

# accept_others: as they are, or not at all
accept_others() {
  if [ -n "$bad" ]; then
    given others-not-ready || refuse 20 "another node is not ready; two at once may cost the quorum. Repair it, then start again:$bad
--i-checked does not change what is seen here. If this node shall go on all the same, and may take the quorum with it,
add: --ack others-not-ready"
    [ "$dry" = 1 ] || say "not ready, and gone on with --ack others-not-ready:$bad"
  fi
  [ -z "$unseen" ] || confirmed "whether the others are ready:$unseen" ||
    refuse 20 "this phase takes one node at a time, and from here it cannot be seen whether the others are ready:$unseen
See that they are, then add --i-checked"
}

# look_at_others: sets `bad` to what is seen not to be ready, `unseen` to what cannot be seen, and `asked`, if asking
# again may help, to what may come: an `answer` or a `pod`; status 0 when all is well
look_at_others() {
  bad='' unseen='' asked=''
  key "$phase" etcd-members
  case " $value" in *" $node="*) look_at_members "$value" ;; esac
  key "$phase" control-planes
  case " $value " in *" $node "*) look_at_api "$value" ;; esac
  [ -z "$bad$unseen" ]
}

# look_at_api 'NODE …': the other control planes, as the API knows them
look_at_api() {
  # shellcheck disable=SC2086 # to be split: names of nodes
  set -- $1
  if [ ! -f "$admin" ] || ! command -v kubectl >/dev/null 2>&1; then
    [ $# = 1 ] || unseen="$unseen$nl  control planes: that takes kubectl and ${admin#"$root"}"
    return 0
  fi
  if ! ask_others >"$work/others" 2>"$work/why"; then
    [ $# = 1 ] || { asked=answer && unseen="$unseen$nl  control planes: kubectl says $(sed '$!d' "$work/why" | visible)"; }
    return 0
  fi
  # the Node is ready as long as its kubelet is, whatever has become of the pods
  what=any
  ! awk -F'\t' '$5 == "restart" && $6 ~ /^static-pod:/ { found = 1 } END { exit !found }' "$work/actions" || what=pod
  bad=$bad$(awk -v me="$node" '$1 != me && $NF != "True" { printf "\n  %s %s %s", $1, $2, ($NF == $2 ? "unknown" : $NF) }' "$work/others")
  for other; do
    [ "$other" = "$node" ] || NAME=$other awk -v what="$what" '$1 == ENVIRON["NAME"] && (what == "any" || $2 != "node") { found = 1 } END { exit !found }' "$work/others" || {
      asked=${asked:-pod}
      unseen="$unseen$nl  $other: the API knows no pod of the control plane on it$([ "$what" = pod ] || echo ', and no Node of this name with its label')"
    }
  done
}

# look_at_members 'NODE=URL …': the same for etcd, of which the API does not know where it is no pod: each other member is
# asked for its health, with this member's own certificate
look_at_members() {
  pid=''
  for process in "$processes"/[0-9]*; do
    read -r comm 2>/dev/null <"$process/comm" || continue
    [ "$comm" != etcd ] || pid=${process##*/}
  done
  for member in $1; do
    case $member in "$node="*) continue ;; esac
    if [ -z "$pid" ] || [ "${member#*=}" = - ] || ! command -v curl >/dev/null 2>&1; then
      unseen="$unseen$nl  etcd on ${member%%=*}: that takes curl, an etcd that runs here and an https URL of the member"
    elif ! member_healthy "$pid" "${member#*=}"; then
      asked=answer bad="$bad$nl  ${member%%=*}: $seen"
    fi
  done
}

ask_others() {
  ready='{{range .status.conditions}}{{if eq .type "Ready"}}{{.status}}{{end}}{{end}}{{"\n"}}'
  for label in node-role.kubernetes.io/control-plane node-role.kubernetes.io/master; do
    kubectl --kubeconfig "$admin" --request-timeout 10s get nodes -l "$label" \
      -o go-template="{{range .items}}{{.metadata.name}} node $ready{{end}}" </dev/null || return 1
  done
  kubectl --kubeconfig "$admin" --request-timeout 10s get pods -n kube-system -l tier=control-plane \
    -o go-template="{{range .items}}{{.spec.nodeName}} {{.metadata.name}} $ready{{end}}" </dev/null
}

# put SOURCE TARGET MODE OWNER: into a new directory beside the target which only root can enter, onto the disk, then
# renamed. Readers see the old file or the new one. A folder may be somebody's own, as that of a kubeconfig in a home:
# what they put in the way meanwhile is not followed. MODE `-`: as SOURCE has it.
put() {
  folder=${2%/*}
  can_rename_exactly
  mkdir -m 0700 "$folder/.carota-new" ||
    { { [ -e "$folder/.carota-new" ] || [ -L "$folder/.carota-new" ]; } && meddled "${folder#"$root"}/.carota-new"; } || exit 1
  temporary=$folder/.carota-new
  # from here on by names that nobody else can move: those in the new directory, and `..`
  cd -P "$temporary" || exit 1
  is_ours || meddled "${folder#"$root"}"
  if [ "$3" = - ]; then
    cp -pP "$1" new
  else
    cp "$1" new
    [ "$user" != 0 ] || chown "$4" new
    chmod "$3" new
  fi
  # where SELinux is on, the label of the file that it replaces
  ! command -v chcon >/dev/null 2>&1 || [ ! -e "$2" ] || chcon --reference="$2" new 2>/dev/null || :
  [ -L new ] || flush new
  untouched "$2" || meddled "${2#"$root"}"
  mv "$exactly" new "../${2##*/}" || { printf 'carota: %s could not be replaced\n' "$2" >&2 && exit 1; }
  cd /
  rmdir "$temporary"
  temporary=''
  flush "$folder"
}

# is_ours: the working directory is the one that was made just now, where the survey found the folder
is_ours() {
  case $(stat -c %u:%a .) in "$user":*700) ;; *) return 1 ;; esac
  [ "$(pwd -P)" = "$(cat "$work/place.$at")/.carota-new" ]
}

# note_place FOLDER: where it is, behind symbolic links
note_place() {
  value=$(cd -P "${1:-/}" && pwd -P)
  printf '%s\n' "${value%/}" >"$work/place.$at"
}

# can_rename_exactly: sets `exactly` to the options by which mv replaces a name, even where somebody has made it the name
# of a directory. The mv of an old busybox has none.
can_rename_exactly() {
  [ -z "${exactly-}" ] || return 0
  exactly=-f
  : >"$work/mv.from"
  ! mv -T "$work/mv.from" "$work/mv.to" 2>/dev/null || exactly=-fT
}

# untouched TARGET: the file is still the one that was surveyed, or that this run wrote since
untouched() {
  read -r raw <"$work/raw.$at"
  if [ "$raw" = absent ]; then
    [ ! -e "$1" ] && [ ! -L "$1" ]
  else
    [ -f "$1" ] && [ ! -L "$1" ] && sha "$1" && [ "$sum" = "$raw" ]
  fi
}

note_raw() { # the file is now this one
  if [ -f "$1" ]; then sha "$1" && printf '%s\n' "$sum" >"$work/raw.$at"; else printf 'absent\n' >"$work/raw.$at"; fi
}

# backup: what the action is about to replace, whole before it is replaced
backup() {
  [ -d "$state/$phase/backup" ] || mkdir "$state/$phase/backup"
  copy=$state/$phase/backup/$n
  untouched "$root$path" || meddled "$path"
  if [ "$raw" = absent ]; then
    : >"$copy.absent"
    flush "$copy.absent"
  else
    cp -pP "$root$path" "$copy.part" || { untouched "$root$path" && exit 1; } || meddled "$path"
    sha "$copy.part"
    [ "$sum" = "$raw" ] || meddled "$path"
    flush "$copy.part"
    mv -f "$copy.part" "$copy"
  fi
  flush "${copy%/*}"
}

# meddled PATH: between the check and the write. The other's change is left as it is.
meddled() { die 13 "$1 was changed by someone else just now; their change was left as it is. Find out by whom, then start again"; }

# make_dirs DIR: noted before each is made, so that a rollback can take it away
make_dirs() {
  [ -d "$1/" ] && return
  make_dirs "${1%/*}"
  printf '%s\n' "${1#"$root"}" >>"$state/$phase/made"
  flush "$state/$phase/made"
  mkdir -m 0755 "$1"
}

# elsewhere: where else the phase has something to do, if it has nothing on nodes
elsewhere() {
  has_node_work "$phase" || ! has_cluster_work "$phase" || echo ". What it does in the cluster is run where kubectl works, with --cluster"
}

run_apply() {
  begin_work "done"
  [ "$value" != rolling-back ] || die 12 "a rollback of this phase was begun here. Finish it first: $dir/rollback.sh"
  if [ "$value" = "done" ]; then
    survey_done
    return
  fi
  survey
  if [ "$total" = 0 ]; then
    say "phase $phase has nothing to do on $node$(elsewhere)"
    return
  fi
  check_strays
  guard_drift
  stage
  check_space
  others_ready
  if [ "$dry" = 1 ]; then
    each_action tell "$work/todo"
    return
  fi
  keep_acks
  [ -f "$state/$phase/progress" ] || mark progress 0 # from here on a rollback has something to do
  each_action sweep "$work/todo"
  each_action perform "$work/todo"
  mark "done" "$(date -u +%Y-%m-%dT%H:%M:%SZ) plan $digest"
  say "phase $phase is done on $node. Next: $dir/verify.sh, and the gate in $dir/README.md"
}

# survey_done: a run after success changes nothing, but notices what has changed since
survey_done() {
  begun_since "$state"
  if [ -z "$later" ]; then
    differences=''
    survey
    each_action compare "$work/todo"
    [ -z "$differences" ] || refuse 13 "phase $phase was done here, and these files have changed since. Find out by whom; rollback.sh brings back the state before the phase"
  fi
  [ "$code" != 0 ] || say "phase $phase is already done on $node${later:+, and $later after it}; nothing to do"
}

# compare: one path against what the phase leaves there
compare() {
  case $op in write | remove | check) ;; *) return 0 ;; esac
  last=$(awk -F'\t' -v at="$at" '$2 == at && $5 != "restart" { n = $1 } END { print n }' "$work/actions")
  [ "$n" = "$last" ] && ! is_anothers || return 0
  found=$(awk -F'\t' -v at="$at" '$1 == at { print $2, $3 + 0, $4 }' "$work/now")
  wanted="$post ${mode#0} $owner"
  [ "$op" != check ] || wanted="$pre ${mode#0} $owner"
  [ "$op:$pre" != check:absent ] && [ "$op" != remove ] || wanted='absent 0 -'
  [ "$user" = 0 ] || { wanted=${wanted% *} && found=${found% *}; }
  [ "$found" != "$wanted" ] || return 0
  differences=1
  case $found in
    "$post "*) say "$path: mode and owner are ${found#* }, should be ${wanted#* }" ;;
    *)
      say "$path is not what phase $phase leaves there"
      [ "$op" != write ] || [ ! -f "$work/form.$at" ] || show_diff "$path" "$dir/nodes/$set$path" "$work/form.$at"
      ;;
  esac
}

# tell: one action of a dry run
tell() {
  [ "$verdict" != met ] || { say "$n of $total: $op $path: already done" && return; }
  case $op in
    write)
      say "$n of $total: would write $path, mode $mode, owner $owner"
      if [ "$at" = "$n" ] && [ -f "$work/form.$at" ]; then
        show_diff "$path" "$work/form.$at" "$dir/nodes/$set$path"
      else
        say "(a second change of the file; its post-image is $dir/nodes/$set$path)"
      fi
      ;;
    *) say "$n of $total: would $op $path" ;;
  esac
}

# sweep: what a killed run may have left beside a file
sweep() {
  case $op in write | remove) ;; *) return 0 ;; esac
  left=$root${path%/*}/.carota-new
  if [ -d "$left" ] && [ ! -L "$left" ]; then
    rm -f "$left/new"
    rmdir "$left"
  else
    rm -f "$left"
  fi
}

perform() {
  if [ "$verdict" = met ] && [ "$n" -gt "$progress" ]; then
    say "$n of $total: $op $path: was done already"
  elif [ "$verdict" = due ]; then
    case $op in
      write)
        make_dirs "$root${path%/*}"
        [ -f "$work/place.$at" ] || note_place "$root${path%/*}"
        backup
        remember_processes ran
        put "$work/new.$n" "$root$path" "$mode" "$owner"
        note_raw "$root$path"
        ;;
      remove)
        backup
        untouched "$root$path" || meddled "$path"
        rm -f "$root$path"
        note_raw "$root$path"
        ;;
      restart) restart ran ;;
      forget) forget ;;
      check) ;;
    esac
    say "$n of $total: $op $path: done"
  fi
  [ "$n" -le "$progress" ] || mark progress "$n"
}

# forget: old private keys go with the backups; from here on there is no way back
forget() {
  for name in "$state"/[0-9][0-9]-*; do
    : >"$name/forgotten"
    rm -rf "$name/backup"
    # of a run that was killed
    [ "$name/work" = "$work" ] || rm -rf "$name/work"
  done
}

run_verify() {
  open_journal
  phase_state "$phase"
  say "journal: phase $phase on $node: $value"
  begun_since "$state"
  for name in $later; do
    actions "$name"
  done >"$work/later"
  [ -z "$later" ] || say "begun since: $later. What those change is theirs to verify, and is not looked at"
  differences=''
  survey
  each_action compare "$work/todo"
  [ -z "$differences" ] || die 24 "files on $node are not as phase $phase leaves them (see above)"
  each_action verify_process "$work/todo"
  say "verified: the files and processes of $node are as phase $phase leaves them$(elsewhere)"
}

# is_anothers: a phase that was begun since changes, or restarts, the same
is_anothers() {
  [ -s "$work/later" ] && WHAT=$path awk -F'\t' '$6 == ENVIRON["WHAT"] { found = 1 } END { exit !found }' "$work/later"
}

verify_process() {
  [ "$op" = restart ] && ! is_anothers || return 0
  restart look
  say "$path runs as it should"
}

# The way back, step by step from the last: first the files, in reverse order, so that whatever starts again
# reads the old ones; then each file that starts a program, with its restart; then the kubelet.
backwards() {
  awk -F'\t' '
    { line[NR] = $0; step[NR] = $4; path[NR] = $7; restart[NR] = ($6 == "restart") }
    restart[NR] { sub(/^[a-z-]*:/, "", path[NR]); starts[$4, path[NR]] = 1 }
    !restart[NR] { write[$4, $7] = NR }
    # which turn a line has in its step; what starts a program is printed with the restart
    function turn(i) {
      if (restart[i]) return path[i] == "kubelet" ? 3 : 2
      return ((step[i], path[i]) in starts) ? 0 : 1
    }
    END {
      for (to = NR; to >= 1; to = from - 1) {
        for (from = to; from > 1 && step[from - 1] == step[to]; from--);
        for (k = 1; k <= 3; k++) for (i = to; i >= from; i--) if (turn(i) == k) {
          if (k == 2 && (step[i], path[i]) in write) print line[write[step[i], path[i]]]
          print line[i]
        }
      }
    }' "$work/todo"
}

run_rollback() {
  begin_work no
  if [ "$value" = no ]; then
    say "phase $phase is not applied on $node; nothing to do$(elsewhere)"
    return
  fi
  [ ! -e "$state/$phase/forgotten" ] || die 12 "the backups of phase $phase were destroyed by the clean-up; there is no way back"
  if [ ! -f "$state/$phase/restored" ]; then
    survey
    check_strays
    drifted=''
    each_action check_way_back "$work/todo"
    [ -z "$drifted" ] || refuse 13 "files that phase $phase wrote have changed since (see above); nothing was changed. Put them back as the phase left them, or restore them by hand from $state/$phase/backup"
    others_ready
    backwards >"$work/back"
    if [ "$dry" = 1 ]; then
      each_action tell_back "$work/back"
      return
    fi
    mark rolling-back "$(date -u +%Y-%m-%dT%H:%M:%SZ)"
    keep_acks
    each_action sweep "$work/todo"
    each_action put_back "$work/back"
    [ ! -f "$state/$phase/made" ] || sort -r "$state/$phase/made" | while IFS= read -r made; do
      rmdir "$root$made" 2>/dev/null || :
    done
    mv -f "$state/$phase/rolling-back" "$state/$phase/restored"
  elif [ "$dry" = 1 ]; then
    say "the files are back; only the journal would be cleared"
    return
  fi
  # The order matters: while `restored` is there, nothing but this clearing happens.
  rm -f "$state/$phase/done" "$state/$phase/progress"
  rm -rf "$state/$phase/backup"
  rm -f "$state/$phase/made" "$state/$phase/acks" "$state/$phase"/ran.* "$state/$phase"/back.*
  rm -f "$state/$phase/restored"
  say "phase $phase is rolled back on $node"
}

check_way_back() {
  case $op in write | remove) ;; *) return 0 ;; esac
  [ "$n" = "$at" ] || return 0
  # every image that the phase may have left at this path, and what was there before
  PATHHASH=$(awk -F'\t' -v at="$at" '$1 == at { print $2 }' "$work/now") awk -F'\t' -v at="$at" '
    $2 == at && $5 != "restart" && ($9 == ENVIRON["PATHHASH"] || ($5 == "remove" ? "absent" : $10) == ENVIRON["PATHHASH"]) { found = 1 }
    END { exit !found }' "$work/actions" && return
  drifted=1
  say "$path has changed since:"
  [ "$op" != write ] || [ ! -f "$work/form.$at" ] || show_diff "$path" "$dir/nodes/$set$path" "$work/form.$at"
}

touched_before() { # did the phase begin to write anything that this restart is for?
  for copy in "$state/$phase/backup"/*; do
    copy=${copy##*/}
    copy=${copy%%[!0-9]*}
    [ "${copy:-$n}" -ge "$n" ] || return 0
  done
  return 1
}

tell_back() {
  case $op in
    write | remove)
      if [ -f "$state/$phase/backup/$n" ] || [ -L "$state/$phase/backup/$n" ]; then
        say "would put back $path"
        form "$state/$phase/backup/$n" "$path" "$work/check" "$work/scratch"
        show_diff "$path" "$work/form.$at" "$work/check"
      elif [ -e "$state/$phase/backup/$n.absent" ]; then
        say "would remove $path"
      fi
      ;;
    restart) say "would restart $path" ;;
  esac
}

put_back() {
  copy=$state/$phase/backup/$n
  case $op in
    write | remove)
      if [ -f "$copy" ]; then
        sha "$copy"
        read -r raw <"$work/raw.$at"
        [ "$sum" != "$raw" ] || return 0
        remember_processes back
        put "$copy" "$root$path" - -
        note_raw "$root$path"
        say "put back $path"
      elif [ -e "$copy.absent" ] && [ -e "$root$path" ]; then
        untouched "$root$path" || meddled "$path"
        remember_processes back
        rm -f "$root$path"
        note_raw "$root$path"
        say "removed $path"
      fi
      ;;
    restart)
      # an action that the phase never came to needs no way back
      if [ "$n" -le $((progress + 1)) ] || touched_before; then restart back; fi
      ;;
  esac
}
