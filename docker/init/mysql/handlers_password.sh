#!/bin/sh
# Runs after init.sql, once: the handlers' user gets its real password. By hand set MYSQL_ROOT_PASSWORD,
# MYSQL_ADMIN_USER when it is not root, and give the client's own options (--host ...) as arguments.
set -eu
: "${JOBU_HANDLERS_PASSWORD:?the password of the user jobu_handlers is not set}"

# The client cannot quote a value by itself.
case $JOBU_HANDLERS_PASSWORD in
*[!A-Za-z0-9._~-]*)
    echo "JOBU_HANDLERS_PASSWORD: only letters, digits and . _ ~ -" >&2
    exit 78
    ;;
esac

MYSQL_PWD=${MYSQL_ROOT_PASSWORD:-} mysql "$@" --user="${MYSQL_ADMIN_USER:-root}" <<SQL
alter user 'jobu_handlers'@'%' identified by '$JOBU_HANDLERS_PASSWORD';
SQL
