# shellcheck shell=sh
# Restarts, and what is running afterwards. A restart is confirmed, not assumed: the kubelet refuses
# some manifests without a word, and the old pod runs on. What is looked at: the command line of the
# process against the manifest's, that it is not a process from before the write, its health endpoint,
# and the certificate that it serves. It knows nothing of plans or journals beyond `$work` and `ran.N`.
#
# With --root there is nothing to restart, and nothing is confirmed. For tests only, and only with
# --root: CAROTA_TEST_RESTART names a program that stands in for systemctl, and is called with
# `static-pod MANIFEST` for the kubelet's part; if DIR/proc is there, it is read as /proc would be.

# what main.sh has set, and an action's columns
: "${plan?}" "${phase?}" "${root?}" "${state?}" "${work?}" "${nl?}" "${tab?}" "${timeout?}" "${started=}" "${value=}" "${sum=}" "${n=}" "${path=}" "${post=}"

# live: is there a running system to ask?
systemctl=systemctl live=1 processes=/proc
if [ -n "$root" ]; then
  systemctl=${CAROTA_TEST_RESTART:-:} live=0
  [ "$systemctl" = : ] || [ ! -d "$root/proc" ] || processes=$root/proc live=1
fi

# pod MANIFEST, in columns: `N arg TEXT` for the command line of its N-th container, `N exact` where the manifest
# names the program, `N health SCHEME HOST PORT PATH`; from PODS, where it is not spelled line by line, also
# `N serves FILE` and `N clients ADDRESS`.
pod() {
  [ ! -f "$plan/$phase/PODS" ] || ! pod_of_table "$1" || return 0
  awk '
    function scalar(s) {
      sub(/^[ \t]+/, "", s); sub(/[ \t\r]+$/, "", s)
      if (s ~ /^\047/) { s = substr(s, 2); sub(/\047[ \t]*(#.*)?$/, "", s); gsub(/\047\047/, "\047", s) }
      else if (s ~ /^"/) { s = substr(s, 2); sub(/"[ \t]*(#.*)?$/, "", s); gsub(/\\"/, "\"", s); gsub(/\\\\/, "\\", s) }
      else sub(/[ \t]+#.*$/, "", s)
      return s
    }
    function value(s) { sub(/^[A-Za-z]+:/, "", s); return scalar(s) }
    function items(list,   k, m) {
      m = count[c, list]
      for (k = 1; k <= m; k++) print c, "arg", item[c, list, k]
    }
    /^[ ]*(#|$)/ { next }
    {
      match($0, /^ */); i = RLENGTH; text = substr($0, i + 1)
      if (text ~ /^containers:/) { base = i; inside = 1; dash = -1; next }
      if (!inside) next
      if (i < base || (i == base && text !~ /^- /)) { inside = 0; next }
      if (dash < 0) dash = i
      if (i == dash && text ~ /^- /) {
        containers++; key = -1
        match(text, /^- */); i += RLENGTH; text = substr(text, RLENGTH + 1); key = i; list = ""
      }
      if (i == key && text !~ /^- /) {
        list = probe = ""
        if (text ~ /^(command|args|ports):/) { list = text; sub(/:.*/, "", list) }
        if (text ~ /^(readiness|liveness|startup)Probe:/) { probe = text; sub(/Probe:.*/, "", probe) }
        next
      }
      if ((list == "command" || list == "args") && text ~ /^- /) item[containers, list, ++count[containers, list]] = scalar(substr(text, 3))
      if (list == "ports") {
        if (text ~ /^- /) { portname = portnumber = ""; text = substr(text, 3) }
        if (text ~ /^name:/) portname = value(text)
        if (text ~ /^containerPort:/) portnumber = value(text)
        if (portname != "" && portnumber != "") port[containers, portname] = portnumber
      }
      if (probe != "" && match(text, /^(scheme|host|port|path):/)) at[containers, probe, substr(text, 1, RLENGTH - 1)] = value(text)
    }
    END {
      OFS = "\t"
      for (c = 1; c <= containers; c++) {
        if (count[c, "command"]) print c, "exact"
        items("command"); items("args")
        probe = (c, "readiness", "port") in at ? "readiness" : (c, "liveness", "port") in at ? "liveness" : "startup"
        if (!((c, probe, "port") in at)) continue
        p = at[c, probe, "port"]
        if ((c, p) in port) p = port[c, p]
        host = at[c, probe, "host"]; scheme = tolower(at[c, probe, "scheme"]); path = at[c, probe, "path"]
        # etcd: `/health` asks through consensus, so that it answers only when the member has caught up
        if (item[c, "command", 1] ~ /(^|\/)etcd$/) path = "/health"
        print c, "health", (scheme == "" ? "http" : scheme), (host == "" ? "127.0.0.1" : host), p, (path == "" ? "/" : path)
      }
    }' "$1"
}

# pod_of_table MANIFEST: in a shell of its own, since it sets what others use
pod_of_table() (
  form "$1" "${1#"$root"}" "$work/pod-form" "$work/pod-values"
  SUM=$sum awk -F'\t' '$1 == ENVIRON["SUM"] { sub(/^[^\t]*\t/, ""); print; found = 1 } END { exit !found }' "$plan/$phase/PODS"
)

# scan MANIFEST: for each container `N PID:START same|other`, of processes with its program's name.
# `same`: the command line is the manifest's, item by item.
scan() {
  pod "$1" >"$work/pod"
  c='' argv='' exact=''
  while IFS=$tab read -r container what text <&5; do
    [ "$container" = "$c" ] || scan_container
    c=$container
    case $what in
      exact) exact=1 ;;
      arg) argv=$argv${argv:+"$nl"}$text ;;
    esac
  done 5<"$work/pod"
  scan_container
}

scan_container() {
  program=''
  # the kernel keeps fifteen bytes of a name
  [ -z "$exact" ] || program=${argv%%"$nl"*} program=$(printf '%.15s' "${program##*/}")
  [ -n "$argv" ] || return 0
  for process in "$processes"/[0-9]*; do
    read -r comm 2>/dev/null <"$process/comm" || continue
    [ -z "$program" ] || [ "$comm" = "$program" ] || continue
    running=$(tr '\000' '\n' 2>/dev/null <"$process/cmdline") || continue
    started_at "${process##*/}" "$processes" || continue
    what=other
    case $program$nl$running in "$program$nl$argv") what=same ;; "$nl"*"$nl$argv") what=same ;; esac
    [ "$program$what" = other ] || printf '%s\t%s:%s\t%s\n' "$c" "${process##*/}" "$started" "$what"
  done
  argv='' exact=''
}

# remember_processes ran|back: before a manifest is changed, what runs by it. The confirmation wants
# processes that are not among these. A run that resumes after the write finds the list in the journal.
remember_processes() {
  [ "$live" = 1 ] && [ -f "$root$path" ] && is_manifest "$path" || return 0
  scan "$root$path" >"$work/scan"
  # a pod that missed an earlier restart still has other flags
  awk '$3 == "same" { same[$1] = 1 } { line[NR] = $0; c[NR] = $1; what[NR] = $3 }
    END { for (i = 1; i <= NR; i++) if (what[i] == "same" || !(c[i] in same)) print line[i] }' "$work/scan" >"$state/$phase/.$1"
  flush "$state/$phase/.$1"
  mv -f "$state/$phase/.$1" "$state/$phase/$1.$n"
}

is_manifest() { MANIFEST=static-pod:$1 awk -F'\t' '$5 == "restart" && $6 == ENVIRON["MANIFEST"] { found = 1 } END { exit !found }' "$work/actions"; }

# writer_of N: sets `writer` to the last action before N that writes N's manifest
writer_of() {
  writer=$(awk -F'\t' -v n="$1" '$1 == n { sub(/^static-pod:/, "", $6); for (i = 1; i < n; i++) if (path[i] == $6) last = i; print last }
    { path[$1] = $6 }' "$work/actions")
}

# restart ran|back|look: restarts $path and waits until what runs is what should; `look` restarts nothing
restart() {
  if [ "$1:$path" = "ran:static-pod:${path#static-pod:}" ] && [ "$post" != - ]; then
    form "$root${path#static-pod:}" "${path#static-pod:}" "$work/check" "$work/scratch"
    [ "$sum" = "$post" ] || die 13 "${path#static-pod:} is not the manifest that should run; someone has changed it just now"
  fi
  case $path in
    static-pod:*)
      [ "$1" = look ] || [ -z "$root" ] || "$systemctl" static-pod "$root${path#static-pod:}" || die 1 "the stand-in for the kubelet failed"
      [ "$live" = 0 ] || confirm_pod "$1" "$root${path#static-pod:}"
      ;;
    kubelet) restart_unit "$1" kubelet ;;
    unit:*) restart_unit "$1" "${path#unit:}" ;;
    *) die 10 "CHANGES asks for the restart of something unknown: $path" ;;
  esac
  [ "$live" = 1 ] || [ "$1" = look ] || say "  restarts are not confirmed under --root"
}

# confirm_pod ran|back|look MANIFEST
confirm_pod() {
  [ -f "$2" ] || return 0 # on the way back, a pod that the phase had added
  old=/dev/null known=/dev/null since=0
  if [ "$1" != look ]; then
    writer_of "$n"
    [ -n "$writer" ] || die 10 "CHANGES asks for a restart of ${2#"$root"} without a change of it, which the kubelet would not make"
    if [ -f "$state/$phase/$1.$writer" ]; then
      old=$state/$phase/$1.$writer
    elif [ "$1:$processes" = ran:/proc ]; then
      # The file was as planned before this run came to it: then the process must be younger than the file.
      since=$((($(stat -c %Z "$2") - $(awk '$1 == "btime" { print $2 }' /proc/stat) - 2) * 100))
    fi
    # On the way back a process from before the phase is right: the kubelet may never have seen the change.
    [ "$1" = ran ] || [ ! -f "$state/$phase/ran.$writer" ] || known=$state/$phase/ran.$writer
  fi
  say "  waiting for ${2##*/}, at most $timeout s"
  end=$(($(date +%s) + timeout))
  until pod_as_planned "$2"; do
    [ "$(date +%s)" -lt "$end" ] || die 23 "${2#"$root"} was written, but after $timeout s $seen.
The files stay as they are; what to look at: journalctl -u kubelet (does it refuse the manifest?),
crictl ps -a and crictl logs (does it end again?), tr '\\0' '\\n' </proc/PID/cmdline (its flags). When it
runs, start again: the rest follows. Or go back: rollback.sh"
    sleep 1
  done
}

# pod_as_planned MANIFEST: sets `seen` to what is wrong
pod_as_planned() {
  scan "$1" >"$work/scan"
  seen=$(SINCE=$since awk '
    FILENAME == ARGV[1] { old[$2] = 1; next }
    FILENAME == ARGV[2] { known[$2] = 1; next }
    FILENAME == ARGV[3] { if ($2 == "exact") want[$1] = 1; if ($2 == "arg" && !($1 in name)) name[$1] = $3; next }
    { split($2, id, ":"); if (($2 in old && !($2 in known)) || id[2] < ENVIRON["SINCE"] + 0) still[$1] = $2; else if ($3 == "same") good[$1] = 1; else other[$1] = $2 }
    END { for (c in want) {
      if (c in still) print "the process from before the write still runs: " name[c] ", process " still[c]
      else if (!(c in good) && c in other) print "only a process with other flags runs: " name[c] ", process " other[c]
      else if (!(c in good)) print "no process runs with the flags of the manifest: " name[c] } }' \
    "$old" "$known" "$work/pod" "$work/scan" | sed 's/:[0-9]*$//')
  [ -z "$seen" ] || return 1
  while IFS=$tab read -r c what scheme host port url <&3; do
    [ "$what" = health ] || continue
    healthy "$scheme://$host:$port$url" || return 1
    serves_its_file "$host" "$port" || return 1
  done 3<"$work/pod"
}

# healthy URL: 401 and 403 are answers too, of a server that knows no anonymous user
healthy() {
  if command -v curl >/dev/null 2>&1; then
    status=$(curl_of_this_host -k -o /dev/null -w '%{http_code}' "$1" </dev/null) || :
  elif command -v wget >/dev/null 2>&1; then
    status=$(wget_of_this_host "$1") || :
  else
    [ -n "${unasked-}" ] || say "  neither curl nor wget is here: the health endpoint is not asked"
    unasked=1
    return 0
  fi
  case $status in 200 | 401 | 403) return 0 ;; esac
  seen="$1 answers ${status:-nothing}"
  return 1
}

# Servers of this cluster are asked themselves, whatever proxy the environment or a file of root's names.
curl_of_this_host() { curl -q -g --noproxy '*' -s --max-time 10 "$@"; }

# wget_of_this_host URL: prints a status. wget tells it in words, and only where it is not 200.
wget_of_this_host() {
  unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY
  direct=''
  case $(wget --version 2>&1 || :) in *GNU*) direct=--no-proxy ;; esac
  if answer=$(wget ${direct:+"$direct"} -T 10 -O /dev/null --no-check-certificate "$1" 2>&1 </dev/null); then
    echo 200
  else
    printf '%s\n' "$answer" | sed -n 's/.* \([45][0-9][0-9]\) .*/\1/p' | sed 1q
  fi
}

# serves_its_file HOST PORT: the certificate served is the one in the file that the flags name
serves_its_file() {
  file=$(sed -n "s/^$c${tab}serves$tab//p" "$work/pod" | sed 1q)
  [ -n "$file" ] || file=$(sed -n "s/^$c${tab}arg$tab--tls-cert-file=//p; s/^$c${tab}arg$tab--cert-file=//p" "$work/pod" | sed 1q)
  # etcd's probes ask another port than its clients
  clients=$(sed -n "s|^$c${tab}clients$tab||p; s|^$c${tab}arg$tab--listen-client-urls=https://\([^,]*\).*|\1|p" "$work/pod" | sed 1q)
  serves "${clients:-$1:$2}" "$file"
}

# serves ADDRESS FILE
serves() {
  [ -n "$2" ] && [ -f "$root$2" ] && command -v openssl >/dev/null 2>&1 && command -v timeout >/dev/null 2>&1 || return 0
  served=$(timeout 10 openssl s_client -connect "$1" </dev/null 2>/dev/null | openssl x509 -outform DER 2>/dev/null | sha256sum) || :
  [ "$served" = "$(openssl x509 -in "$root$2" -outform DER 2>/dev/null | sha256sum)" ] && return
  seen="$1 does not serve the certificate in $2"
  return 1
}

# restart_unit ran|back|look UNIT: systemd's, by its main process
restart_unit() {
  if [ "$live" = 0 ]; then
    [ "$1" = look ] || "$systemctl" restart "$2"
    return
  fi
  main_process "$2"
  old=$main
  if [ "$1" != look ]; then
    "$systemctl" daemon-reload
    "$systemctl" restart "$2" || die 23 "systemctl restart $2 failed: see journalctl -u $2. When it runs, start again; or go back: rollback.sh"
  fi
  end=$(($(date +%s) + timeout))
  until unit_as_planned "$1" "$2" && steady "$2"; do
    [ "$(date +%s)" -lt "$end" ] || die 23 "after $timeout s $seen. What to look at: systemctl status $2, journalctl -u $2. When it runs, start again; or go back: rollback.sh"
    sleep 1
  done
}

main_process() { # sets `main` to PID:START of a unit
  main=$("$systemctl" show -p MainPID "$1")
  main=${main#MainPID=}
  started_at "${main:-0}" "$processes" || :
  main=$main:$started
}

unit_as_planned() {
  main_process "$2"
  seen="$2 is not active"
  "$systemctl" is-active --quiet "$2" || return 1
  seen="$2 still has the process from before the restart"
  [ "$1" = look ] || [ "$main" != "$old" ] || return 1
  if [ "$2" != kubelet ]; then
    program_as_planned "${main%%:*}"
  elif [ "$post" != - ]; then
    healthy "$post"
  fi
}

# steady UNIT: it is the same process some seconds later. A unit that ends soon after each start is active in between.
steady() {
  first=$main
  sleep 10
  unit_as_planned look "$1" || return 1
  [ "$main" = "$first" ] && return
  seen="$1 does not keep running: its process was ${first%%:*}, ten seconds later ${main%%:*}"
  return 1
}

# program_as_planned PID: health, and the certificate that is served, of a program that has a port for that
program_as_planned() {
  read -r comm 2>/dev/null <"$processes/$1/comm" || return 0
  # the kernel keeps fifteen bytes of a name
  case $comm in
    etcd) etcd_as_planned "$1" ;;
    kube-apiserver) secure_port "$1" 6443 /readyz ;;
    kube-controller) secure_port "$1" 10257 /healthz ;;
    kube-scheduler) secure_port "$1" 10259 /healthz ;;
  esac
}

# secure_port PID PORT PATH: by its flags, where they say nothing by these defaults
secure_port() {
  setting "$1" secure-port
  port=${value:-$2}
  [ "$port" != 0 ] || return 0
  setting "$1" bind-address
  case $value in
    '' | 0.0.0.0 | ::) host=127.0.0.1 ;;
    *:*) host="[$value]" ;;
    *) host=$value ;;
  esac
  healthy "https://$host:$port$3" || return 1
  setting "$1" tls-cert-file
  serves "$host:$port" "$value"
}

# etcd_as_planned PID: its health, asked through consensus, and what it serves
etcd_as_planned() {
  setting "$1" listen-client-urls
  clients=${value%%,*}
  setting "$1" listen-metrics-urls
  if [ -n "$value" ]; then
    healthy "${value%%,*}/health" || return 1
  elif command -v curl >/dev/null 2>&1; then
    member_healthy "$1" "$clients" || return 1
  fi
  setting "$1" cert-file
  serves "${clients#https://}" "$value"
}

# member_healthy PID URL: asks a member as another would, with this member's own files
member_healthy() {
  setting "$1" trusted-ca-file
  ca=$value
  setting "$1" peer-cert-file
  certificate=$value
  setting "$1" peer-key-file
  status=$(curl_of_this_host --cacert "$root$ca" --cert "$root$certificate" --key "$root$value" \
    -o /dev/null -w '%{http_code}' "$2/health" </dev/null) || :
  [ "$status" = 200 ] && return
  seen="$2/health answers ${status:-nothing}"
  return 1
}

# setting PID FLAG: sets `value` to a flag of a process: on its command line, else, as etcd takes it, by its variable
setting() {
  value=$({ tr '\000' '\n' <"$processes/$1/cmdline" && tr '\000' '\n' <"$processes/$1/environ"; } 2>/dev/null |
    VARIABLE=ETCD_$(printf '%s' "$2" | tr a-z- A-Z_) FLAG=-$2 awk '
      found { print; exit }
      { flag = $0; sub(/^--/, "-", flag) }
      index(flag, ENVIRON["FLAG"] "=") == 1 { print substr(flag, length(ENVIRON["FLAG"]) + 2); exit }
      flag == ENVIRON["FLAG"] { found = 1 }
      index($0, ENVIRON["VARIABLE"] "=") == 1 { print substr($0, length(ENVIRON["VARIABLE"]) + 2); exit }') || :
}
