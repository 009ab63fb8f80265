#!/usr/bin/env bash
# The README's first five minutes, as they are written there: each block behind `<!-- run: first backup -->`, in order, in
# a throwaway folder, against a throwaway PostgreSQL.
#
# Three commands of the blocks need a machine of their own, and are others here: `apt-get` and `service` do nothing, because
# the server is there, and `su - postgres -c` runs what it is given as that server's superuser. Host and port are set in the
# environment, which wins over the .env that the blocks write.
set -euo pipefail
cd "$(dirname "$0")/../.."
. target/tools/demo.env
if [ "$PG_BIN" = docker ]; then
    echo "the first steps need a PostgreSQL server on this machine, not in a container; install one" >&2
    exit 1
fi
cargo build --locked --quiet

work=$(mktemp -d "${TMPDIR:-/tmp}/backup-stranger-XXXXXX")
as_server() {
    if [ -n "$UNPRIVILEGED" ]; then
        (cd / && setpriv --reuid "$UNPRIVILEGED" --regid "$(id -g "$UNPRIVILEGED")" --clear-groups "$@")
    else
        "$@"
    fi
}
stop() {
    if [ -e "$work/server/data/postmaster.pid" ]; then
        as_server "$PG_BIN/pg_ctl" -D "$work/server/data" -m fast -w stop >/dev/null
    fi
    rm -rf "$work"
}
trap stop EXIT

port=$(awk 'BEGIN { srand(); print 40000 + int(rand() * 9000) }')
mkdir "$work/server" "$work/bin" "$work/blocks" "$work/folder"
chmod 755 "$work"
[ -z "$UNPRIVILEGED" ] || chown "$UNPRIVILEGED" "$work/server"
echo superuser >"$work/server/password"
as_server "$PG_BIN/initdb" -D "$work/server/data" -U postgres --pwfile="$work/server/password" --auth=scram-sha-256 -N >/dev/null
as_server "$PG_BIN/pg_ctl" -D "$work/server/data" -l "$work/server/log" -w \
    -o "-p $port -k $work/server -c listen_addresses=127.0.0.1 -c fsync=off" start >/dev/null

for command in apt-get service; do
    printf '#!/bin/sh\necho "(not run here: %s $*)"\n' "$command" >"$work/bin/$command"
done
cat >"$work/bin/su" <<SU
#!/bin/sh
[ "\$1 \$2 \$3" = "- postgres -c" ] || { echo "su: only su - postgres -c is known here" >&2; exit 1; }
PGHOST=127.0.0.1 PGPORT=$port PGUSER=postgres PGPASSWORD=superuser exec sh -c "\$4"
SU
chmod +x "$work/bin"/*
ln -s "$PWD/target/debug/backup" "$work/bin/backup"

awk -v folder="$work/blocks" '
    /^<!-- run: first backup -->$/ { name = sprintf("%s/%02d.sh", folder, ++number); next }
    name != "" && /^```sh$/ { inside = 1; next }
    inside && /^```$/ { inside = 0; name = ""; next }
    inside { print >name }' README.md
blocks=("$work/blocks"/*.sh)
[ -e "${blocks[0]}" ] || { echo "README.md has no block behind <!-- run: first backup -->" >&2; exit 1; }

# nothing of this machine's settings
for name in $(compgen -e | grep -E '^(POSTGRES|BACKUP|REMOTE|GCS|AZURE|VERIFY|RETENTION|DATABASE_URL|PG)' || true); do
    case $name in PG_BIN) ;; *) unset "$name" ;; esac
done
export PATH=$work/bin:$PG_BIN:$PATH POSTGRES_HOST=127.0.0.1 POSTGRES_PORT=$port
SECONDS=0
cd "$work/folder"
for block in "${blocks[@]}"; do
    printf '\n== %s\n' "$(basename "$block" .sh)"
    sed 's/^/$ /' "$block"
    bash -euo pipefail "$block" </dev/null 2>&1 | tee "$work/output"
done
grep -q '1000 | *750750' "$work/output" || { echo "the restored table has other rows" >&2; exit 1; }
printf '\n%s blocks of the README ran in %s s\n' "${#blocks[@]}" "$SECONDS"
