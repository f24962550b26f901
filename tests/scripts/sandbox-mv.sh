#!/bin/sh
# Stands before mv: before an action is noted in the journal, keeps everything of $SNAPSHOT_OF as a run
# that is killed here would leave it, in $SNAPSHOTS/<number of the action>.
set -eu
for last; do :; done
case $last in
  */progress)
    read -r n <"${last%/*}/.mark"
    mkdir -p "$SNAPSHOTS/$n"
    IFS=:
    for what in $SNAPSHOT_OF; do
      /usr/bin/cp -a "$what" "$SNAPSHOTS/$n/"
    done
    ;;
esac
exec /usr/bin/mv "$@"
