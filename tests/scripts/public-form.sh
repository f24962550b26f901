# shellcheck shell=sh
# A stand-in for templates/public-form.sh with the same interface, for the few shapes that the plan of
# these tests has: quick, because the fault injection runs it thousands of times.

# shellcheck disable=SC2016 # the dollars below belong to awk
stand_in_program='
BEGIN { path = ENVIRON["NODEPATH"]; for (i = 1; i < 256; i++) byte[sprintf("%c", i)] = i
  for (i = 1; i <= length(path); i++) { c = substr(path, i, 1); place = place (c ~ /[A-Za-z0-9.\/_-]/ ? c : sprintf("%%%02X", byte[c])) } }
function kept(value) { n++; printf "%s", value > ("value." n); close("value." n); return "\001" n "\001" }
/^-----BEGIN .*PRIVATE KEY-----$/ { pem = $0; next }
pem != "" { pem = pem "\n" $0; if (/^-----END/) { print kept(pem); print n > "pem"; pem = "" } ; next }
/^ *client-key-data: / { match($0, /: /); print substr($0, 1, RSTART + 1) kept(substr($0, RSTART + 2)); next }
/^ *token: / { match($0, /: /); v = kept(substr($0, RSTART + 2)); print substr($0, 1, RSTART + 1) "carota-kept:token@" place "#" n; ref[n] = "carota-kept:token@" place "#" n; print n, ref[n] > "tokens"; next }
{ print }'

public_form() {
  (
    exec <"$1"
    NODEPATH=$2
    export NODEPATH
    cd "$3" || exit
    [ ! -e refs ] || rm -f -- refs value.* pem tokens
    : >refs
    awk "$stand_in_program" >skeleton
    if [ ! -e value.1 ]; then
      cat skeleton
      return
    fi
    i=0
    while [ -f "value.$((i += 1))" ]; do
      if [ -f tokens ] && token=$(awk -v i="$i" '$1 == i { print $2; found = 1 } END { exit !found }' tokens); then
        printf '%s\n' "$token" >>refs
      else
        hash=$({ cat "value.$i" && { [ ! -f pem ] || echo; }; } | sha256sum)
        printf 'carota-kept:sha256:%s\n' "${hash%% *}" >>refs
      fi
    done
    awk 'FILENAME == "refs" { ref[FNR] = $0; next }
      { while (match($0, /\001[0-9]+\001/)) $0 = substr($0, 1, RSTART - 1) ref[substr($0, RSTART + 1, RLENGTH - 2)] substr($0, RSTART + RLENGTH); print }' refs skeleton
  )
}

fill_form() {
  (
    exec <"$1"
    cd "$2" || exit
    awk '
      function value(i,   line, text, first) { first = 1; while ((getline line < ("value." i)) > 0) { text = first ? line : text "\n" line; first = 0 } close("value." i); return text }
      BEGIN { while ((getline line < "refs") > 0) at[line] = ++n }
      match($0, /carota-kept:[A-Za-z0-9:@\/._%#-]+/) {
        reference = substr($0, RSTART, RLENGTH)
        if (!(reference in at)) { failed = 1; exit 1 }
        $0 = substr($0, 1, RSTART - 1) value(at[reference]) substr($0, RSTART + RLENGTH)
      }
      { print }
      END { exit failed }' 
  )
}
