#!/usr/bin/env bash
# Two hundred small databases: one run of backup against bare pg_dump runs one after another; interleaved runs, medians,
# ratios. BENCH_RUNS (5).
set -euo pipefail
cd "$(dirname "$0")/../.."
runs=${BENCH_RUNS:-5} count=200
. tests/bench/server.sh

echo "making $count databases" >&2
names=$(seq -f 'db_%03g' "$count")
{
    echo "CREATE DATABASE model TEMPLATE template0;"
    echo "\\connect model"
    for table in 1 2 3 4 5 6 7 8; do
        echo "CREATE TABLE item_$table (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, price numeric(10, 2), data jsonb);
              INSERT INTO item_$table (name, price, data) SELECT md5(n::text), n * 1.5, jsonb_build_object('n', n) FROM generate_series(1, 250) AS n;
              CREATE INDEX ON item_$table (name);"
    done
    echo "\\connect postgres"
    for name in $names; do echo "CREATE DATABASE $name TEMPLATE model STRATEGY file_copy;"; done
} | "$PG_BIN/psql" -Xq -v ON_ERROR_STOP=1 -d postgres >/dev/null

export BACKUP_DATABASES='db_*' BACKUP_GLOBALS=false POSTGRES_DB=postgres BACKUP_DIR=$work/backups
bare="for name in $(echo "$names" | tr '\n' ' '); do $PG_BIN/pg_dump \$name >$work/bare.sql; done"
bash -c "$bare"
for run in $(seq "$runs"); do
    timed bare "$bare"
    for jobs in 1 2; do
        timed "backup$jobs" "rm -rf $work/backups; BACKUP_DATABASE_JOBS=$jobs $backup"
        [ "$(find "$work/backups" -name '*.sql.gz.json' | wc -l)" = "$count" ]
    done
done
bare=$(median "$work/time.bare")
printf '\n%-40s %10s %12s %12s\n' "$count databases" "median s" "it/bare" "at most"
printf '%-40s %10s\n' "pg_dump, one after another" "$bare"
for jobs in 1 2; do
    ours=$(median "$work/time.backup$jobs")
    printf '%-40s %10s %12s %12s\n' "backup, BACKUP_DATABASE_JOBS=$jobs" "$ours" "$(awk "BEGIN { printf \"%.2f\", $ours / $bare }")" \
        "$([ $jobs = 1 ] && echo 1.20 || echo 0.70)"
done
