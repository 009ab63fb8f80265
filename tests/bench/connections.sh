#!/usr/bin/env bash
# What several connections are worth: without a network in between, and behind a proxy that lets each connection pass 40 MB a
# second. There it is documents of 4 kB that compress well, so that with two cores neither the server nor compression is
# what a dump waits for. BENCH_RUNS (3), BENCH_SCALE (1, about 1 GB).
set -euo pipefail
cd "$(dirname "$0")/../.."
runs=${BENCH_RUNS:-3} scale=${BENCH_SCALE:-1}
. tests/bench/server.sh
"$PG_BIN/createdb" bench
"$PG_BIN/psql" -Xq -v scale="$scale" -d bench -f tests/bench/database.sql >/dev/null
"$PG_BIN/createdb" documents
"$PG_BIN/psql" -Xqd documents -c "CREATE TABLE documents AS SELECT n AS id, repeat('Order ' || n || ': delivered to the address below. ', 85)
    AS body FROM generate_series(1, (240000 * $scale)::int) AS n"

slow=$((port + 1))
python3 tests/bench/slow_proxy.py "$slow" "$port" 40 >"$work/proxy" &
proxy=$!
trap 'kill $proxy; stop' EXIT
until grep -q ready "$work/proxy"; do sleep 0.1; done

export POSTGRES_DB=bench POSTGRES_SSLMODE=disable
for run in $(seq "$runs"); do
    timed raw "$PG_BIN/pg_dump bench >/dev/null"
    timed gzip6 "$PG_BIN/pg_dump bench | gzip -6 >$work/gzip6.gz"
    for connections in 1 2 4; do
        timed "near$connections" "rm -rf $work/backups; BACKUP_CONNECTIONS=$connections BACKUP_DIR=$work/backups $backup"
    done
    for connections in 1 4 16; do
        timed "slow$connections" "rm -rf $work/backups; POSTGRES_DB=documents POSTGRES_PORT=$slow BACKUP_CONNECTIONS=$connections BACKUP_DIR=$work/backups $backup"
    done
done
ratio() { awk "BEGIN { printf \"%.2f\", $1 / $2 }"; }
printf '\n%-48s %10s %10s\n' "" "median s" "ratio"
raw=$(median "$work/time.raw") one=$(median "$work/time.slow1")
printf '%-48s %10s\n' "pg_dump >/dev/null" "$raw"
printf '%-48s %10s\n' "pg_dump | gzip -6" "$(median "$work/time.gzip6")"
for connections in 1 2 4; do
    ours=$(median "$work/time.near$connections")
    printf '%-48s %10s %10s\n' "backup, $connections connections, to pg_dump >/dev/null" "$ours" "$(ratio "$ours" "$raw")"
done
for connections in 1 4 16; do
    ours=$(median "$work/time.slow$connections")
    printf '%-48s %10s %10s\n' "40 MB/s each, $connections connections, one to it" "$ours" "$(ratio "$one" "$ours")"
done
for connections in 1 2 4 16; do
    rm -rf "$work/backups"
    BACKUP_CONNECTIONS=$connections BACKUP_DIR=$work/backups /usr/bin/time -o "$work/memory" -f %M "$backup"
    printf '%-48s %10s MiB\n' "peak memory, local, $connections connections" "$(($(cat "$work/memory") / 1024))"
done
