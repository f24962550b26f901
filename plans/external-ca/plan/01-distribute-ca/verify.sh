#!/bin/sh
# 01-distribute-ca: the signer's new CA and key to the control planes, bundles to every node
#
# The new CA that the controller manager will sign with lies beside the old one under a new name
# (`ca-new.crt`, `ca-new.key`), and each file of trust gets a bundle beside it (`ca-bundle.crt`)
# that holds old and new. No process reads these files yet, so nothing can break. The old files stay
# as they are until phase 12; the keys of the other new CAs, which no process reads, come with it.
#
# Nodes: 4 files on 2 nodes
# Cluster: nothing
#
# This script looks whether this node, or with --cluster the cluster, is as the phase leaves it. It
# changes nothing; see --help.
set -eu
here=$(CDPATH='' cd -- "${0%"${0##*/}"}." && pwd -P)
# shellcheck source=/dev/null
. "$here/../lib/main.sh"
main verify "$here" "$@"
