#!/usr/bin/env bash
# Speed, size and memory side by side: interleaved runs, medians, ratios. BENCH_RUNS (5), BENCH_SCALE (1, about 1 GB).
#
# Every command dumps the same database of a throwaway server on this machine; raw pg_dump is the limit.
set -euo pipefail
cd "$(dirname "$0")/../.."
runs=${BENCH_RUNS:-5} scale=${BENCH_SCALE:-1}
for tool in gzip pigz; do
    command -v "$tool" >/dev/null || { echo "bench: $tool is missing (Debian packages gzip, pigz)" >&2; exit 1; }
done

. tests/bench/server.sh
load() { "$PG_BIN/createdb" "$1" && "$PG_BIN/psql" -Xq -v scale="$2" -d "$1" -f tests/bench/database.sql >/dev/null; }
echo "loading the databases" >&2
load bench "$scale"
load small "$(awk "BEGIN { print $scale * 0.1 }")"
load large "$(awk "BEGIN { print $scale * 2 }")"

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
    for name in "${order[@]}"; do timed "$name" "${command[$name]}"; done
done
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

SERVER_PID=$(head -n 1 "$work/server/data/postmaster.pid") PG_DUMP=$PG_BIN/pg_dump PGDATABASE=bench BENCH_RUNS=$runs cargo bench --quiet --locked --bench facts

. tests/bench/store.sh
printf '\n%-40s %10s %10s\n' "peak memory of our own process" "MiB" "at most"
# measure WORDS MOST SETTINGS…
measure() {
    rm -rf "$work/backups"
    env BACKUP_DIR="$work/backups" REMOTE_ENDPOINT="http://127.0.0.1:$s3" "${@:3}" /usr/bin/time -o "$work/memory" -f %M "$backup"
    printf '%-40s %10s %10s\n' "$1" "$(($(cat "$work/memory") / 1024))" "$2"
}
for target in local remote; do
    most=$([ "$target" = local ] && echo 64 || echo 192)
    for database in small large; do
        megabytes=$("$PG_BIN/psql" -XtAc "SELECT pg_database_size('$database') / 1000000" bench)
        measure "$target, database of $megabytes MB" "$most" POSTGRES_DB=$database BACKUP_TARGET=$target
    done
done
for copy in 1 2 3 4; do "$PG_BIN/createdb" -T small "copy_$copy"; done
for target in local remote; do
    most=$([ "$target" = local ] && echo 64 || echo 192)
    measure "$target, four databases at once" "$most" POSTGRES_DB=bench BACKUP_DATABASES='copy_*' BACKUP_DATABASE_JOBS=4 BACKUP_TARGET=$target
done
