#!/bin/sh
# push.sh IMAGE FOLDER: pushes the image and leaves its name by digest in FOLDER/image: what was tested is what is
# deployed, whatever becomes of the tag.
set -eu
image=$1 folder=$2
mkdir -p "$folder"
docker push "$image"
docker image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$image" |
    grep -F "${image%:*}@sha256:" | head -n 1 >"$folder/image"
test -s "$folder/image"
cat "$folder/image"
