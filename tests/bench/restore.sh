#!/usr/bin/env bash
# Restoring side by side with PostgreSQL's own tools: interleaved runs, medians, ratios. BENCH_RUNS (5), BENCH_SCALE (1,
# about 1 GB of plain dump). And one small table out of a large archive in an S3 store: its time, and how much of it is read.
set -euo pipefail
cd "$(dirname "$0")/../.."
runs=${BENCH_RUNS:-5} scale=${BENCH_SCALE:-1}
[ -x /usr/bin/time ] || { echo "bench: /usr/bin/time is missing (Debian package time)" >&2; exit 1; }
cargo build --release --locked --quiet
backup=$PWD/target/release/backup
. tests/bench/server.sh

echo "loading the database and making the backups" >&2
"$PG_BIN/createdb" bench
"$PG_BIN/psql" -Xq -v scale="$scale" -d bench -f tests/bench/database.sql >/dev/null
"$PG_BIN/psql" -Xq -d bench -c "CREATE TABLE wanted AS SELECT g AS id, md5(g::text) AS note FROM generate_series(1, 26000) g" \
    -c "ALTER TABLE wanted ADD PRIMARY KEY (id)"
export POSTGRES_DB=bench
plain=$work/plain custom=$work/custom
BACKUP_DIR=$plain "$backup"
BACKUP_DIR=$custom BACKUP_FORMAT=custom "$backup"
sql=$(ls "$plain"/*.sql.gz) dump=$(ls "$custom"/*.dump)

drop="$PG_BIN/dropdb --if-exists copy"
for run in $(seq "$runs"); do
    timed psql "$drop; $PG_BIN/createdb -T template0 copy; gunzip -c $sql | $PG_BIN/psql -Xq -v ON_ERROR_STOP=1 -d copy >/dev/null"
    timed plain "$drop; BACKUP_DIR=$plain $backup restore --into copy --skip-checks >/dev/null"
    timed pg_restore "$drop; $PG_BIN/createdb -T template0 copy; $PG_BIN/pg_restore -j2 --exit-on-error -d copy $dump"
    timed custom "$drop; BACKUP_DIR=$custom $backup restore --into copy --jobs 2 --skip-checks >/dev/null"
done
ratio() { awk "BEGIN { printf \"%.2f\", $(median "$work/time.$1") / $(median "$work/time.$2") }"; }
printf '\n%-44s %10s %10s %10s\n' "restore" "median s" "ours/it" "at most"
printf '%-44s %10s\n' "gunzip -c | psql" "$(median "$work/time.psql")"
printf '%-44s %10s %10s %10s\n' "backup restore, plain" "$(median "$work/time.plain")" "$(ratio plain psql)" 1.05
printf '%-44s %10s\n' "pg_restore -j2" "$(median "$work/time.pg_restore")"
printf '%-44s %10s %10s %10s\n' "backup restore --jobs 2, custom" "$(median "$work/time.custom")" "$(ratio custom pg_restore)" 1.05

. tests/bench/store.sh
export REMOTE_ENDPOINT=http://127.0.0.1:$s3 BACKUP_TARGET=remote POSTGRES_HOST=$work/server
"$backup"
stored=$("$backup" list --json | awk -F'[:,]' '/"stored_bytes"/ { print $2 }')
table=$(zcat "$plain"/*.facts.json.gz | python3 -c 'import json, sys
rows = json.load(sys.stdin)["databases"][0]["contents"]["tables"]["public.wanted"]
print(sum(member["length"] for member in rows["members"]))')
for run in $(seq "$runs"); do
    timed everything "$drop; $backup restore --into copy --skip-checks >/dev/null"
    for form in "into copy" "into bench"; do
        $drop 2>/dev/null
        timed "${form// /_}" "LOG_LEVEL=info $backup restore --$form --table wanted 2>$work/log >/dev/null"
        sed -n 's/.*INFO  read \([0-9]*\) of .*/\1/p' "$work/log" >>"$work/bytes.${form// /_}"
    done
done
everything=$(median "$work/time.everything")
printf '\n%-44s %10s %10s %14s\n' "one table of $((table / 1000)) kB out of $((stored / 1000000)) MB in S3" "median s" "faster by" "kB read"
printf '%-44s %10s\n' "everything" "$everything"
for form in into_copy into_bench; do
    mine=$(median "$work/time.$form")
    printf '%-44s %10s %10s %14s\n' "${form/into_copy/into a new database}" "$mine" \
        "$(awk "BEGIN { printf \"%.0f x\", $everything / $mine }")" "$(($(median "$work/bytes.$form") / 1000))"
done | sed 's/into_bench/beside the live table /'
