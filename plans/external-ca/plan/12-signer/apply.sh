#!/bin/sh
# 12-signer: kube-controller-manager signs with the new CA; original files hold both
#
# From here on every certificate that the cluster issues by itself (a kubelet that renews, a node
# that joins, a CSR) is of the new CA, and every verifier trusts it already. The signer takes one
# certificate, so it gets the new CA's own files. When it no longer reads them, the original files
# get both CAs, new first, so that what trusts by path (kubeadm, backup jobs, probes) holds when
# servers switch (gap G16), and the new key beside them.
#
# Nodes: 5 files on 2 nodes
# Cluster: nothing
#
# This script carries the phase out, here: on this node, or with --cluster on the cluster. It checks
# before it writes, can be started again at any time, and tells with --dry-run what it would do; see --help.
set -eu
here=$(CDPATH='' cd -- "${0%"${0##*/}"}." && pwd -P)
# shellcheck source=/dev/null
. "$here/../lib/main.sh"
main apply "$here" "$@"
