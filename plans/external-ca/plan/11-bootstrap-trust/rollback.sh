#!/bin/sh
# 11-bootstrap-trust: joining nodes trust both CAs: cluster-info and bootstrap kubeconfigs
#
# The page updates `cluster-info` after the API servers have switched; a node that joins in between
# would trust the wrong CA (gap G11). With both CAs in it, `kubeadm join` accepts a pin of either.
#
# Nodes: nothing
# Cluster: note 1, patch 1
#
# This script puts back what the phase found here, from the backup that apply.sh made: every byte, mode
# and owner. README.md says until when that is safe; --dry-run tells what it would do; see --help.
set -eu
here=$(CDPATH='' cd -- "${0%"${0##*/}"}." && pwd -P)
# shellcheck source=/dev/null
. "$here/../lib/main.sh"
main rollback "$here" "$@"
