#!/usr/bin/env bash
# Looking into two backups of 1 GB each in an S3 store on this machine, without a restore: show, diff, peek, medians.
# BENCH_RUNS (5), BENCH_ROWS (16000000, of 64 bytes each that do not compress).
set -euo pipefail
cd "$(dirname "$0")/../.."
runs=${BENCH_RUNS:-5} rows=${BENCH_ROWS:-16000000}
. tests/bench/server.sh
. tests/bench/store.sh

echo "making $rows rows" >&2
"$PG_BIN/createdb" archive
"$PG_BIN/psql" -Xq -d archive -c "CREATE TABLE events AS SELECT n AS id, encode(sha512(n::text::bytea), 'base64') AS body
    FROM generate_series(1, $rows) AS n" -c "CREATE TABLE last AS SELECT n AS id FROM generate_series(1, 1000) AS n"
export POSTGRES_DB=archive BACKUP_TARGET=remote REMOTE_ENDPOINT=http://127.0.0.1:$s3
"$backup"
"$PG_BIN/psql" -Xq -d archive -c "INSERT INTO last VALUES (1001)"
"$backup"
stored=$("$backup" list --json | "$PYTHON" -c 'import json, sys
backups = json.load(sys.stdin)["backups"]
print(*(backup["id"] for backup in backups), backups[0]["stored_bytes"])')
read -r after before bytes <<<"$stored"
for run in $(seq "$runs"); do
    timed show "$backup show $after >$work/show"
    timed diff "$backup diff $before $after >$work/diff"
    timed peek "$backup peek $after --table public.events >$work/peek"
    timed peek-last "$backup peek $after --table public.last >$work/peek-last"
done
printf '\n%-40s %10s %10s\n' "$((bytes / 1000000)) MB stored" "median s" "at most"
for command in show diff peek peek-last; do
    printf '%-40s %10s %10s\n' "$command" "$(median "$work/time.$command")" 0.3
done
