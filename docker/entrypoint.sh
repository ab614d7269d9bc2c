#!/bin/sh
# entrypoint.sh web | beat | worker | flower | migrate | manage   [arguments of the program]
#
# Each role ends in `exec`: the program itself gets the signals. Nothing here waits for a server;
# every program tries again by itself, and `migrate` fails for whoever started it to try again.
set -eu

usage() {
    echo "usage: entrypoint.sh web|beat|worker|flower|migrate|manage [arguments]" >&2
    exit 64
}

refuse() {
    echo "jobu: $*" >&2
    exit 78
}

# NAME_FILE names a file that holds NAME, as secrets are mounted into containers.
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

# For health.sh; a container without a /tmp to write to is asked with the role as an argument.
[ "$role" = manage ] || [ "$role" = migrate ] ||
    (umask 077 && echo "$role" >"${JOBU_ROLE_FILE:-/tmp/jobu-role}") 2>/dev/null || true

# Flower's password is for Flower alone.
if [ "$role" != flower ]; then
    unset JOBU_FLOWER_PASSWORD JOBU_FLOWER_USER || true
fi

case $role in
web)
    # WEB_CONCURRENCY is gunicorn's own: how many processes.
    exec gunicorn jobu_project.wsgi --bind "0.0.0.0:${JOBU_WEB_PORT:-8000}" \
        --threads "${JOBU_WEB_THREADS:-8}" --timeout 60 --graceful-timeout 20 \
        --no-control-socket "$@"
    ;;
beat)
    exec celery -A jobu_project beat "$@"
    ;;
worker)
    # Events are what Flower shows. Gossip and mingle would make every worker listen to every other.
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
    # In the environment, because command lines can be read by everybody on the host.
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
