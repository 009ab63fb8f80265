# Sourced by the benchmarks: the program, optimized, as $backup; a throwaway server on this machine, PG* variables that name
# it, and `stop`, which ends it.
[ -x /usr/bin/time ] || { echo "bench: /usr/bin/time is missing (Debian package time)" >&2; exit 1; }
cargo build --release --locked --quiet
backup=$PWD/target/release/backup
. target/tools/test.env
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
export PG_BIN_DIR=$PG_BIN POSTGRES_HOST=127.0.0.1 POSTGRES_PORT=$port LOG_LEVEL=error

median() { sort -n "$1" | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
# timed NAME COMMAND: seconds to the file time.NAME and to stderr
timed() {
    /usr/bin/time -a -o "$work/time.$1" -f %e bash -c "set -o pipefail; $2"
    echo "run $run: $1 $(tail -n 1 "$work/time.$1") s" >&2
}
