#!/bin/sh
# build.sh IMAGE: the container image, labelled with the version of pyproject.toml, $REVISION and $SOURCE.
set -eu
image=$1
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
DOCKER_BUILDKIT=1 docker build --pull --tag "$image" \
    --build-arg "PYTHON=$PYTHON" \
    --build-arg "VERSION=$version" \
    --build-arg "REVISION=${REVISION:-unknown}" \
    --build-arg "SOURCE=${SOURCE:-unknown}" \
    --label "org.opencontainers.image.created=$(date -u +%Y-%m-%dT%H:%M:%SZ)" \
    .
