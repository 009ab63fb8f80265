#!/usr/bin/env bash
# Speed, size and memory side by side: interleaved runs, medians, ratios. BENCH_RUNS (5), BENCH_SCALE (1, about 1 GB).
#
# Every command dumps the same database of a throwaway server on this machine; raw pg_dump is the limit.
set -euo pipefail
cd "$(dirname "$0")/../.."
. target/tools/test.env
runs=${BENCH_RUNS:-5} scale=${BENCH_SCALE:-1}
for tool in gzip pigz /usr/bin/time; do
    command -v "$tool" >/dev/null || { echo "bench: $tool is missing (Debian packages gzip, pigz, time)" >&2; exit 1; }
done
cargo build --release --locked --quiet
backup=$PWD/target/release/backup

work=$(mktemp -d "${TMPDIR:-/tmp}/backup-bench-XXXXXX")
mkdir "$work/server" "$work/store"
chmod 755 "$work"
as_server() {
    if [ -n "$UNPRIVILEGED" ]; then
        (cd / && setpriv --reuid "$UNPRIVILEGED" --regid "$(id -g "$UNPRIVILEGED")" --clear-groups "$@")
    else
        "$@"
    fi
}
[ -z "$UNPRIVILEGED" ] || chown "$UNPRIVILEGED" "$work/server"
weed=
stop() {
    [ -z "$weed" ] || kill "$weed" 2>/dev/null || true
    [ ! -e "$work/server/data/postmaster.pid" ] || as_server "$PG_BIN/pg_ctl" -D "$work/server/data" -m immediate -w stop >/dev/null
    rm -rf "$work"
}
trap stop EXIT

port=$(awk 'BEGIN { srand(); print 30000 + int(rand() * 9000) }')
as_server "$PG_BIN/initdb" -D "$work/server/data" -U backup_user --auth=trust -E UTF8 --locale=C -N >/dev/null
as_server "$PG_BIN/pg_ctl" -D "$work/server/data" -l "$work/server/log" -w \
    -o "-p $port -k $work/server -c listen_addresses=127.0.0.1 -c fsync=off -c shared_buffers=256MB" start >/dev/null
export PGHOST=127.0.0.1 PGPORT=$port PGUSER=backup_user
load() { "$PG_BIN/createdb" "$1" && "$PG_BIN/psql" -Xq -v scale="$2" -d "$1" -f tests/bench/database.sql >/dev/null; }
echo "loading the databases" >&2
load bench "$scale"
load small "$(awk "BEGIN { print $scale * 0.1 }")"
load large "$(awk "BEGIN { print $scale * 2 }")"

export PG_BIN_DIR=$PG_BIN POSTGRES_HOST=127.0.0.1 POSTGRES_PORT=$port LOG_LEVEL=error
dump="$PG_BIN/pg_dump bench"
declare -A command=(
    [raw]="$dump >/dev/null"
    [gzip6]="$dump | gzip -6 >$work/gzip6.gz"
    [pigz6]="$dump | pigz -6 >$work/pigz6.gz"
    [pigz1]="$dump | pigz -1 >$work/pigz1.gz"
    [backup]="rm -rf $work/backups; POSTGRES_DB=bench BACKUP_DIR=$work/backups $backup"
)
order=(raw gzip6 pigz6 pigz1 backup)
"$PG_BIN/pg_dump" bench >/dev/null
for run in $(seq "$runs"); do
    for name in "${order[@]}"; do
        /usr/bin/time -a -o "$work/time.$name" -f %e bash -c "set -o pipefail; ${command[$name]}"
        echo "run $run: $name $(tail -n 1 "$work/time.$name") s" >&2
    done
done
median() { sort -n "$1" | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
ours=$(median "$work/time.backup")
size() { stat -c %s "$@"; }
archive=$(ls "$work"/backups/*.sql.gz | grep -v facts)

printf '\n%-24s %10s %12s %12s\n' "command" "median s" "ours/it" "at most"
line() { printf '%-24s %10s %12s %12s\n' "$1" "$2" "$(awk "BEGIN { printf \"%.2f\", $ours / $2 }")" "$3"; }
line "pg_dump >/dev/null" "$(median "$work/time.raw")" "(the limit)"
line "pg_dump | gzip -6" "$(median "$work/time.gzip6")" 0.30
line "pg_dump | pigz -6" "$(median "$work/time.pigz6")" 0.52
line "pg_dump | pigz -1" "$(median "$work/time.pigz1")" 1.00
printf '%-24s %10s\n' "backup" "$ours"
awk "BEGIN { printf \"stored size: %.1f MB, %.3f of gzip -6 (%.1f MB), at most 1.02\n\", $(size "$archive") / 1e6, $(size "$archive") / $(size "$work/gzip6.gz"), $(size "$work/gzip6.gz") / 1e6 }"

free_port() { python3 -c 'import socket
while True:
    with socket.socket() as s, socket.socket() as t:
        s.bind(("127.0.0.1", 0)); p = s.getsockname()[1]
        if p < 50000:
            t.bind(("127.0.0.1", p + 10000)); print(p); break'; }
s3=$(free_port)
AWS_ACCESS_KEY_ID=minioadmin AWS_SECRET_ACCESS_KEY=minioadmin HOME=$work "$WEED" mini -dir="$work/store" -ip=127.0.0.1 \
    -ip.bind=127.0.0.1 -master.port="$(free_port)" -volume.port="$(free_port)" -filer.port="$(free_port)" -s3.port="$s3" \
    -s3.port.iceberg=0 -s3.port.lance=0 -webdav=false -admin.ui=false -bucket=test-backup >"$work/weed.log" 2>&1 &
weed=$!
for _ in $(seq 100); do curl -sf "http://127.0.0.1:$s3/healthz" >/dev/null && break || sleep 0.2; done
printf '\n%-34s %10s %10s\n' "peak memory of our own process" "MiB" "at most"
for target in local remote; do
    for database in small large; do
        rm -rf "$work/backups"
        POSTGRES_DB=$database BACKUP_DIR=$work/backups BACKUP_TARGET=$target REMOTE_ENDPOINT=http://127.0.0.1:$s3 \
            /usr/bin/time -o "$work/memory" -f %M "$backup"
        megabytes=$("$PG_BIN/psql" -XtAc "SELECT pg_database_size('$database') / 1000000" bench)
        printf '%-34s %10s %10s\n' "$target, database of $megabytes MB" "$(($(cat "$work/memory") / 1024))" \
            "$([ "$target" = local ] && echo 64 || echo 192)"
    done
done
