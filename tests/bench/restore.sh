#!/usr/bin/env bash
# Restoring side by side with PostgreSQL's own tools: interleaved runs, medians, ratios. BENCH_RUNS (5), BENCH_SCALE (1,
# about 1 GB of plain dump, with keys and indexes). The same behind a proxy that gives each connection 20 ms of latency and
# 40 MB a second, there with documents of 4 kB so that with two cores the server is not what it waits for. And one small table out of a large archive in an S3 store: its time, and how much of it is read.
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
"$PG_BIN/psql" -Xq -d bench -f tests/bench/keys.sql
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
    for jobs in 1 2 4; do
        timed "plain$jobs" "$drop; BACKUP_DIR=$plain $backup restore --into copy --jobs $jobs --skip-checks >/dev/null"
    done
    timed pg_restore "$drop; $PG_BIN/createdb -T template0 copy; $PG_BIN/pg_restore -j2 --exit-on-error -d copy $dump"
    timed custom "$drop; BACKUP_DIR=$custom $backup restore --into copy --jobs 2 --skip-checks >/dev/null"
    timed compared "$drop; BACKUP_DIR=$plain $backup restore --into copy --jobs 2 >/dev/null"
    timed verify "BACKUP_DIR=$plain RESTORE_JOBS=2 $backup verify latest >/dev/null"
done
ratio() { awk "BEGIN { printf \"%.2f\", $(median "$work/time.$1") / $(median "$work/time.$2") }"; }
printf '\n%-44s %10s %10s %10s\n' "restore" "median s" "ours/it" "at most"
printf '%-44s %10s\n' "gunzip -c | psql" "$(median "$work/time.psql")"
for jobs in 1 2 4; do
    printf '%-44s %10s %10s %10s\n' "backup restore --jobs $jobs, plain" "$(median "$work/time.plain$jobs")" "$(ratio "plain$jobs" psql)" 0.65
done
printf '%-44s %10s\n' "pg_restore -j2" "$(median "$work/time.pg_restore")"
printf '%-44s %10s %10s %10s\n' "backup restore --jobs 2, plain" "$(median "$work/time.plain2")" "$(ratio plain2 pg_restore)" 1.00
printf '%-44s %10s %10s %10s\n' "backup restore --jobs 2, custom" "$(median "$work/time.custom")" "$(ratio custom pg_restore)" 1.00
printf '%-44s %10s\n' "backup restore --jobs 2, plain, compared" "$(median "$work/time.compared")"
printf '%-44s %10s %10s %10s\n' "backup verify" "$(median "$work/time.verify")" "$(ratio verify compared)" 1.15

. tests/bench/store.sh
export REMOTE_ENDPOINT=http://127.0.0.1:$s3 BACKUP_TARGET=remote POSTGRES_HOST=$work/server
"$backup"
stored=$("$backup" list --json | awk -F'[:,]' '/"stored_bytes"/ { print $2 }')
table=$(zcat "$plain"/*.facts.json.gz | python3 -c 'import json, sys
rows = json.load(sys.stdin)["databases"][0]["contents"]["tables"]["public.wanted"]
print(sum(member["length"] for member in rows["members"]))')
for run in $(seq "$runs"); do
    timed everything "$drop; $backup restore --into copy --jobs 2 --skip-checks >/dev/null"
    for form in "into copy" "into bench"; do
        $drop 2>/dev/null
        timed "${form// /_}" "LOG_LEVEL=info $backup restore --$form --table wanted 2>$work/log >/dev/null"
        sed -n 's/.*INFO  read \([0-9]*\) of .*/\1/p' "$work/log" >>"$work/bytes.${form// /_}"
    done
done
everything=$(median "$work/time.everything")
printf '%-44s %10s %10s %10s\n' "backup restore --jobs 2, plain, from S3" "$everything" "$(ratio everything plain2)" 1.10
printf '\n%-44s %10s %10s %14s\n' "one table of $((table / 1000)) kB out of $((stored / 1000000)) MB in S3" "median s" "faster by" "kB read"
printf '%-44s %10s\n' "everything" "$everything"
for form in into_copy into_bench; do
    mine=$(median "$work/time.$form")
    printf '%-44s %10s %10s %14s\n' "${form/into_copy/into a new database}" "$mine" \
        "$(awk "BEGIN { printf \"%.0f x\", $everything / $mine }")" "$(($(median "$work/bytes.$form") / 1000))"
done | sed 's/into_bench/beside the live table /'

"$PG_BIN/createdb" documents
"$PG_BIN/psql" -Xqd documents -c "CREATE TABLE documents AS SELECT n AS id, repeat('Order ' || n || ': delivered to the address below. ', 85)
    AS body FROM generate_series(1, (240000 * $scale)::int) AS n" -c "ALTER TABLE documents ADD PRIMARY KEY (id)"
export POSTGRES_DB=documents BACKUP_TARGET=local BACKUP_DIR=$work/documents POSTGRES_HOST=127.0.0.1 POSTGRES_SSLMODE=disable
"$backup"
slow=$(free_port)
python3 tests/bench/slow_proxy.py "$slow" "$port" 40 20 >"$work/proxy" &
proxy=$!
trap 'kill $proxy; stop' EXIT
until grep -q ready "$work/proxy"; do sleep 0.1; done
for run in $(seq "$runs"); do
    for jobs in 1 4; do
        timed "slow$jobs" "$drop; POSTGRES_PORT=$slow $backup restore --into copy --jobs $jobs --skip-checks >/dev/null"
    done
done
printf '\n%-44s %10s %10s %10s\n' "20 ms and 40 MB/s for each connection" "median s" "faster by" "at least"
printf '%-44s %10s\n' "backup restore --jobs 1" "$(median "$work/time.slow1")"
printf '%-44s %10s %10s %10s\n' "backup restore --jobs 4" "$(median "$work/time.slow4")" "$(ratio slow1 slow4)" 2.50
