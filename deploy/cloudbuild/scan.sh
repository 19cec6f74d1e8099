#!/bin/sh
# scan.sh IMAGE LOCATION SEVERITIES: looks the image's packages up before anybody can pull it; red when one has a known
# vulnerability of these severities (as in CRITICAL or CRITICAL,HIGH). Needs gcloud's component local-extract.
set -eu
image=$1 location=$2 severities=$3
scan=$(gcloud artifacts docker images scan "$image" --location="$location" --format='value(response.scan)' --quiet)
if [ -z "$scan" ]; then
    echo "the scan has no result" >&2
    exit 1
fi
found=$(gcloud artifacts docker images list-vulnerabilities "$scan" --quiet \
    --format='value(vulnerability.effectiveSeverity,noteName)')
red=$(printf '%s\n' "$found" | grep -E "^($(printf %s "$severities" | tr , '|'))([[:space:]]|\$)" || true)
if [ -n "$red" ]; then
    printf 'vulnerabilities that are not let through (%s):\n%s\n' "$severities" "$red" >&2
    exit 1
fi
echo "no vulnerability of severity $severities"
