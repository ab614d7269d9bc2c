#!/bin/sh
# health.sh [web|beat|worker|flower]: exits with 0 if this container works, else with 1 and a reason.
set -eu

role=${1:-$(cat "${JOBU_ROLE_FILE:-/tmp/jobu-role}" 2>/dev/null || true)}

case $role in
web)
    # /ready checks the database and the broker. The container cannot repair those: the answer only
    # removes it from a load balancer. The pages themselves work as long as /health answers.
    exec python /opt/jobu/docker/answers.py "http://127.0.0.1:${JOBU_WEB_PORT:-8000}/ready"
    ;;
flower)
    exec python /opt/jobu/docker/answers.py "http://127.0.0.1:${JOBU_FLOWER_PORT:-5555}/healthcheck"
    ;;
beat | worker)
    # --here: only the heartbeat of this container counts, not that of the other beat. Through the
    # entrypoint, because a check has the environment of the container, where secrets may still be
    # paths of files.
    exec /opt/jobu/docker/entrypoint.sh manage probe --here "$role"
    ;;
*)
    echo "jobu: health.sh does not know the role '$role'" >&2
    exit 1
    ;;
esac
