#!/usr/bin/env bash
# Databases of many objects: peak memory of `run` and `verify` with many tables, and the time of `verify` with many tables
# and with many small large objects beside that of psql. BENCH_TABLES ("10000 100000"), BENCH_OBJECTS (100000), BENCH_RUNS (5).
set -euo pipefail
cd "$(dirname "$0")/../.."
runs=${BENCH_RUNS:-5} tables=${BENCH_TABLES:-10000 100000} objects=${BENCH_OBJECTS:-100000}
. tests/bench/server.sh
# pg_dump locks every table
as_server "$PG_BIN/psql" -Xq -d postgres -c "ALTER SYSTEM SET max_locks_per_transaction = 4096"
as_server "$PG_BIN/pg_ctl" -D "$work/server/data" -w restart >/dev/null

# peak COMMAND: most memory of the program itself, without the tools that it starts, in MiB
peak() {
    "$backup" "$1" >/dev/null &
    local process=$! most=0 now
    while now=$(awk '/^VmHWM:/ { print $2 }' "/proc/$process/status" 2>/dev/null) && [ -n "$now" ]; do
        most=$now
        sleep 0.05
    done
    wait "$process"
    awk "BEGIN { printf \"%.1f\", $most / 1024 }"
}

# compare RUNS: times of psql and of `verify`, for the dump in $BACKUP_DIR
compare() {
    local sql drop="$PG_BIN/dropdb --if-exists copy"
    sql=$(ls "$BACKUP_DIR"/*.sql.gz)
    rm -f "$work"/time.*
    for run in $(seq "$1"); do
        timed psql "$drop; $PG_BIN/createdb -T template0 copy; gunzip -c $sql | $PG_BIN/psql -Xq -v ON_ERROR_STOP=1 -d copy >/dev/null"
        timed verify "$backup verify >/dev/null"
    done
    $drop
}

# ratio: of the times that `compare` took
ratio() { awk "BEGIN { printf \"%.2f\", $(median "$work/time.verify") / $(median "$work/time.psql") }"; }

times=()
printf '\n%-28s %10s %10s %10s\n' "own peak memory in MiB" run verify "at most"
for count in $tables; do
    echo "making $count tables" >&2
    "$PG_BIN/createdb" "tables_$count"
    for begin in $(seq 0 1000 $((count - 1))); do
        "$PG_BIN/psql" -Xq -d "tables_$count" -c "DO \$\$ BEGIN FOR n IN $begin..least($begin + 999, $count - 1) LOOP
            EXECUTE format('CREATE TABLE t%s (id integer PRIMARY KEY, name text NOT NULL DEFAULT ''x'',
                            amount numeric(10, 2) CHECK (amount >= 0), made timestamptz DEFAULT now())', n);
            EXECUTE format('INSERT INTO t%s VALUES (1, ''a'', 2)', n);
        END LOOP; END \$\$"
    done
    export POSTGRES_DB=tables_$count BACKUP_DIR=$work/tables_$count
    run=$(peak run)
    printf '%-28s %10s %10s %10s\n' "$count tables" "$run" "$(peak verify)" "$([ "$count" -gt 10000 ] && echo 96 || echo 64)"
    compare 1
    times+=("$(printf '%-28s %10s %10s %10s' "$count tables" "$(median "$work/time.psql")" "$(ratio)" 1.5)")
    "$PG_BIN/dropdb" "tables_$count"
done

echo "making $objects large objects" >&2
"$PG_BIN/createdb" objects
for begin in $(seq 1 5000 "$objects"); do
    "$PG_BIN/psql" -Xq -d objects -c "SELECT count(lo_from_bytea(0, decode(repeat(lpad(to_hex(n % 256), 2, '0'), n % 400), 'hex')))
        FROM generate_series($begin, least($begin + 4999, $objects)) AS n" >/dev/null
done
export POSTGRES_DB=objects BACKUP_DIR=$work/objects
"$backup"
compare "$runs"
times+=("$(printf '%-28s %10s %10s %10s' "$objects large objects" "$(median "$work/time.psql")" "$(ratio)" 1.5)")
printf '\n%-28s %10s %10s %10s\n' "verify" "psql s" "ours/it" "at most"
printf '%s\n' "${times[@]}"
