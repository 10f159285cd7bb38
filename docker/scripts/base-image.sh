#!/bin/sh
# Makes a Debian base image where no image can be pulled: base-image.sh NAME [SUITE]
#
# The stand-in for python:3.12-slim and nvidia/cuda on a machine without an image registry, as in CI: a bare Debian with
# Python, made by debootstrap from the mirror that apt uses here, with this machine's certificates and pip settings, so
# that a build inside it reaches what this machine reaches. Run as root; takes a minute and a half.
set -eu
name=$1 suite=${2:-bookworm}
mirror=$(apt-get indextargets --format '$(SITE)' "Created-By: Packages" | grep debian | grep -v security | head -n 1)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv "$suite" "$folder" "$mirror" >&2
rm -rf "$folder"/var/cache/apt/archives/*.deb "$folder"/var/lib/apt/lists/*

cp /etc/ssl/certs/ca-certificates.crt "$folder/etc/ssl/certs/ca-certificates.crt"
if [ -f /etc/pip.conf ]; then cp /etc/pip.conf "$folder/etc/pip.conf"; fi
set --
for variable in PIP_FIND_LINKS PIP_INDEX_URL PIP_CERT SSL_CERT_FILE; do
  value=$(printenv "$variable" || true)
  if [ -n "$value" ]; then set -- "$@" --change "ENV $variable=$value"; fi
done
if [ -d "${PIP_FIND_LINKS:-}" ]; then
  mkdir -p "$folder$PIP_FIND_LINKS"
  cp "$PIP_FIND_LINKS"/* "$folder$PIP_FIND_LINKS/"
fi
tar -C "$folder" -c . | docker import --change 'CMD ["/bin/sh"]' "$@" - "$name"
