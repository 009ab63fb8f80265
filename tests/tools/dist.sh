#!/usr/bin/env bash
# Makes what a release holds, in DIST (./dist): for each of ARCHES a tarball and a Debian package with a static binary,
# completions and manual pages; the chart as `helm package` would lay it out; a bill of materials; and the SHA-256 of all.
#
#   ARCHES   x86_64, aarch64, or both (the default)
#   BINARY   a binary for this machine that is built already, taken instead of building any
#   LEVEL    how hard tarballs and packages are compressed, 1 to 9 (the default)
#
# Two runs on one commit make the same bytes: times are the commit's (or SOURCE_DATE_EPOCH), order and owners are fixed.
set -euo pipefail
cd "$(dirname "$0")/../.."
umask 022
export LC_ALL=C

name=postgres-backup-job
level=${LEVEL:-9}
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
export SOURCE_DATE_EPOCH
mkdir -p "${DIST:-dist}"
dist=$(cd "${DIST:-dist}" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
made=()

say() { echo "dist: $*" >&2; }

# archive FILE FOLDER NAME [OPTION…]: NAME of that folder as a gzipped tarball
archive() {
    local file=$1 folder=$2 entry=$3
    shift 3
    tar --create --format=gnu --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \
        --mode=u+rw,go+r-w --directory="$folder" "$@" "$entry" | gzip "-${level}n" >"$dist/$file"
    made+=("$file")
}

# build ARCH: the path of a release binary, static where that can be linked here
build() {
    local CARGO_ZIGBUILD=
    [ ! -f target/tools/dist.env ] || . target/tools/dist.env
    local paths="--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo --remap-path-prefix=$PWD=."
    if [ -n "$CARGO_ZIGBUILD" ]; then
        PATH="$(dirname "$CARGO_ZIGBUILD"):$PATH" RUSTFLAGS="$paths" CARGO_PROFILE_RELEASE_STRIP=symbols \
            "$CARGO_ZIGBUILD" zigbuild --release --locked --target "$1-unknown-linux-musl" >&2
        echo "target/$1-unknown-linux-musl/release/backup"
    elif [ "$1" = "$machine" ]; then
        say "a static binary cannot be linked here (make dist installs what that needs), so this one needs the C library" \
            "of this machine or a newer one"
        RUSTFLAGS="$paths" CARGO_PROFILE_RELEASE_STRIP=symbols cargo build --release --locked >&2
        echo target/release/backup
    else
        say "no binary for $1: it cannot be linked here"
    fi
}

is_static() { ! readelf -l "$1" | grep -q INTERP; }

# tarball ARCH BINARY
tarball() {
    local folder=$work/tarball-$1/$name-$version libc=
    is_static "$2" || libc=-gnu
    install -D "$2" "$folder/backup"
    cp -r "$work/completions" "$work/man" LICENSE README.md .env.example "$folder"
    archive "$name-$version-$1-linux$libc.tar.gz" "$work/tarball-$1" "$name-$version"
}

# debian ARCH BINARY: everything where Debian's tools look for it
debian() {
    local arch root=$work/debian-$1 page depends=
    case $1 in x86_64) arch=amd64 ;; aarch64) arch=arm64 ;; *) arch=$1 ;; esac
    is_static "$2" || depends="Depends: libc6, libgcc-s1"$'\n'
    local documents=$root/usr/share/doc/$name
    install -D "$2" "$root/usr/bin/backup"
    install -D -m 644 "$work/completions/backup.bash" "$root/usr/share/bash-completion/completions/backup"
    install -D -m 644 "$work/completions/_backup" "$root/usr/share/zsh/vendor-completions/_backup"
    install -D -m 644 "$work/completions/backup.fish" "$root/usr/share/fish/vendor_completions.d/backup.fish"
    mkdir -p "$root/usr/share/man/man1"
    for page in "$work"/man/*.1; do
        gzip -9n <"$page" >"$root/usr/share/man/man1/$(basename "$page").gz"
    done
    install -D -m 644 -t "$documents" README.md
    install -D -m 644 LICENSE "$documents/copyright"
    install -D -m 644 .env.example "$documents/examples/env"
    gzip -9n <CHANGELOG.md >"$documents/CHANGELOG.md.gz"
    install -D -m 644 -t "$root/usr/lib/systemd/system" "tests/tools/dist/$name.service" "tests/tools/dist/$name.timer"
    local size
    size=$(du -ks --apparent-size "$root" | cut -f 1)
    mkdir "$root/DEBIAN"
    (cd "$root" && find usr -type f | sort | xargs md5sum) >"$root/DEBIAN/md5sums"
    cat >"$root/DEBIAN/control" <<CONTROL
Package: $name
Version: ${version/-/\~}
Architecture: $arch
Maintainer: the $name authors
Installed-Size: $size
${depends}Recommends: ca-certificates, postgresql-client
Section: database
Priority: optional
Description: backs up PostgreSQL, and proves each backup by a restore
 Dumps databases with pg_dump, stores the dumps in a folder or in object
 storage, restores them to prove that they are good, prunes old ones, and
 notifies people.
 .
 A timer for systemd is installed and not enabled.
CONTROL
    dpkg-deb --root-owner-group -Zxz "-z$level" --build "$root" "$dist/${name}_${version/-/\~}_$arch.deb" >/dev/null
    made+=("${name}_${version/-/\~}_$arch.deb")
}

# what helm would package: the chart without what its .helmignore names
chart() {
    local pattern ignored=() folder=charts/postgres-backup
    while read -r pattern; do
        case $pattern in '' | '#'*) ;; *) ignored+=("--exclude=${pattern%/}") ;; esac
    done <"$folder/.helmignore"
    archive "postgres-backup-$(sed -n 's/^version: //p' "$folder/Chart.yaml").tgz" charts postgres-backup "${ignored[@]}"
}

machine=$(uname -m)
declare -A binaries
if [ -n "${BINARY:-}" ]; then
    binaries[$machine]=$BINARY
else
    for arch in ${ARCHES:-x86_64 aarch64}; do
        binary=$(build "$arch")
        [ -z "$binary" ] || binaries[$arch]=$binary
    done
fi
# pages and completions are the same for every machine, and made by a binary that runs on this one
if [ -n "${binaries[$machine]:-}" ]; then
    own=${binaries[$machine]}
else
    cargo build --locked >&2
    own=target/debug/backup
fi
"$own" man --output "$work/man"
mkdir "$work/completions"
"$own" completions bash >"$work/completions/backup.bash"
"$own" completions zsh >"$work/completions/_backup"
"$own" completions fish >"$work/completions/backup.fish"

for arch in $(printf '%s\n' "${!binaries[@]}" | sort); do
    tarball "$arch" "${binaries[$arch]}"
    if command -v dpkg-deb >/dev/null; then
        debian "$arch" "${binaries[$arch]}"
    else
        say "no Debian package: there is no dpkg-deb here"
    fi
done
chart
python3 tests/tools/dist/sbom.py >"$dist/$name-$version.cdx.json"
made+=("$name-$version.cdx.json")
(cd "$dist" && sha256sum "${made[@]}" >SHA256SUMS && du -h "${made[@]}" SHA256SUMS)
