#!/usr/bin/env bash
# Every extension that the server has the files of, each in a database of its own: backed up, verified, restored. With
# Debian's postgresql-15-* packages installed these are well over a hundred.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo build --locked --quiet
backup=$PWD/target/debug/backup
. tests/bench/server.sh

made=0
for extension in $("$PG_BIN/psql" -XAtqd postgres -c "SELECT name FROM pg_available_extensions ORDER BY 1"); do
    database="x_$extension"
    "$PG_BIN/createdb" -T template0 "$database"
    "$PG_BIN/psql" -Xqd "$database" -v ON_ERROR_STOP=1 -c "CREATE EXTENSION IF NOT EXISTS \"$extension\" CASCADE" >/dev/null 2>&1 || {
        echo "$extension cannot be made here" >&2
        "$PG_BIN/dropdb" "$database"
        continue
    }
    "$PG_BIN/psql" -Xqd "$database" -c "CREATE TABLE public.t (a int PRIMARY KEY, b text)" -c "INSERT INTO public.t VALUES (1, 'x')"
    made=$((made + 1))
done
export POSTGRES_DB=postgres BACKUP_DIR=$work/backups BACKUP_DATABASES='x_*'
VERIFY_ENABLED=true "$backup" run
exceptions=$({ grep -l '"exceptions": [1-9]' "$BACKUP_DIR"/*.verify-*.json || true; } | wc -l)
for database in $("$PG_BIN/psql" -XAtqd postgres -c "SELECT datname FROM pg_database WHERE datname LIKE 'x\_%'"); do
    unset BACKUP_DATABASES
    id=$("$backup" list --database "$database" --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["backups"][0]["id"])')
    "$backup" restore "$id" --into "${database}_copy" >/dev/null
    [ "$("$PG_BIN/psql" -XAtqd "${database}_copy" -c 'SELECT b FROM public.t')" = x ] || { echo "$database: its row is lost" >&2; exit 1; }
    "$PG_BIN/dropdb" "${database}_copy"
done
echo "$made extensions came back, $exceptions of them with exceptions"
