#!/bin/sh
# entrypoint.sh web | beat | worker | flower | migrate | manage   [arguments of the program]
#
# Each role ends in `exec`, so that the program itself gets the signals. This script waits for no
# server: every program tries again by itself. `migrate` fails, and its caller tries again.
set -eu

usage() {
    echo "usage: entrypoint.sh web|beat|worker|flower|migrate|manage [arguments]" >&2
    exit 64
}

refuse() {
    echo "jobu: $*" >&2
    exit 78
}

# NAME_FILE is the path of a file that contains the value of NAME, like a secret of a container.
from_file() {
    eval "file=\${$1_FILE:-}"
    [ -n "$file" ] || return 0
    eval "given=\${$1:-}"
    [ -z "$given" ] || refuse "$1 and $1_FILE are both set"
    [ -r "$file" ] || refuse "$1_FILE: $file cannot be read"
    value=$(cat "$file")
    export "$1=$value"
    unset "$1_FILE" value
}

[ $# -gt 0 ] || usage
role=$1
shift

for name in JOBU_SECRET_KEY JOBU_DATABASE_URL JOBU_BROKER_URL JOBU_POSTGRES_1_URL JOBU_MYSQL_1_URL \
    JOBU_FLOWER_PASSWORD; do
    from_file "$name"
done

case $role in
web | beat | worker | flower | migrate | manage) ;;
*) usage ;;
esac

# For health.sh. Without a writable /tmp, pass the role to health.sh as an argument.
[ "$role" = manage ] || [ "$role" = migrate ] ||
    (umask 077 && echo "$role" >"${JOBU_ROLE_FILE:-/tmp/jobu-role}") 2>/dev/null || true

# Only Flower needs Flower's password.
if [ "$role" != flower ]; then
    unset JOBU_FLOWER_PASSWORD JOBU_FLOWER_USER || true
fi

case $role in
web)
    # gunicorn itself reads WEB_CONCURRENCY, the number of processes.
    exec gunicorn jobu_project.wsgi --bind "0.0.0.0:${JOBU_WEB_PORT:-8000}" \
        --threads "${JOBU_WEB_THREADS:-8}" --timeout 60 --graceful-timeout 20 \
        --no-control-socket "$@"
    ;;
beat)
    exec celery -A jobu_project beat "$@"
    ;;
worker)
    # Flower shows events (-E). With gossip and mingle every worker would listen to every other one.
    exec celery -A jobu_project worker --without-gossip --without-mingle -E "$@"
    ;;
flower)
    password=${JOBU_FLOWER_PASSWORD:-}
    user=${JOBU_FLOWER_USER:-admin}
    [ -n "$password" ] || refuse "JOBU_FLOWER_PASSWORD is not set; Flower is never open to everybody"
    case $user$password in
    *[!\ -~]* | *,*) refuse "JOBU_FLOWER_PASSWORD: only ASCII without commas works with Flower" ;;
    esac
    case $user in
    *:*) refuse "JOBU_FLOWER_USER must not contain a colon" ;;
    esac
    # In the environment, because every user of the host can read command lines.
    export FLOWER_BASIC_AUTH="$user:$password"
    unset JOBU_FLOWER_PASSWORD JOBU_FLOWER_USER password
    exec celery -A jobu_project flower --address=0.0.0.0 --port="${JOBU_FLOWER_PORT:-5555}" "$@"
    ;;
migrate)
    exec python manage.py migrate --noinput "$@"
    ;;
manage)
    exec python manage.py "$@"
    ;;
esac
