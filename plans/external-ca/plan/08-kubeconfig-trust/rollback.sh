#!/bin/sh
# 08-kubeconfig-trust: kubeconfigs of control plane, node agents and users trust both CAs
#
# A client that knows only the old CA fails at the first write of phase 14, when API servers begin
# to serve the new certificate. So everybody gets the widened file now, copies of admin.conf on the
# nodes included (gaps G13, G15).
#
# Nodes: 7 files on 1 node
# Cluster: nothing
#
# This script puts back what the phase found here, from the backup that apply.sh made: every byte, mode
# and owner. README.md says until when that is safe; --dry-run tells what it would do; see --help.
set -eu
here=$(CDPATH='' cd -- "${0%"${0##*/}"}." && pwd -P)
# shellcheck source=/dev/null
. "$here/../lib/main.sh"
main rollback "$here" "$@"
