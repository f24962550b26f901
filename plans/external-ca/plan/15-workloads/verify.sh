#!/bin/sh
# 15-workloads: roll workloads that mount re-issued certificates
#
# A server that read its certificate from a Secret when it started goes on with the old one. What 04
# rolled for the sake of its trust is not rolled again for the same reason.
#
# Nodes: nothing
# Cluster: nothing
#
# This script looks whether this node, or with --cluster the cluster, is as the phase leaves it. It
# changes nothing; see --help.
set -eu
here=$(CDPATH='' cd -- "${0%"${0##*/}"}." && pwd -P)
# shellcheck source=/dev/null
. "$here/../lib/main.sh"
main verify "$here" "$@"
