#!/bin/sh
# 15-workloads: roll workloads that mount re-issued certificates
#
# A server that read its certificate from a Secret when it started goes on with the old one. What 04
# rolled for the sake of its trust is not rolled again for the same reason.
#
# Nodes: nothing
# Cluster: nothing
#
# This script carries the phase out, here: on this node, or with --cluster on the cluster. It checks
# before it writes, can be started again at any time, and tells with --dry-run what it would do; see --help.
set -eu
here=$(CDPATH='' cd -- "${0%"${0##*/}"}." && pwd -P)
# shellcheck source=/dev/null
. "$here/../lib/main.sh"
main apply "$here" "$@"
