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
# This script puts back what the phase found here, from the backup that apply.sh made: every byte, mode
# and owner. README.md says until when that is safe; --dry-run tells what it would do; see --help.
set -eu
here=$(CDPATH='' cd -- "${0%"${0##*/}"}." && pwd -P)
# shellcheck source=/dev/null
. "$here/../lib/main.sh"
main rollback "$here" "$@"
