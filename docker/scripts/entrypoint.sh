#!/bin/sh
# Runs a program of the training image as somebody who is not root and may write where the results go.
#
# Compose cannot know who calls it, and starts us as root with next to no capabilities: whoever owns the mounted folders
# is whom to become, so that checkpoints and logs belong to the caller. A caller who is root gets an owner without rights.
set -eu

if [ "$(id -u)" = 0 ]; then
  owner=$(stat -c %u:%g checkpoints)
  if [ "${owner%%:*}" = 0 ]; then
    owner=10001:10001
    chown -R "$owner" checkpoints logs
  fi
  exec setpriv --reuid "${owner%%:*}" --regid "${owner##*:}" --clear-groups --no-new-privs "$0" "$@"
fi

for folder in ${BROWSER_CONTROL_RUNS:-} ${BROWSER_CONTROL_LOGS:-}; do  # set by compose
  if [ ! -w "$folder" ]; then
    echo "error: $folder cannot be written by user $(id -u): on the host, give it to that user, or run as its owner" >&2
    exit 2
  fi
done
exec "$@" 2>&1  # of two streams the engine would not keep the order
