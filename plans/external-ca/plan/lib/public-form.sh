# shellcheck shell=sh
# The public form of a file: its bytes with each private value replaced by a reference, and the way
# back. The collector and the scripts on a node share this file, so that both compute the same bytes.
# It knows what a private value looks like; it must not know where files lie or what a phase does.
#
#   public_form FILE NODEPATH WORKDIR   prints the public form of FILE. WORKDIR/value.N is the N-th
#                                       private value, line N of WORKDIR/refs its reference.
#                                       Status 3: FILE cannot be made public; nothing is printed.
#   fill_form FORM REFS_DIR             prints FORM with the values of REFS_DIR put back; fails if
#                                       one of them is not there.
#   contains_private FILE               whether public_form would replace anything.
#
# FILE must be text without NUL bytes. WORKDIR exists and is 0700. A private value is never an
# argument, an environment variable or a word of the shell: it goes from awk to a file.

# shellcheck disable=SC2016 # the dollars below belong to awk
public_form_program='
# ---- Lines. A line break written as an escape (a file inside a JSON string) ends a line as well: V is
# its text, E what ends it, so that the concatenation of all V and E is the file. PH: the line starts a
# line of the file. LS: it starts a line of the file or of the text in the string. EB: how many
# backslashes the break has that ends it.
function add_line(text, end, backslashes) {
  V[++lines] = text; E[lines] = end; EB[lines] = backslashes
  PH[lines] = (lines == 1 || E[lines - 1] == "\n")
  LS[lines] = (PH[lines] || EB[lines - 1] > 0)
}
function add_pieces(text, last_end,   n, i, tail) {
  n = split(text, PIECE, "\n")
  for (i = 1; i < n; i++) {
    tail = length(PIECE[i]) > 40 ? substr(PIECE[i], length(PIECE[i]) - 39) : PIECE[i]
    if (match(tail, /(\\+r)?\\+n$/)) {
      tail = substr(tail, RSTART)
      add_line(substr(PIECE[i], 1, length(PIECE[i]) - length(tail)), tail, slashes_of(tail))
    } else add_line(PIECE[i], "", 0)
  }
  add_line(n ? PIECE[n] : "", last_end, 0)
}
function slashes_of(end) { sub(/^\\+r/, "", end); return length(end) - 1 }
# Long lines are cut in chunks first: a global substitution is quadratic in some awks.
function cut_line(text, last_end,   from, chunk, size, out) {
  if (index(text, "\\") == 0 && length(text) <= 4096) { add_line(text, last_end, 0); return }
  for (from = 1; from <= length(text); from += size) {
    size = 8192
    chunk = substr(text, from, size)
    while (substr(chunk, length(chunk), 1) ~ /[\\nr]/ && from + size <= length(text)) {
      chunk = chunk substr(text, from + size, 1)
      size++
    }
    gsub(/\\+n/, "&\n", chunk)
    if (length(text) > 4096) gsub(/",/, "&\n", chunk)
    out = out chunk
  }
  add_pieces(out, last_end)
}

# ---- Lines of the API objects as kubectl prints them.
# managedFields is noise; only its exact place in an item is dropped.
function dropped(text) {
  if (mode == "") return 0
  if (text ~ /^(- |  )[A-Za-z]+:/) section_read = (text ~ /^(- |  )metadata:/)
  if (section_read && text == "    managedFields:") { dropping = 1; return 1 }
  if (dropping && (text ~ /^    - / || text ~ /^     /)) return 1
  dropping = 0
  return 0
}

BEGIN {
  path = ENVIRON["CAROTA_NODEPATH"]
  for (i = 1; i < 256; i++) BYTE[sprintf("%c", i)] = i
  digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
  for (i = 1; i <= 64; i++) DIGIT[substr(digits, i, 1)] = i - 1
  place = ""
  for (i = 1; i <= length(path); i++) {
    c = substr(path, i, 1)
    place = place (c ~ /[A-Za-z0-9.\057_-]/ ? c : sprintf("%%%02X", BYTE[c]))
  }
  certificate64 = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t"
}
!dropped($0) { cut_line($0, NR > newlines ? "" : "\n") }
END {
  if (mode == "secrets" && !secrets_shape()) { failed = 1; exit 4 }
  J = 1; O = 1
  while (J <= lines && !(check && ordinal)) {
    was = J SUBSEP O
    if (O > 1 || !line_start()) step()
    # Rather no public form than one that never ends.
    if (was == J SUBSEP O) exit 4
  }
  if (check) exit !ordinal
}

# ---- What is written: pieces of text, and numbers of values.
function put(text, end) {
  if (check) return
  if (end == "\n") print "T" text
  else if (text end != "") print "t" text end
}
function put_to(to) { if (to >= O) put(substr(V[J], O, to - O + 1), ""); O = to + 1 }
function next_line() { put(substr(V[J], O), E[J]); J++; O = 1 }
# The raw text from offset `from` of line J to offset `to` of line j2.
function span(from, j2, to,   k, text) {
  if (j2 == J) return substr(V[J], from, to - from + 1)
  text = substr(V[J], from) E[J]
  for (k = J + 1; k < j2; k++) text = text V[k] E[k]
  return text substr(V[j2], 1, to)
}
# Replaces the text from `from` to `to` of line j2; `hashed` is what a key is hashed over, or "".
function take(from, j2, to, hashed,   value) {
  put_to(from - 1)
  value = span(from, j2, to)
  ordinal++
  if (!check) {
    printf "%s", value > ("value." ordinal); close("value." ordinal)
    if (hashed != "") { printf "%s", hashed > ("hash." ordinal); close("hash." ordinal) }
    print "V" ordinal (hashed == "" ? " carota-kept:token@" place "#" ordinal : "")
  }
  J = j2; O = to + 1
}

# ---- Names.
# "key" for a value that may be hashed, "token" for one that may not, "" for one that is not private.
function kind_of(name, sep,   n, env) {
  n = tolower(name)
  gsub(/[-_.]/, "", n)
  if (n ~ /clientkeydata$/) return "key"
  env = (name ~ /^[A-Z0-9_.]+$/ && name ~ /[A-Z]/)
  if (n ~ /(file|path|dir|name|namespace|id|ttl|type|hash|url|uri|ref|size|algorithm|usage|issuer|expiration|mount|format|bypass)$/)
    return n ~ /secretid$/ ? "token" : ""
  if (n == "auth" || n ~ /(token|password|passwd|passphrase|pass|pwd|secret|apikey|accesskey|secretkey|privatekey|encryptionkey|authkey|sharedkey|psk|authorization|credential|credentials|certificatekey|connectionstring)[0-9]*$/)
    return "token"
  if (env && sep == "=" && env_private(name)) return "token"
  return ""
}
function env_private(name) {
  name = toupper(name)
  if (name ~ /(FILE|PATH|DIR|_NAME|_ID)$/) return name ~ /SECRET_?ID$/
  return name ~ /PASS|TOKEN|SECRET|KEY|CREDENTIAL|PWD|_AUTH$|_DSN$/
}
# Values that say nothing: empty, booleans, null, references to variables, paths.
function says_nothing(v) {
  if (v == "" || v ~ /^(true|false|null|~|\{\}|\[\]|True|False|yes|no)$/) return 1
  if (v ~ /^(true|false),/) return 1
  if (v ~ /^\$(\([A-Za-z0-9_.-]+\)|\{[A-Za-z0-9_.-]+\}|[A-Za-z_][A-Za-z0-9_]*)$/) return 1
  return v ~ /^\/(etc|var|run|srv|opt|usr|home|root|mnt|tmp|secrets|data)\/[A-Za-z0-9._@\057-]*$/
}

# ---- Shape of the text around a value.
function indent_of(text) { match(text, /^[ \t]*/); return RLENGTH }
function blank(text) { return text ~ /^[ \t\r]*$/ }
# The last offset of line k without trailing blanks.
function end_of(k,   text) { text = V[k]; sub(/[ \t\r]+$/, "", text); return length(text) }
# How many backslashes stand before the double quote that closes the string around offset `at` of
# line J, or -1 when there is none.
function enclosing(at,   before, n) {
  if (J > 1 && EB[J - 1] > 1) return EB[J - 1] - 1
  before = substr(V[J], 1, at - 1)
  gsub(/\\./, "", before)
  n = gsub(/"/, "", before)
  if (J > 1 && EB[J - 1] == 1) n++
  return n % 2 ? 0 : -1
}
function open_brace(at,   before) {
  if (!LS[J]) return 1
  before = substr(V[J], 1, at - 1)
  gsub(/"[^"]*"/, "", before)
  return gsub(/[{[]/, "", before) - gsub(/[]}]/, "", before) > 0
}
# Finds the double quote with `slashes` backslashes that closes a string, from offset `at` of line j on.
# Sets CJ and CP (the last offset of the string).
function find_close(j, at, slashes, limit,   text, found, k, n) {
  for (CJ = j; CJ <= lines && CJ <= limit; CJ++) {
    text = V[CJ]
    while ((found = index(substr(text, at), "\"")) > 0) {
      k = at + found - 1
      n = 0
      while (k - 1 - n >= 1 && substr(text, k - 1 - n, 1) == "\\") n++
      if (n % (2 * (slashes + 1)) == slashes) { CP = k - 1 - slashes; return 1 }
      at = k + 1
    }
    at = 1
  }
  return 0
}
function find_single(j, at, limit,   text, found, k) {
  for (CJ = j; CJ <= lines && CJ <= limit; CJ++) {
    text = V[CJ]
    while ((found = index(substr(text, at), "\047")) > 0) {
      k = at + found - 1
      if (substr(text, k + 1, 1) != "\047") { CP = k - 1; return 1 }
      at = k + 2
    }
    at = 1
  }
  return 0
}
# The last line of a block or of a folded scalar whose key has the given indentation; sets CJ and CP.
function find_block_end(indent, comments,   k, level) {
  CJ = J; CP = end_of(J)
  for (k = J + 1; k <= lines; k++) {
    if (blank(V[k])) continue
    if (indent_of(V[k]) <= indent || (!comments && V[k] ~ /^[ \t]*#/)) return
    if (!LS[k]) return
    CJ = k; CP = end_of(k)
    if (EB[k - 1] > 0) {
      level = EB[k - 1] - 1
      if (find_close(k, 1, level, k)) { return }
      CJ = k; CP = end_of(k)
    }
  }
}
function key_shaped(text) {
  return text ~ /^[ \t]*(- |-[ \t\r]*$|\? |[[{#]|"[^"]*"[ \t]*:|\047[^\047]*\047[ \t]*:|[^ \t"\047#][^"\047]*:([ \t\r]|$))/
}
function starts_pem(text) { return text ~ /^[ \t"\047\\]*-----BEGIN [A-Z0-9 ]*PRIVATE KEY/ }

# ---- The value of a key whose name starts at `from` and whose value may start at `at`.
# Takes it, or moves on to its start; scanning goes on from there.
function scalar(from, at, kind, sep, quoted,   before, block_key, indent, rest, c, n, v, j2, to) {
  put_to(at - 1)
  before = substr(V[J], 1, from - 1)
  if (quoted) sub(/["\047\\]+$/, "", before)
  block_key = (LS[J] && before ~ /^[ \t]*(- +)*$/)
  indent = block_key ? length(before) : indent_of(V[J])
  rest = substr(V[J], at)
  if (sep == ":") {
    if (rest ~ /^[:\057]/) return
    while (match(rest, /^[ \t]*[!&][^ \t\r]*([ \t]+|\r?$)/)) { at += RLENGTH; rest = substr(rest, RLENGTH + 1) }
  }
  match(rest, /^[ \t]*/); at += RLENGTH; rest = substr(rest, RLENGTH + 1)
  put_to(at - 1)
  c = substr(rest, 1, 1)
  if (rest ~ /^\r?$/ || (c == "#" && sep == ":")) {
    if (sep == ":" && block_key) later_value(indent, kind)
    return
  }
  if (sep == ":" && (c == "{" || c == "*")) return
  if (c == "[" && (rest ~ /^\[[ \t]*\]/ || rest ~ /\{/)) return
  if (match(rest, /^\\*"/)) {
    n = RLENGTH - 1
    at += RLENGTH
    put_to(at - 1)
    if (!find_close(J, at, n, J + 5000)) { CJ = J; CP = end_of(J) }
    take_unless_empty(at, kind)
    return
  }
  if (c == "\047") {
    at++
    put_to(at - 1)
    if (!find_single(J, at, J + 5000)) { CJ = J; CP = end_of(J) }
    take_unless_empty(at, kind)
    return
  }
  if (sep == ":" && rest ~ /^[|>][-+0-9]*[ \t]*(#.*)?\r?$/) {
    if (starts_pem(V[J + 1])) return
    find_block_end(indent, 1)
    if (CJ > J) take_as(at, CJ, CP, kind)
    return
  }
  plain(from, at, kind, sep, quoted, block_key, indent, rest)
}
function plain(from, at, kind, sep, quoted, block_key, indent, rest,   v, n, k) {
  v = rest
  sub(/[ \t\r]+$/, "", v)
  if (sep == ":") sub(/[ \t]+#.*$/, "", v)
  if (quoted && match(v, /^(-?[0-9][0-9.eE+-]*|true|false|null)[ \t]*([],}]|$)/)) sub(/[ \t]*[],}].*$/, "", v)
  else if ((n = enclosing(from)) >= 0) {
    if (find_close(J, at, n, J)) v = substr(V[J], at, CP - at + 1)
  } else if (substr(V[J], from - 1, 1) == "\047") sub(/\047.*$/, "", v)
  else if (open_brace(from)) sub(/[ \t]*[],}].*$/, "", v)
  else if (sep == ":" && block_key) sub(/([ \t]*[]}]|,)$/, "", v)
  if (says_nothing(v)) return
  CJ = J; CP = at + length(v) - 1
  if (block_key && sep == ":" && length(v) == length(rest_of(rest))) {
    # A plain scalar of the file itself keeps what looks like an escape, and goes on in deeper lines.
    while (PH[J] && EB[CJ] > 0) { CJ++; CP = end_of(CJ) }
    if (CJ == J) { find_block_end(indent, 0) }
  }
  take_as(at, CJ, CP, kind)
}
function rest_of(rest) { sub(/[ \t\r]+$/, "", rest); return rest }
function take_unless_empty(at, kind,   v) {
  if (CJ == J) {
    v = substr(V[J], at, CP - at + 1)
    if (says_nothing(v) || starts_pem(v)) return
  } else if (starts_pem(substr(V[J], at)) ) return
  take_as(at, CJ, CP, kind)
}
# A key shorter than any key is a placeholder or a password: no hash.
function take_as(at, j2, to, kind,   v) {
  v = kind == "key" ? span(at, j2, to) : ""
  take(at, j2, to, length(v) < 64 ? "" : v)
}
# The value stands on the lines after its key.
function later_value(indent, kind,   k, keep_j, keep_o) {
  for (k = J + 1; k <= lines && (blank(V[k]) || V[k] ~ /^[ \t]*#/); k++);
  if (k > lines || indent_of(V[k]) <= indent || key_shaped(V[k]) || starts_pem(V[k])) return
  LATER[k] = kind; LATER_INDENT[k] = indent
}
# `- --token` with the token in the next item.
function later_item(   k) {
  for (k = J + 1; k <= lines && (blank(V[k]) || V[k] ~ /^[ \t]*#/); k++);
  if (k <= lines) LATER_ITEM[k] = 1
}

# ---- What is seen at the start of a line. Nonzero: it moved on.
function line_start(   k, n, to) {
  if (mode == "secrets" && PH[J] && secret_line()) return 1
  if (J in LATER) {
    n = indent_of(V[J])
    put_to(n)
    find_block_end(LATER_INDENT[J], 0)
    take_as(n + 1, CJ, CP, LATER[J])
    return 1
  }
  if (J in LATER_ITEM) {
    if (!match(V[J], /^[ \t]*(- +)?/)) return 0
    n = RLENGTH
    put_to(n)
    if (match(substr(V[J], n + 1), /^\\*["\047]/)) { put_to(n + RLENGTH); n += RLENGTH }
    to = V[J]
    sub(/["\047\\]*,?[ \t\r]*$/, "", to)
    if (length(to) > n) take(n + 1, J, length(to), "")
    return O > 1
  }
  if (index(V[J], "-----BEGIN ") && public_block()) return 1
  if (wrapped()) return 1
  return 0
}
# A PEM block that is not a private key is copied as it is: its body is nothing else.
function public_block(   k) {
  if (V[J] !~ /^[ \t]*-----BEGIN [A-Z0-9 ]+-----[ \t\r]*$/ || V[J] ~ /PRIVATE KEY/) return 0
  for (k = J + 1; k <= lines && LS[k] && V[k] ~ /^[ \t]*[A-Za-z0-9+\057=]+[ \t\r]*$/; k++);
  if (k > lines || V[k] !~ /^[ \t]*-----END [A-Z0-9 ]+-----[ \t\r]*$/) return 0
  while (J <= k) next_line()
  return 1
}
# Base64 over several lines, where no single line need show what it is.
function wrapped(   text, n, k, j2, joined, what, from) {
  if (J <= CLEAN || J >= lines) return 0
  text = V[J]
  sub(/[ \t\r]+$/, "", text)
  n = length(text)
  if (n < 40 || substr(text, n - 39) !~ /^[A-Za-z0-9+\057=]+$/ || V[J + 1] !~ /^[ \t]*[A-Za-z0-9+\057=]+[ \t\r]*$/) return 0
  from = run_start(J, n)
  joined = substr(text, from)
  for (k = J + 1; k <= lines && LS[k] && V[k] ~ /^[ \t]*[A-Za-z0-9+\057=]+[ \t\r]*$/; k++) {
    text = V[k]
    gsub(/[ \t\r]+/, "", text)
    joined = joined text
    j2 = k
  }
  if (!j2) return 0
  what = base64_kind(joined)
  # The last piece of a string: the closing quote follows.
  if (j2 < lines && EB[j2] > 0 && match(V[j2 + 1], /^[ \t]*[A-Za-z0-9+\057=]+/)) { j2++; joined = joined substr(V[j2], 1, RLENGTH); if (what == "") what = base64_kind(joined); n = RLENGTH }
  else n = end_of(j2)
  if (what == "") { CLEAN = j2; return 0 }
  take(from, j2, n, what == "key" ? joined : "")
  return 1
}
# The first offset of the run of base64 that ends at offset `at` of line j.
function run_start(j, at,   chunk, from) {
  while (at > 0) {
    from = at > 512 ? at - 511 : 1
    chunk = substr(V[j], from, at - from + 1)
    if (chunk !~ /^[A-Za-z0-9+\057_=-]*$/) { match(chunk, /[A-Za-z0-9+\057_=-]*$/); return RLENGTH ? from + RSTART - 1 : at + 1 }
    at = from - 1
  }
  return 1
}
# "key" if base64 text holds a private key, "token" if it holds a token or what cannot be looked into.
function base64_kind(text) {
  if (text ~ /UFJJVkFURSBLRVkt|BSSVZBVEUgS0VZL|QUklWQVRFIEtFWS|VUZKSlZrRlVSU0JMUlZrd|VGSkpWa0ZVUlNCTFJWa3|VRkpKVmtGVVJTQkxSVmt0|QlNTVlpCVkVVZ1MwVlpM|JTU1ZaQlZFVWdTMFZaT|CU1NWWkJWRVVnUzBWWk|UVVrbFdRVlJGSUV0RldT|FVa2xXUVZSRklFdEZXU|RVWtsV1FWUkZJRXRGV1/) return "key"
  if (text ~ /^VEZNd2RFeFRNVU5TVld/) return "token"
  if (text ~ /^M(II[A-Za-z0-9+\057][A-Za-z0-9+\057][AQgw]IBA|IG[A-Za-z0-9+\057]AgE[ABD]|[A-Za-z0-9+\057][A-Za-z0-9+\057]CAQ[AEI])/) return length(text) < 60 ? "" : "key"
  if (text ~ /^(ZXlK|WlhsS|H4sI|SDRzSU|U0RSelN)/ && length(text) >= 40) return "token"
  return ""
}

# ---- One step on line J from offset O: the first thing that may be private, or the end of the line.
function step(   rest, low, at, best, size, what, partial) {
  # A window, so that a long line stays linear; what starts near its end is seen whole in the next one.
  rest = substr(V[J], O, 4096)
  partial = (O + 4096 <= length(V[J]))
  if (partial && rest ~ /^[A-Za-z0-9+\057_=-]+$/) { long_run(); return }
  low = tolower(rest)
  best = 0
  if ((names_a_secret(low) || index(low, "value")) && match(low, /(token|pass|pwd|secret|key|credential|auth|psk|dsn|connectionstring)[a-z0-9_.-]*["\047\\]*[ \t]*[:=]|value["\047\\]*[ \t]*:/)) {
    best = RSTART; size = RLENGTH
    what = "name"
  }
  if (index(low, "--") && names_a_secret(low) && match(low, /--[a-z0-9]/) && (!best || RSTART <= best)) {
    best = RSTART; size = RLENGTH
    what = "flag"
  }
  if ((index(rest, "eyJ") || index(rest, "://") || index(rest, "- BEGIN") || index(rest, "-BEGIN") || index(rest, "carota-kept:")) && match(rest, /eyJ|:\/\/|-----BEGIN|---- BEGIN|carota-kept:/) && (!best || RSTART <= best)) {
    best = RSTART; size = RLENGTH
    what = substr(rest, best, 1)
  }
  if (length(rest) >= 40 && match(rest, /UFJJVkFURSBLRVkt|BSSVZBVEUgS0VZL|QUklWQVRFIEtFWS|VUZKSlZrRlVSU0JMUlZrd|VGSkpWa0ZVUlNCTFJWa3|VRkpKVmtGVVJTQkxSVmt0|QlNTVlpCVkVVZ1MwVlpM|JTU1ZaQlZFVWdTMFZaT|CU1NWWkJWRVVnUzBWWk|UVVrbFdRVlJGSUV0RldT|FVa2xXUVZSRklFdEZXU|RVWtsV1FWUkZJRXRGV1|VEZNd2RFeFRNVU5TVld|ZXlK|WlhsS|H4sI|SDRzSU|U0RSelN|M(II[A-Za-z0-9+\057][A-Za-z0-9+\057][AQgw]IBA|IG[A-Za-z0-9+\057]AgE[ABD]|[A-Za-z0-9+\057][A-Za-z0-9+\057]CAQ[AEI])/) && (!best || run_from(RSTART) <= best)) {
    best = RSTART; size = RLENGTH
    what = "base64"
  }
  if (index(rest, ".") && match(rest, /[a-z0-9][a-z0-9][a-z0-9][a-z0-9][a-z0-9][a-z0-9]\.[a-z0-9][a-z0-9][a-z0-9][a-z0-9][a-z0-9][a-z0-9][a-z0-9][a-z0-9][a-z0-9][a-z0-9][a-z0-9][a-z0-9][a-z0-9][a-z0-9][a-z0-9][a-z0-9]/) && (!best || RSTART < best)) {
    best = RSTART; size = RLENGTH
    what = "bootstrap"
  }
  if (partial && (!best || best > 3500)) { put_to(O + 3499); return }
  if (!best) { next_line(); return }
  at = O + best - 1
  if (what == "name") name_at(at, size)
  else if (what == "flag") flag_at(at)
  else if (what == "e") jwt_at(at)
  else if (what == ":") url_at(at)
  else if (what == "-") pem_at(at)
  else if (what == "c") kept_at(at)
  else if (what == "base64") base64_at(at)
  else bootstrap_at(at, size)
}
function names_a_secret(low) {
  return index(low, "token") || index(low, "pass") || index(low, "secret") || index(low, "key") || index(low, "auth") || index(low, "credential") || index(low, "pwd") || index(low, "psk") || index(low, "dsn") || index(low, "connectionstring")
}
# A run of base64 longer than the window.
function long_run(   end, chunk, text, what) {
  for (end = O + 4096; (chunk = substr(V[J], end, 4096)) ~ /^[A-Za-z0-9+\057_=-]+$/; end += length(chunk));
  match(chunk, /^[A-Za-z0-9+\057_=-]*/)
  end += RLENGTH
  text = substr(V[J], O, end - O)
  what = base64_kind(text)
  if (what == "") put_to(end - 13)
  else take(O, J, end - 1, what == "key" ? text : "")
}
function run_from(start) { start = run_start(J, O + start - 1) - O + 1; return start < 1 ? 1 : start }

function name_at(at, size,   text, sep, name, before, from, quoted, kind, kept) {
  text = substr(V[J], at, size)
  sep = substr(text, size, 1)
  name = text
  sub(/["\047\\]*[ \t]*[:=]$/, "", name)
  quoted = (text ~ /["\047\\][ \t]*[:=]$/)
  from = at - 200 < O ? O : at - 200
  before = substr(V[J], from, at - from)
  match(before, /[A-Za-z0-9_.-]*$/)
  if (RLENGTH > 0) { name = substr(before, RSTART) name; from = at - RLENGTH } else from = at
  while (name ~ /^[-.]/) { name = substr(name, 2); from++ }
  if (name == "value" && sep == ":") kind = env_kind(from, at + size, quoted)
  else kind = kind_of(name, sep)
  if (kind == "" && (kept = index(text, "carota-kept:"))) { kept_at(at + kept - 1); return }
  if (kind == "") { put_to(at + size - 1); return }
  scalar(from, at + size, kind, sep, quoted)
}
# ---- Environment variables of a manifest: `value` beside `name`, in either order.
function env_kind(from, at, quoted,   before, column, k, dash) {
  before = substr(V[J], from > 300 ? from - 300 : 1, from > 300 ? 300 : from - 1)
  if (!LS[J] && J > 1) before = substr(V[J - 1], length(V[J - 1]) > 300 ? length(V[J - 1]) - 299 : 1) E[J - 1] before
  if (match(before, /name["\047\\]*[ \t]*:[ \t]*["\047\\]*[A-Za-z0-9_.-]+["\047\\]*[ \t]*,[ \t]*["\047\\]*$/))
    return env_private(env_name(substr(before, RSTART))) ? "token" : ""
  if (quoted) sub(/["\047\\]+$/, "", before)
  if (before !~ /^[ \t]*(- +)*$/) return env_after(at)
  column = length(before)
  dash = (before ~ /-/)
  for (k = J - 1; !dash && k >= 1 && k > J - 7; k--) {
    if (blank(V[k]) || V[k] ~ /^[ \t]*#/) continue
    if (column_of(V[k]) < column) break
    if (column_of(V[k]) == column && V[k] ~ /^[ \t]*(- +)*["\047]?name["\047]?[ \t]*:/)
      return env_private(env_name(V[k])) ? "token" : ""
    if (column_of(V[k]) == column && V[k] ~ /^[ \t]*- /) break
  }
  for (k = J + 1; k <= lines && k < J + 200; k++) {
    if (blank(V[k]) || V[k] ~ /^[ \t]*#/ || indent_of(V[k]) > column) continue
    if (indent_of(V[k]) < column || V[k] ~ /^[ \t]*- /) return ""
    if (V[k] ~ /^[ \t]*["\047]?name["\047]?[ \t]*:/) return env_private(env_name(V[k])) ? "token" : ""
  }
  return ""
}
function column_of(text) { match(text, /^[ \t]*(- +)*/); return RLENGTH }
function env_name(text) {
  sub(/^[ \t]*(- +)*/, "", text)
  sub(/^["\047\\]*name["\047\\]*[ \t]*:[ \t]*["\047\\]*/, "", text)
  match(text, /^[A-Za-z0-9_.-]*/)
  return substr(text, 1, RLENGTH)
}
function env_after(at,   rest, n) {
  rest = substr(V[J], at, 2000)
  if (E[J] == "" && J < lines) rest = rest substr(V[J + 1], 1, 300)
  if (match(rest, /^[ \t]*\\*"[^"]*",[ \t]*\\*"name\\*"[ \t]*:[ \t]*\\*"[A-Za-z0-9_.-]+/) || match(rest, /^[^,}]*,[ \t]*name:[ \t]*["\047]?[A-Za-z0-9_.-]+/)) {
    rest = substr(rest, 1, RLENGTH)
    match(rest, /[A-Za-z0-9_.-]+$/)
    return env_private(substr(rest, RSTART)) ? "token" : ""
  }
  return ""
}
# ---- Flags of a command line: `--token=x`, `--token x`, `"--token", "x"`, `- --token` and `- x`.
function flag_at(at,   rest, name, n, slashes, before, v, item) {
  rest = substr(V[J], at)
  match(rest, /^--[A-Za-z0-9_.-]*/)
  n = RLENGTH
  name = substr(rest, 3, n - 2)
  if (name ~ /carota-kept$/) { put_to(at + n - 12); return }
  if (substr(V[J], at - 1, 1) == "-" || kind_of(name, "") == "") { put_to(at + n - 1); return }
  before = substr(V[J], 1, at - 1)
  rest = substr(rest, n + 1)
  put_to(at + n - 1)
  at += n
  item = (LS[J] && before ~ /^[ \t]*(- +)*["\047]?$/)
  if (rest ~ /^["\047\\]*,?[ \t\r]*$/) { if (item) later_item(); return }
  if (match(rest, /^["\047\\]*[ \t]*,[ \t]*["\047\\]*/)) {
    put_to(at + RLENGTH - 1)
    at += RLENGTH
    v = substr(V[J], at)
    sub(/[]"\047\\,].*$/, "", v)
    sub(/[ \t\r]+$/, "", v)
    if (!says_nothing(v)) take(at, J, at + length(v) - 1, "")
    return
  }
  if (!match(rest, /^(=|[ \t]+)/)) return
  if (substr(rest, 1, 1) != "=" && substr(rest, RLENGTH + 1) ~ /^(-|\\[ \t\r]*$|$)/) return
  put_to(at + RLENGTH - 1)
  at += RLENGTH
  v = substr(V[J], at)
  if (match(v, /^\\*"/)) {
    if (find_close(J, at + RLENGTH, RLENGTH - 1, J)) v = substr(v, 1, CP - at + 1)
  } else if (v ~ /^\047/) { if (find_single(J, at + 1, J)) v = substr(v, 1, CP - at + 1) }
  else if (match(before, /\\*"$/) && find_close(J, at, RLENGTH - 1, J)) v = substr(v, 1, CP - at + 1)
  else if (before ~ /\047$/) sub(/\047.*$/, "", v)
  else if (!(LS[J] && before ~ /^[ \t]*(- +)+$/)) {
    sub(/[ \t"\047\r].*$/, "", v)
    if (open_brace(at)) sub(/[],}].*$/, "", v)
  }
  if (v !~ /^["\047\\]/) sub(/[ \t]+#.*$/, "", v)
  sub(/[ \t\r]+$/, "", v)
  if (!says_nothing(v)) take(at, J, at + length(v) - 1, "")
}
# ---- Shapes that are private whatever their name is.
function jwt_at(at,   rest) {
  rest = substr(V[J], at, 20000)
  if (match(rest, /^eyJ[A-Za-z0-9_-]*\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*/)) take(at, J, at + RLENGTH - 1, "")
  else put_to(at + 2)
}
function url_at(at,   rest, n, v) {
  rest = substr(V[J], at, 2000)
  if (!match(rest, /^:\/\/[^\057 \t"\047@:,]*:[^\057 \t"\047]+@/)) { put_to(at + 2); return }
  n = RLENGTH
  match(rest, /^:\/\/[^:]*:/)
  v = substr(rest, RLENGTH + 1, n - RLENGTH - 1)
  if (says_nothing(v)) put_to(at + 2)
  else take(at + RLENGTH, J, at + n - 2, "")
}
# A reference in the file itself is taken as a value, so that the way back is exact.
function kept_at(at) { match(substr(V[J], at, 200), /^carota-kept:[0-9]*/); take(at, J, at + RLENGTH - 1, "") }
function bootstrap_at(at, size,   before, after) {
  before = substr(V[J], at - 1, 1); after = substr(V[J], at + size, 1)
  if (at == 1) before = ""
  if (before ~ /[A-Za-z0-9_.\057-]/ || after ~ /[A-Za-z0-9_.-]/ || substr(V[J], at + 7, 16) !~ /[0-9]/) { put_to(at + size - 17); return }
  take(at, J, at + size - 1, "")
}
function base64_at(at,   from, rest, what, n) {
  from = run_start(J, at)
  if (from < O) from = O
  rest = substr(V[J], from)
  match(rest, /^[A-Za-z0-9+\057_=-]+/)
  n = RLENGTH
  what = base64_kind(substr(rest, 1, n))
  if (what == "") { put_to(at + 2); return }
  take(from, J, from + n - 1, what == "key" ? substr(rest, 1, n) : "")
}
# A PEM block with a private key, on one line or on many; one that does not end is taken as far as
# it looks like one. A folded scalar may break its first line at a space.
function pem_at(at,   rest, k, to, label) {
  rest = substr(V[J], at, 200)
  if (rest ~ /^-----BEGIN[A-Z0-9 ]*\\?$/ && rest !~ /KEY/ && J < lines) {
    label = V[J + 1]
    sub(/^[ \t\\]+/, "", label)
    rest = rest " " substr(label, 1, 100)
  }
  if (rest !~ /^----+ ?BEGIN[A-Z0-9 \\]*PRIVATE KEY/) { put_to(at + 9); return }
  for (k = J; k <= lines && k < J + 3000; k++) {
    to = pem_end(k, k == J ? at + 5 : 1)
    if (to > 0) { take_pem(at, PEM_LINE, to); return }
    if (k > J && V[k] ~ /-----BEGIN/) break
  }
  for (k = J + 1; k <= lines && V[k] ~ /^[ \t\\]*([A-Za-z0-9+\057=]+|(Proc-Type|DEK-Info|Comment|Version|Subject|X-[A-Za-z-]+): .*|[A-Z ]*PRIVATE KEY-+)?[ \t\r\\]*$/ && LS[k]; k++);
  while (k - 1 > J && blank(V[k - 1])) k--
  take_pem(at, k - 1, k - 1 == J ? at + 11 + length_of_label(substr(V[J], at + 11, 60)) : end_of(k - 1))
}
function length_of_label(text) { match(text, /^[A-Z0-9 ]*(-----)?[A-Za-z0-9+\057=]*/); return RLENGTH - 1 }
# The offset of the last dash of the END line if it begins on line k, with its line in PEM_LINE.
function pem_end(k, from,   text, at, n) {
  text = substr(V[k], from)
  at = match(text, /----+ ?END/)
  if (!at) return 0
  PEM_LINE = k
  n = RLENGTH
  if (match(substr(text, at + n), /^[A-Z0-9 ]*-----?/)) return from + at + n + RLENGTH - 2
  if (k < lines && match(V[k + 1], /^[ \t\\]*[A-Z0-9 ]*-----?/)) { PEM_LINE = k + 1; return RLENGTH }
  return from + at + n - 2
}
function take_pem(at, j2, to,   k, text, hashed) {
  for (k = J; k <= j2; k++) {
    text = k == j2 ? substr(V[k], 1, to) : V[k]
    if (k == J) text = substr(text, at)
    sub(/^[ \t]+/, "", text)
    sub(/\r$/, "", text)
    hashed = hashed text "\n"
  }
  take(at, j2, to, hashed)
}

# ---- Secrets: every value but certificates is private.
# Only the layout of kubectl is understood; anything else is refused.
function secrets_shape(   k, text) {
  for (k = 1; k <= lines; k++) {
    if (!PH[k]) continue
    text = V[k]
    if (text ~ /^(apiVersion: v1|items:|items: \[\]|kind: (Secret)?List|metadata:|---)\r?$/ || text ~ /^metadata: \{\}$/) continue
    if (text ~ /^  (resourceVersion|selfLink|continue|remainingItemCount):/ && !item) continue
    if (text ~ /^- (apiVersion|data|immutable|kind|metadata|stringData|type):/) { item = 1; text = " " text }
    if (text ~ /^  (data|stringData|metadata):( \{\}| null)?$/) { item = 1; continue }
    if (text ~ /^ ?(-| ) ?(data|stringData|metadata):( \{\}| null)?$/) continue
    if (text ~ /^ ?(-| ) ?(apiVersion|immutable|kind|type): [A-Za-z0-9._\057-]+$/ || text ~ /^   / || text == "") continue
    if (text ~ /^ ?(-| ) ?type: /) continue
    if (text ~ /^  (resourceVersion|selfLink|continue|remainingItemCount):/) continue
    return 0
  }
  return 1
}
function secret_line(   text, n, k, j2, value, colon) {
  text = V[J]
  if (match(text, /^(- |  )[A-Za-z]+:/)) {
    section = substr(text, 3, RLENGTH - 3)
    annotations = 0
    return 0
  }
  if (text !~ /^    /) { section = ""; return 0 }
  if (section == "metadata") {
    if (text ~ /^    [^ ]/) annotations = (text ~ /^    annotations:/)
    if (!annotations || text !~ /^      [^ ]/) return 0
    return secret_annotation(7)
  }
  if (section != "data" && section != "stringData") return 0
  return secret_value(5, section == "data")
}
# Sets KEY_END, the offset before the value of the entry on line J that starts at `column`.
function entry(column,   rest) {
  rest = substr(V[J], column)
  if (match(rest, /^("([^"\\]|\\.)*"|\047[^\047]*\047|[^ \t:"\047]([^ \t:]|:[^ \t])*)?:([ \t]+|$)/)) { KEY_END = column + RLENGTH - 1; return 1 }
  return 0
}
# The last line that belongs to the entry on line J: what is deeper, and the rest of its own line.
function entry_end(column,   k) {
  CJ = J
  for (k = J + 1; k <= lines; k++) {
    if (PH[k] && !blank(V[k]) && indent_of(V[k]) < column) break
    CJ = k
  }
  while (CJ > J && blank(V[CJ])) CJ--
  CP = end_of(CJ)
}
function secret_value(column, encoded,   value) {
  if (V[J] ~ /^    \? /) {
    return 0
  }
  entry_end(column)
  if (!entry(column)) { take(column, CJ, CP, ""); return 1 }
  if (CJ == J && KEY_END >= CP) return 0
  value = span(KEY_END + 1, CJ, CP)
  if (value == "\"\"" || value == "null") return 0
  if (encoded ? certificates64(value) : certificates(value)) { put_to(KEY_END); while (J < CJ) next_line(); next_line(); return 1 }
  take(KEY_END + 1, CJ, CP, "")
  return 1
}
# kubectl and Helm keep copies of whole objects in annotations.
function secret_annotation(column,   value) {
  entry_end(column)
  if (!entry(column)) { take(column, CJ, CP, ""); return 1 }
  if (CJ == J && KEY_END >= CP) return 0
  value = span(KEY_END + 1, CJ, CP)
  if (CJ == J && length(value) <= 253 && value !~ /\{/ && value !~ /^[|>]/) return 0
  take(KEY_END + 1, CJ, CP, "")
  return 1
}
function certificates64(value) {
  gsub(/["\047 \t\r\n]+/, "", value)
  if (index(value, certificate64) != 1) return 0
  if (!(value in DECODED)) DECODED[value] = certificates(decode(value))
  return DECODED[value]
}
function certificates(text) {
  gsub(/-----BEGIN CERTIFICATE-----[A-Za-z0-9+\057=\r\n]+-----END CERTIFICATE-----/, "", text)
  return text ~ /^[ \t\r\n]*$/
}
# Base64 of text; what is not text gives a tilde, which no certificate has.
function decode(text,   i, n, out, part, a, b, c, d) {
  n = length(text)
  for (i = 1; i <= n; i += 4) {
    a = DIGIT[substr(text, i, 1)]; b = DIGIT[substr(text, i + 1, 1)]
    c = substr(text, i + 2, 1); d = substr(text, i + 3, 1)
    part = part char(a * 4 + int(b / 16))
    if (c != "=" && c != "") part = part char((b % 16) * 16 + int(DIGIT[c] / 4))
    if (d != "=" && d != "") part = part char((DIGIT[c] % 4) * 64 + DIGIT[d])
    if (length(part) > 500) { out = out part; part = "" }
  }
  return out part
}
function char(code) { return code < 9 || code > 126 ? "~" : sprintf("%c", code) }
'

# Puts references into what the first pass printed, and lists them in `refs`.
# shellcheck disable=SC2016
public_form_references='
FILENAME == "hashes" { sub(/^\.\/hash\./, "", $2); HASH[$2] = $1; next }
/^T/ { print substr($0, 2); next }
/^t/ { printf "%s", substr($0, 2); next }
{
  n = substr($1, 2)
  reference = NF > 1 ? $2 : "carota-kept:sha256:" HASH[n]
  if (NF == 1 && HASH[n] == "") exit 1
  printf "%s", reference
  print reference > "refs"
}
'

# Looks once more, with other eyes, at what is about to be public: no private key, however it is broken
# over lines, quoted or encoded.
# shellcheck disable=SC2016
public_form_doubt='
{
  text = $0
  if (index(text, "BEGIN") || window != "" || text ~ /PRIV/) {
    gsub(/[ \t\r"\047\\>-]+/, "", text)
    window = substr(window, length(window) > 120 ? length(window) - 119 : 1) text
    if (window ~ /BEGIN(RSA|EC|DSA|OPENSSH|ENCRYPTED)?PRIVATEKEY/) exit 3
    if (length(window) > 4000) window = substr(window, length(window) - 119)
  }
}
/UFJJVkFURSBLRVkt|BSSVZBVEUgS0VZL|QUklWQVRFIEtFWS|VUZKSlZrRlVSU0JMUlZrd|VGSkpWa0ZVUlNCTFJWa3|VRkpKVmtGVVJTQkxSVmt0|QlNTVlpCVkVVZ1MwVlpM|JTU1ZaQlZFVWdTMFZaT|CU1NWWkJWRVVnUzBWWk|UVVrbFdRVlJGSUV0RldT|FVa2xXUVZSRklFdEZXU|RVWtsV1FWUkZJRXRGV1/ { exit 3 }
'

# The third argument of the functions below is what kind of text it is: empty for any file, `cluster` for
# API objects as kubectl prints them, `secrets` for Secrets.
public_form() {
  public_form_of "" "$1" "$2" "$3"
}

public_form_of() {
  pf_newlines=$(wc -l <"$2") || return 1
  (
    umask 077
    exec <"$2"
    cd "$4" || exit 1
    LC_ALL=C
    CAROTA_NODEPATH=$3
    export LC_ALL CAROTA_NODEPATH
    rm -f -- refs hashes skeleton form
    find . -name 'value.*' -exec rm -f -- {} +
    : >refs
    : >hashes
    awk -v mode="$1" -v newlines="$pf_newlines" "$public_form_program" >skeleton || exit 3
    find . -name 'hash.*' -exec sha256sum {} + >hashes || exit 1
    find . -name 'hash.*' -exec rm -f -- {} +
    awk "$public_form_references" hashes skeleton >form || exit 1
    awk "$public_form_doubt" form || exit 3
    cat form
    rm -f -- form skeleton hashes
  )
}

contains_private() {
  CAROTA_NODEPATH="" LC_ALL=C awk -v check=1 -v newlines=1000000000 "$public_form_program" "$1"
}

# shellcheck disable=SC2016
fill_form_program='
# The whole value: no text has the separator, so a line break at its end is seen.
function read_value(n,   name, part, text, parts) {
  name = "value." n
  RS = "\001"
  while ((getline part < name) > 0) text = parts++ ? text RS part : part
  RS = "\n"
  close(name)
  if (!parts) missing(n)
  return text
}
function missing(what) { print "fill_form: a value is not there: " what > "/dev/stderr"; failed = 1; exit 1 }
BEGIN {
  while ((getline line < "refs") > 0) { COUNT[line]++; PLACE[line, COUNT[line]] = ++total }
}
{
  rest = $0
  while (match(rest, /carota-kept:(sha256:[0-9a-f]+|token@[A-Za-z0-9\057._%-]*#[0-9]+)/)) {
    # A hash has 64 digits; what follows may look like one.
    size = substr(rest, RSTART, 19) == "carota-kept:sha256:" && RLENGTH > 83 ? 83 : RLENGTH
    at = RSTART
    reference = substr(rest, at, size)
    if (!(reference in COUNT)) missing(reference)
    # The same value may stand in several layouts: the n-th time it is the n-th of them.
    if (USED[reference] < COUNT[reference]) USED[reference]++
    printf "%s%s", substr(rest, 1, at - 1), read_value(PLACE[reference, USED[reference]])
    rest = substr(rest, at + size)
  }
  if (NR > newlines) printf "%s", rest
  else print rest
}
END { if (failed) exit 1 }
'

fill_form() {
  ff_newlines=$(wc -l <"$1") || return 1
  (
    exec <"$1"
    cd "$2" || exit 1
    LC_ALL=C awk -v newlines="$ff_newlines" "$fill_form_program"
  )
}
