#!/bin/sh
# health.sh [web|beat|worker|flower]: 0 when this container does its work, 1 and a line why when not.
set -eu

role=${1:-$(cat "${JOBU_ROLE_FILE:-/tmp/jobu-role}" 2>/dev/null || true)}

case $role in
web)
    # /ready asks the database and the broker. A container cannot mend those: its answer takes it out
    # of a load balancer; the pages themselves are up as long as /health is.
    exec python /opt/jobu/docker/answers.py "http://127.0.0.1:${JOBU_WEB_PORT:-8000}/ready"
    ;;
flower)
    exec python /opt/jobu/docker/answers.py "http://127.0.0.1:${JOBU_FLOWER_PORT:-5555}/healthcheck"
    ;;
beat | worker)
    # This container's own heartbeat, not that of any: the other beat must not answer for this one.
    # By the entrypoint: a check starts with the container's own environment, where the secrets may
    # still be names of files.
    exec /opt/jobu/docker/entrypoint.sh manage probe --here "$role"
    ;;
*)
    echo "jobu: health.sh does not know the role '$role'" >&2
    exit 1
    ;;
esac
