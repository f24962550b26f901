#!/bin/sh
# 09-extension-trust: webhooks, APIServices, CRD conversion and declared consumers trust both CAs
#
# A `caBundle` that holds the old CA is widened before a handler's certificate can change in 14.
# Handlers and aggregated API servers start anew, so that they trust the new CAs which API servers
# present from 14 on.
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
