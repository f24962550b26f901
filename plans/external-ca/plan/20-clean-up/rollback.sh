#!/bin/sh
# 20-clean-up: remove helper files, backups and old keys
#
# No flag names the bundles and the new CA's second copies any more. The backups hold the old CA's
# key; they go only when asked for by name.
#
# Nodes: 5 files on 2 nodes
# Cluster: nothing
#
# This script puts back what the phase found here, from the backup that apply.sh made: every byte, mode
# and owner. README.md says until when that is safe; --dry-run tells what it would do; see --help.
set -eu
here=$(CDPATH='' cd -- "${0%"${0##*/}"}." && pwd -P)
# shellcheck source=/dev/null
. "$here/../lib/main.sh"
main rollback "$here" "$@"
