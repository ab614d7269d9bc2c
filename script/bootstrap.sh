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

has_uv() {
    command -v uv >/dev/null 2>&1
}

is_python_311() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

# Debian and Ubuntu ship `venv` and `ensurepip` in a package of their own. uv needs neither.
can_make_venv() {
    has_uv || "$1" -c 'import ensurepip, venv' >/dev/null 2>&1
}

# Prints the first Python 3.11 or newer that can make .venv. It runs each candidate, because the shim
# of a version manager may be on PATH and still refuse to run.
find_python() {
    if [ -n "${JOBU_PYTHON:-}" ]; then
        is_python_311 "$JOBU_PYTHON" || fail "JOBU_PYTHON=$JOBU_PYTHON is not a Python 3.11 or newer."
        can_make_venv "$JOBU_PYTHON" || fail_without_venv "$JOBU_PYTHON"
        printf '%s\n' "$JOBU_PYTHON"
        return
    fi
    without_venv=
    for candidate in python3 python3.13 python3.12 python3.11 python; do
        if is_python_311 "$candidate"; then
            if can_make_venv "$candidate"; then
                printf '%s\n' "$candidate"
                return
            fi
            without_venv=${without_venv:-$candidate}
        fi
    done
    [ -z "$without_venv" ] || fail_without_venv "$without_venv"
    fail "no Python 3.11 or newer on PATH. Install one, or name it: JOBU_PYTHON=/path/to/python3."
}

fail_without_venv() {
    version=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    fail "$1 ($version) cannot make .venv, because it has no module venv or ensurepip." \
        "On Debian and Ubuntu: sudo apt install python$version-venv. Or install uv, or name another" \
        "Python: JOBU_PYTHON=/path/to/python3."
}

make_venv() {
    base=$(find_python) || exit 1
    say "making .venv with $("$base" --version)"
    # uv keeps the files of .venv, but another minor version cannot use the installed packages.
    rm -f "$1"/.venv/.installed-*
    if has_uv; then
        problem=$(uv venv --quiet --allow-existing --python "$base" "$1/.venv" 2>&1)
    else
        problem=$("$base" -m venv --clear "$1/.venv" 2>&1)
    fi && return
    # The rest of a .venv would look like a whole one at the next start.
    rm -rf "$1/.venv"
    fail_because "could not make .venv" "$problem"
}

install_requirements() {
    if has_uv; then
        uv pip install --python "$1/.venv/bin/python" --compile-bytecode -r "$1/$2"
        return
    fi
    # A .venv that uv has made contains no pip.
    "$1/.venv/bin/python" -m pip --version >/dev/null 2>&1 ||
        "$1/.venv/bin/python" -m ensurepip >/dev/null || return 1
    # A uv that the file pins installs the rest in seconds. It knows no pip.conf: where it cannot
    # reach the index, pip can.
    uv=$(sed -n 's/^\(uv==[^ ]*\).*/\1/p' "$1/$2")
    if [ -z "$uv" ] || ! pip_install "$1" --quiet "$uv" ||
        ! "$1/.venv/bin/uv" pip install --python "$1/.venv/bin/python" -r "$1/$2"; then
        pip_install "$1" -r "$1/$2" || return 1
    fi
    # pip compiles on one processor only, which takes half of its time. Files that do not compile are
    # of no use to anybody; pip ignores them too. Large packages of which hardly anything is imported
    # as Python wait for their first import.
    "$1/.venv/bin/python" -m compileall -q -j 0 "$1/.venv/lib" \
        -x '/(pip|setuptools|mypy|mypyc|graphql|trio|pygments|devtools)/' >/dev/null 2>&1 || true
}

pip_install() {
    place=$1
    shift
    "$place/.venv/bin/python" -m pip install --progress-bar off --disable-pip-version-check \
        --no-compile "$@"
}

# Copies the output of pip or uv, and says on stderr how far it is: in one line that changes on a
# terminal, and every ten packages elsewhere.
show_progress() {
    found=0
    while IFS= read -r line; do
        printf '%s\n' "$line"
        case $line in
        "Collecting "*)
            found=$((found + 1))
            package=${line#Collecting }
            package=${package%%[!A-Za-z0-9._-]*}
            if [ -t 2 ]; then
                printf '\r\033[Kjobu: package %d: %s' "$found" "$package" >&2
            elif [ $((found % 10)) -eq 0 ]; then
                say "$found packages so far"
            fi
            ;;
        "Installing collected packages"*)
            [ ! -t 2 ] || printf '\r\033[K' >&2
            say "unpacking $found packages; the installation is almost done"
            ;;
        "Resolved "* | "Prepared "*) say "$line" ;;
        "Downloading "* | "Building "*)  # uv, which installs in seconds
            ! has_uv || say "$line"
            ;;
        esac
    done
}

# fail_because WHAT OUTPUT   Ends with one sentence about WHAT and one with what to do.
fail_because() {
    case $2 in
    *"No space left on device"*)
        fail "$1: the disk is full. Free some space (.venv takes about 300 MB) and start again." ;;
    *"Read-only file system"* | *"Permission denied"*)
        fail "$1: $root is not writable. Copy the checkout to a directory of your own." ;;
    *"Failed to establish a new connection"* | *"NewConnectionError"* | *"Connection refused"* | \
    *"name resolution"* | *"Network is unreachable"* | *"ConnectTimeout"* | *"Read timed out"* | \
    *"Cannot connect to proxy"* | *"error sending request"* | *"dns error"* | *"Failed to fetch"*)
        fail "$1: the package index cannot be reached. Connect this machine, or name a mirror" \
            "(PIP_INDEX_URL, with uv UV_INDEX_URL), and start again." ;;
    esac
    reason=$(printf '%s\n' "$2" | grep -i 'error' | tail -n 1)
    fail "$1: ${reason:-$(printf '%s\n' "$2" | tail -n 1)}"
}

# A requirements file may include another one: therefore the checksum covers all of them.
requirements_checksum() {
    cat "$1"/requirements*.txt | cksum
}

is_installed() {
    stamp=$1/.venv/.installed-$2
    is_python_311 "$1/.venv/bin/python" && [ -f "$stamp" ] &&
        [ "$(cat "$stamp")" = "$(requirements_checksum "$1")" ]
}

DONE="jobu: installed"

refresh_venv() {
    is_python_311 "$1/.venv/bin/python" || make_venv "$1"
    ! is_installed "$1" "$2" || return 0
    say "installing $2 into .venv; the first time this takes a minute or more"
    # The output stays in a variable, because a full disk could not take it. The last line tells of
    # success: the exit code of a pipeline is that of its last command.
    output=$({ install_requirements "$1" "$2" 2>&1 && echo "$DONE"; } | show_progress)
    case $output in
    *"$DONE") ;;
    *) fail_because "could not install $2" "$output" ;;
    esac
    (requirements_checksum "$1" >"$1/.venv/.installed-$2") 2>/dev/null ||
        fail_because "could not install $2" "No space left on device"
}

# Takes the lock on descriptor 9. Says so if it has to wait: an installation takes a minute.
wait_for_lock() {
    flock -n 9 && return
    say "another script is installing into .venv; waiting until it has ended"
    flock 9
}

# ensure_venv ROOT REQUIREMENTS-FILE
ensure_venv() {
    # shellcheck disable=SC2034  # for the script that sources this file
    python=$1/.venv/bin/python
    # What is in place needs no lock, which a read-only checkout could not have.
    ! is_installed "$1" "$2" || return 0
    (: >>"$1/.venv.lock") 2>/dev/null ||
        fail "$1 is not writable, or its disk is full, so .venv cannot be made there." \
            "Copy the checkout to a directory of your own."
    # Two scripts that start at the same time must not install at the same time. The lock is beside
    # .venv: inside, `python -m venv --clear` would delete it, and uv itself locks .venv/.lock.
    if command -v flock >/dev/null 2>&1; then
        (wait_for_lock && refresh_venv "$1" "$2" 9>&-) 9>"$1/.venv.lock" || exit 1
    else
        (refresh_venv "$1" "$2") || exit 1
    fi
}
