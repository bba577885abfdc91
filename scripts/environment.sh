# Makes a Python environment and installs the kit into it; sourced by scripts/demo, scripts/test and scripts/prove.
# shellcheck shell=bash

# The first Python here between 3.10 and 3.13; PYTHON=... chooses another.
find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.10}; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "${0##*/}: no Python between 3.10 and 3.13 here: install one, or name it with PYTHON=..." >&2
    return 1
}

# apt_install PACKAGE... : as root on Debian and its kin; anything else is an error that the caller words.
apt_install() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
    local log
    log=$(mktemp)
    if ! { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"; } \
        >"$log" 2>&1 </dev/null; then
        tail -n 5 "$log" >&2
        rm -f "$log"
        return 1
    fi
    rm -f "$log"
}

# make_environment FOLDER REQUIREMENT [REQUIREMENT...] : a virtual environment that holds the requirements; the first may
# be ".[extra]", this checkout. A requirement after "--no-deps" comes without what it asks for. Does nothing when neither
# pyproject.toml nor the requirements nor Python changed since the last time.
make_environment() {
    local folder=$1 python stamp log group=() alone=()
    shift
    python=$(find_python) || return 1
    stamp=$("$python" -c 'import hashlib, sys; print(hashlib.sha256("\0".join([
        open("pyproject.toml").read(), sys.version, *sys.argv[1:]]).encode()).hexdigest())' "$PWD" "$@")
    [ "$(cat "$folder/.stamp" 2>/dev/null || true)" = "$stamp" ] && return 0

    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null && ! apt_install python3-venv; then
        echo "${0##*/}: could not install python3-venv, which makes the environment: install it with your system's tool" >&2
        return 1
    fi
    log=$(mktemp)
    if ! "$python" -m venv --clear "$folder" >"$log" 2>&1; then
        tail -n 3 "$log" >&2
        echo "${0##*/}: could not make the environment ${folder##*/} with $python -m venv" >&2
        return 1
    fi
    while [ $# -gt 0 ] && [ "$1" != --no-deps ]; do group+=("$1"); shift; done
    [ $# -gt 0 ] && shift && alone=("$@")
    install_into "$folder" "$log" --editable "${group[@]}" || return 1
    [ ${#alone[@]} -eq 0 ] || install_into "$folder" "$log" --no-deps "${alone[@]}" || return 1
    rm -f "$log"
    echo "$stamp" >"$folder/.stamp"
}

# install_into FOLDER LOG ARGUMENT... : pip install, silent unless it fails.
install_into() {
    local folder=$1 log=$2
    shift 2
    if ! "$folder/bin/python" -m pip install --disable-pip-version-check --no-input "$@" >"$log" 2>&1; then
        grep -E '^ *(ERROR|error)' "$log" | grep -v Ignored | tail -n 1 >&2 || true
        echo "${0##*/}: could not install ${*: -1} into ${folder##*/} (pip's output: $log)" >&2
        return 1
    fi
}
