#!/usr/bin/env bash
# Runs an image as people do, against a real PostgreSQL container: --env-file, unprivileged, read-only root, little
# memory; then stops it with SIGTERM in the middle of a dump.
set -euo pipefail
cd "$(dirname "$0")/../.."
image=${1:?image}
name=backup-image-test-$$
work=$(mktemp -d)
stop() {
    docker rm -f "$name-db" "$name-run" >/dev/null 2>&1 || true
    docker network rm "$name" >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap stop EXIT

docker network create "$name" >/dev/null
docker run -d --name "$name-db" --network "$name" -e POSTGRES_USER=backup_user -e POSTGRES_PASSWORD=backup_password \
    -e POSTGRES_DB=testdb -v "$PWD/init-scripts:/docker-entrypoint-initdb.d:ro" postgres:17 >/dev/null
sed -e "s/^POSTGRES_HOST=.*/POSTGRES_HOST=$name-db/" -e 's/^BACKUP_DIR=.*/BACKUP_DIR=/' \
    -e 's/^RETRY_COUNT=.*/RETRY_COUNT=60/' -e 's/^RETRY_DELAY=.*/RETRY_DELAY=1/' .env.example >"$work/env"
mkdir "$work/backups" && chmod 777 "$work/backups"
run() {
    docker run --network "$name" --env-file "$work/env" --user 65532 --read-only --tmpfs /tmp --memory 256m --cpus 0.1 \
        --cap-drop ALL --security-opt no-new-privileges -v "$work/backups:/backups" "$@"
}

echo "== configuration read from --env-file"
run --rm "$image" config | grep -E 'POSTGRES_HOST|BACKUP_DIR|BACKUP_BASE_NAME'
echo "== backup"
run --rm -e BACKUP_DIR=/backups "$image"
(cd "$work/backups" && sha256sum -c ./*.sha256)
gunzip -c "$work"/backups/*.sql.gz | tail -n 5 | grep -q 'database dump complete'

echo "== SIGTERM in the middle of a dump, as PID 1"
docker exec "$name-db" psql -h 127.0.0.1 -qU backup_user testdb -c \
    "CREATE TABLE noise AS SELECT n, repeat(md5(n::text), 30) AS data FROM generate_series(1, 600000) AS n" 2>/dev/null ||
    docker exec -e PGPASSWORD=backup_password "$name-db" psql -h 127.0.0.1 -qU backup_user testdb -c \
        "CREATE TABLE noise AS SELECT n, repeat(md5(n::text), 30) AS data FROM generate_series(1, 600000) AS n"
run -d --name "$name-run" -e BACKUP_DIR=/backups "$image" >/dev/null
for _ in $(seq 300); do ls -A "$work/backups" | grep -q '\.partial$' && break || sleep 0.1; done
started=$(date +%s)
docker stop -t 20 "$name-run" >/dev/null
took=$(($(date +%s) - started))
code=$(docker inspect -f '{{.State.ExitCode}}' "$name-run")
echo "ended with $code after $took s; files: $(ls -A "$work/backups" | wc -l)"
[ "$code" = 143 ] && [ "$took" -le 18 ] && [ "$(ls -A "$work/backups" | wc -l)" = 4 ]
docker image inspect -f '{{.Size}}' "$image" | awk '{ printf "image: %.0f MB\n", $1 / 1e6 }'
