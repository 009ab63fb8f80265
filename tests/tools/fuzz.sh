#!/usr/bin/env bash
# Reads dumps that were made up, FUZZ_SECONDS for each of the targets in tests/fuzz; it ends 0 where none of them failed.
set -euo pipefail
cd "$(dirname "$0")/../.."
tools=$PWD/target/tools
[ -x "$tools/bin/cargo-fuzz" ] || cargo install cargo-fuzz --version 0.13.2 --locked --root "$tools"
# no sanitizer: the program has no unsafe code; the fuzzer wants the compiler's unstable options
export RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=$PWD/target/fuzz
package=$PWD/target/fuzz/package
mkdir -p "$package"
cp tests/fuzz/manifest.toml "$package/Cargo.toml"
cp -r tests/fuzz/fuzz_targets "$package"
# the versions that the program has
cp Cargo.lock "$package/Cargo.lock"
seeds=$PWD/target/fuzz/seeds
mkdir -p "$seeds/script" "$seeds/archive"
cp tests/sql/*.sql tests/*.sql "$seeds/script"
"$tools/bin/cargo-fuzz" build --sanitizer none --fuzz-dir "$package"
for target in script archive; do
    "$tools/bin/cargo-fuzz" run --sanitizer none --fuzz-dir "$package" "$target" "$seeds/$target" -- \
        -max_total_time="${FUZZ_SECONDS:-60}" -max_len=4096 -timeout=10 -verbosity=0 -print_final_stats=1
done
