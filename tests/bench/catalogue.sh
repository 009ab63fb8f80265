#!/usr/bin/env bash
# The catalogue of many backups, in a folder and in an S3 store on this machine: list and status, interleaved runs,
# medians. BENCH_RUNS (5), BENCH_BACKUPS (5000).
set -euo pipefail
cd "$(dirname "$0")/../.."
runs=${BENCH_RUNS:-5} count=${BENCH_BACKUPS:-5000}
. tests/bench/server.sh
. tests/bench/store.sh

export POSTGRES_DB=postgres BACKUP_DIR=$work/backups LOCAL_PATH_FORMAT=monthly REMOTE_ENDPOINT=http://127.0.0.1:$s3
BACKUP_TARGET=local "$backup"
python3 tests/bench/catalogue.py "$work/backups" "$count"
echo "uploading $count backups" >&2
run=0
timed upload "BACKUP_TARGET=all $backup upload >/dev/null"
for run in $(seq "$runs"); do
    for target in local remote all; do
        for command in list status; do
            timed "$command-$target" "BACKUP_TARGET=$target $backup $command --json >$work/$command-$target || [ $command = status ]"
        done
        [ "$(grep -c '"raw_bytes"' "$work/list-$target")" = "$count" ] || { echo "bench: $target lists another number" >&2; exit 1; }
    done
done
printf '\n%-40s %10s %10s\n' "$count backups" "median s" "at most"
for target in local remote all; do
    for command in list status; do
        printf '%-40s %10s %10s\n' "$command, $target" "$(median "$work/time.$command-$target")" "$([ $target = local ] && echo 2 || echo 5)"
    done
done
printf '%-40s %10s\n' "upload of all of them" "$(cat "$work/time.upload")"
