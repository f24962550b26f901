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
# This script carries the phase out, here: on this node, or with --cluster on the cluster. It checks
# before it writes, can be started again at any time, and tells with --dry-run what it would do; see --help.
set -eu
here=$(CDPATH='' cd -- "${0%"${0##*/}"}." && pwd -P)
# shellcheck source=/dev/null
. "$here/../lib/main.sh"
main apply "$here" "$@"
