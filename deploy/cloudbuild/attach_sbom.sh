#!/bin/sh
# attach_sbom.sh FOLDER BUCKET: files FOLDER/sbom.cdx.json with the image that FOLDER/image names; without a bucket it
# is only in the image and in the build's folder.
set -eu
folder=$1 bucket=$2
if [ -z "$bucket" ]; then
    echo "no bucket is named: the list stays inside the image, /usr/share/tandem/sbom.cdx.json"
    exit 0
fi
gcloud artifacts sbom load --quiet --source="$folder/sbom.cdx.json" --uri="$(cat "$folder/image")" --destination="$bucket"
