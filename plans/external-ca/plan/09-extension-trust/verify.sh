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
# This script looks whether this node, or with --cluster the cluster, is as the phase leaves it. It
# changes nothing; see --help.
set -eu
here=$(CDPATH='' cd -- "${0%"${0##*/}"}." && pwd -P)
# shellcheck source=/dev/null
. "$here/../lib/main.sh"
main verify "$here" "$@"
