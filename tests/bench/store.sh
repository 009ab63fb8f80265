# Sourced by the benchmarks after server.sh: an S3 store on a port of 127.0.0.1 that $s3 names, with a bucket of its own;
# $backup is the program.
free_port() { python3 -c 'import socket
while True:
    with socket.socket() as s, socket.socket() as t:
        s.bind(("127.0.0.1", 0)); p = s.getsockname()[1]
        if p < 50000:
            t.bind(("127.0.0.1", p + 10000)); print(p); break'; }
s3=$(free_port)
AWS_ACCESS_KEY_ID=minioadmin AWS_SECRET_ACCESS_KEY=minioadmin HOME=$work "$WEED" mini -dir="$work/store" -ip=127.0.0.1 \
    -ip.bind=127.0.0.1 -master.port="$(free_port)" -volume.port="$(free_port)" -filer.port="$(free_port)" -s3.port="$s3" \
    -s3.port.iceberg=0 -s3.port.lance=0 -webdav=false -admin.ui=false -bucket=test-backup >"$work/weed.log" 2>&1 &
weed=$!
for _ in $(seq 100); do curl -sf "http://127.0.0.1:$s3/healthz" >/dev/null && break || sleep 0.2; done
# it makes the bucket a moment later
for _ in $(seq 100); do REMOTE_ENDPOINT=http://127.0.0.1:$s3 BACKUP_TARGET=remote RETRY_COUNT=1 "$backup" list >/dev/null 2>&1 && break || sleep 0.2; done
