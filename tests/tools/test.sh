#!/usr/bin/env bash
# Runs all tests and adds up how many ran.
set -uo pipefail
cd "$(dirname "$0")/../.."
# most of a test is waiting for servers
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-4}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
cargo test --locked --no-fail-fast "$@" 2>&1 | tee "$log"
status=${PIPESTATUS[0]}
awk '/^test result:/ { passed += $4; failed += $6; ignored += $8 }
     END { printf "%d passed, %d failed, %d skipped\n", passed, failed, ignored }' "$log"
exit "$status"
