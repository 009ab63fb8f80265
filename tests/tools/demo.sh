#!/usr/bin/env bash
# The demo: a throwaway PostgreSQL, a sample shop, a backup, a restore with plain psql, and everything stopped again.
set -euo pipefail
cd "$(dirname "$0")/../.."
. target/tools/demo.env
cargo build --locked --quiet

work=$(mktemp -d "${TMPDIR:-/tmp}/backup-demo-XXXXXX")
step() { printf '\n== %s\n' "$*"; }
as_server() {
    if [ -n "$UNPRIVILEGED" ]; then
        (cd / && setpriv --reuid "$UNPRIVILEGED" --regid "$(id -g "$UNPRIVILEGED")" --clear-groups "$@")
    else
        "$@"
    fi
}
container=
stop() {
    if [ -n "$container" ]; then docker rm -f "$container" >/dev/null; fi
    if [ -e "$work/server/data/postmaster.pid" ]; then
        as_server "$PG_BIN/pg_ctl" -D "$work/server/data" -m fast -w stop >/dev/null
    fi
    rm -rf "$work"
}
trap stop EXIT

export POSTGRES_HOST=127.0.0.1 POSTGRES_USER=backup_user POSTGRES_PASSWORD=backup_password POSTGRES_DB=testdb
port=$(awk 'BEGIN { srand(); print 40000 + int(rand() * 9000) }')
step "starting a throwaway PostgreSQL on port $port"
mkdir "$work/server" "$work/tools"
if [ "$PG_BIN" = docker ]; then
    container=$(docker run -d -p "127.0.0.1:$port:5432" -e POSTGRES_USER -e POSTGRES_PASSWORD -e POSTGRES_DB postgres:17)
    # client tools of the container, told where its server is from inside
    for tool in pg_dump psql createdb; do
        cat >"$work/tools/$tool" <<WRAPPER
#!/bin/sh
exec docker exec -i -e PGUSER -e PGPASSWORD -e PGDATABASE -e PGOPTIONS -e PGAPPNAME -e PGHOST=127.0.0.1 $container $tool "\$@"
WRAPPER
        chmod +x "$work/tools/$tool"
    done
    PG_BIN=$work/tools
else
    if [ -n "$UNPRIVILEGED" ]; then chown "$UNPRIVILEGED" "$work/server" && chmod 755 "$work"; fi
    echo "$POSTGRES_PASSWORD" >"$work/server/password"
    as_server "$PG_BIN/initdb" -D "$work/server/data" -U "$POSTGRES_USER" --pwfile="$work/server/password" \
        --auth=scram-sha-256 -E UTF8 --locale=C -N >/dev/null
    as_server "$PG_BIN/pg_ctl" -D "$work/server/data" -l "$work/server/log" -w \
        -o "-p $port -k $work/server -c listen_addresses=127.0.0.1 -c fsync=off" start >/dev/null
fi
export POSTGRES_PORT=$port PGHOST=127.0.0.1 PGPORT=$port PGUSER=$POSTGRES_USER PGPASSWORD=$POSTGRES_PASSWORD
for _ in $(seq 60); do PGDATABASE=postgres "$PG_BIN/psql" -Xqc 'SELECT 1' >/dev/null 2>&1 && break || sleep 0.5; done
[ -n "$container" ] || "$PG_BIN/createdb" "$POSTGRES_DB"

step "loading the sample shop"
for script in init-scripts/*.sql; do PGDATABASE=$POSTGRES_DB "$PG_BIN/psql" -Xq -v ON_ERROR_STOP=1 <"$script" >/dev/null; done
count="SELECT (SELECT count(*) FROM shop.orders), (SELECT count(*) FROM shop.order_lines), (SELECT count(*) FROM audit.events)"
before=$(PGDATABASE=$POSTGRES_DB "$PG_BIN/psql" -XtAc "$count")
echo "orders, order lines, events: $(echo $before)"

step "backup run"
export BACKUP_DIR=$work/backups PG_BIN_DIR=$PG_BIN
backup=$PWD/target/debug/backup
(cd "$work" && "$backup")

step "sha256sum -c"
(cd "$BACKUP_DIR" && sha256sum -c ./*.sha256)

step "gunzip -c FILE | psql, into a second database"
"$PG_BIN/createdb" restored
gunzip -c "$BACKUP_DIR"/*.sql.gz | PGDATABASE=restored "$PG_BIN/psql" -Xq -v ON_ERROR_STOP=1 >/dev/null
after=$(PGDATABASE=restored "$PG_BIN/psql" -XtAc "$count")
echo "orders, order lines, events: $(echo $after)"
[ "$before" = "$after" ] || { echo "the restored database differs" >&2; exit 1; }

step "backup list"
(cd "$work" && "$backup" list)
step "everything is stopped and removed again"
