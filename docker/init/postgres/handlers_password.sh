#!/bin/sh
# Runs after init.sql, once: the handlers' user gets its real password. The image's own variables say
# where; by hand set POSTGRES_USER and POSTGRES_DB (and PGHOST, PGPORT, PGPASSWORD as psql wants them).
set -eu
: "${JOBU_HANDLERS_PASSWORD:?the password of the user jobu_handlers is not set}"

# psql quotes the value; it stands in no command line.
psql -v ON_ERROR_STOP=1 --no-psqlrc --quiet --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
\getenv password JOBU_HANDLERS_PASSWORD
alter role jobu_handlers password :'password';
SQL
