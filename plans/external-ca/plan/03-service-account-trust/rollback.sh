#!/bin/sh
# 03-service-account-trust: wait until every namespace has old and new CA
#
# The leading controller manager writes ConfigMap `kube-root-ca.crt` and the `ca.crt` of token
# Secrets in every namespace. They are its objects, so they are waited for and never applied: it
# would revert a foreign edit. On clusters with many namespaces it lags.
#
# Nodes: nothing
# Cluster: wait-ca-all 1
#
# This script puts back what the phase found here, from the backup that apply.sh made: every byte, mode
# and owner. README.md says until when that is safe; --dry-run tells what it would do; see --help.
set -eu
here=$(CDPATH='' cd -- "${0%"${0##*/}"}." && pwd -P)
# shellcheck source=/dev/null
. "$here/../lib/main.sh"
main rollback "$here" "$@"
