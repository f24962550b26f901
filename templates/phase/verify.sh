#!/bin/sh
# {{ phase.name }}: {{ title }}
#
{% for line in summary -%}
# {{ line }}
{% endfor -%}
#
# Nodes: {{ nodes }}
# Cluster: {{ cluster }}
#
# This script looks whether this node, or with --cluster the cluster, is as the phase leaves it. It
# changes nothing; see --help.
set -eu
here=$(CDPATH='' cd -- "${0%"${0##*/}"}." && pwd -P)
# shellcheck source=/dev/null
. "$here/../lib/main.sh"
main verify "$here" "$@"
