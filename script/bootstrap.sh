# The scripts source this file (POSIX sh). It finds a Python, makes .venv and installs a requirements
# file into it whenever that file changes. Use:
#
#     root=$(cd "$(dirname "$0")/.." && pwd)
#     . "$root/script/bootstrap.sh"
#     ensure_venv "$root" requirements.txt      # afterwards $python is .venv's
#
# JOBU_PYTHON=/path/to/python3.12 chooses the interpreter of a new .venv.

say() {
    printf 'jobu: %s\n' "$*" >&2
}

fail() {
    say "$*"
    exit 1
}

is_python_311() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

# Prints the first Python 3.11 or newer. It runs each candidate, because the shim of a version manager
# may be on PATH and still refuse to run.
find_python() {
    if [ -n "${JOBU_PYTHON:-}" ]; then
        is_python_311 "$JOBU_PYTHON" || fail "JOBU_PYTHON=$JOBU_PYTHON is not a Python 3.11 or newer."
        printf '%s\n' "$JOBU_PYTHON"
        return
    fi
    for candidate in python3 python3.13 python3.12 python3.11 python; do
        if is_python_311 "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    fail "no Python 3.11 or newer on PATH. Install one, or name it: JOBU_PYTHON=/path/to/python3."
}

make_venv() {
    base=$(find_python) || exit 1
    say "making .venv with $("$base" --version)"
    # uv keeps the files of .venv, but another minor version cannot use the installed packages.
    rm -f "$1"/.venv/.installed-*
    if command -v uv >/dev/null 2>&1; then
        uv venv --quiet --allow-existing --python "$base" "$1/.venv" || fail "uv could not make .venv."
    else
        "$base" -m venv --clear "$1/.venv" ||
            fail "could not make .venv. On Debian and Ubuntu this needs the package python3-venv."
    fi
}

install_requirements() {
    if command -v uv >/dev/null 2>&1; then
        uv pip install --quiet --python "$1/.venv/bin/python" --compile-bytecode -r "$1/$2"
        return
    fi
    # A .venv that uv has made contains no pip.
    "$1/.venv/bin/python" -m pip --version >/dev/null 2>&1 ||
        "$1/.venv/bin/python" -m ensurepip >/dev/null || return 1
    # pip compiles on one processor only, which takes half of its time. Files that do not compile are
    # of no use to anybody; pip ignores them too.
    "$1/.venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile \
        -r "$1/$2" || return 1
    "$1/.venv/bin/python" -m compileall -q -j 0 "$1/.venv/lib" >/dev/null 2>&1 || true
}

# A requirements file may include another one: therefore the checksum covers all of them.
requirements_checksum() {
    cat "$1"/requirements*.txt | cksum
}

refresh_venv() {
    is_python_311 "$1/.venv/bin/python" || make_venv "$1"
    stamp=$1/.venv/.installed-$2
    wanted=$(requirements_checksum "$1")
    if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$wanted" ]; then
        say "installing $2"
        install_requirements "$1" "$2" || fail "could not install $2."
        printf '%s\n' "$wanted" >"$stamp"
    fi
}

# ensure_venv ROOT REQUIREMENTS-FILE
ensure_venv() {
    # Two scripts that start at the same time must not install at the same time. The lock is beside
    # .venv: inside, `python -m venv --clear` would delete it, and uv itself locks .venv/.lock.
    if command -v flock >/dev/null 2>&1; then
        (flock 9 && refresh_venv "$1" "$2" 9>&-) 9>"$1/.venv.lock" || exit 1
    else
        (refresh_venv "$1" "$2") || exit 1
    fi
    # shellcheck disable=SC2034  # for the script that sources this file
    python=$1/.venv/bin/python
}
