#!/bin/sh
# sbom.sh IMAGE FOLDER: takes the list of everything inside (CycloneDX) out of the image; red when it is empty.
set -eu
image=$1 folder=$2
mkdir -p "$folder"
container=$(docker create "$image")
trap 'docker rm "$container" >/dev/null' EXIT
docker cp "$container:/usr/share/tandem/sbom.cdx.json" "$folder/sbom.cdx.json"
if ! grep -q '"bomFormat": *"CycloneDX"' "$folder/sbom.cdx.json" || ! grep -q '"purl"' "$folder/sbom.cdx.json"; then
    echo "the image's list of its own parts is none" >&2
    exit 1
fi
