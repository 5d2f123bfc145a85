#!/usr/bin/env bash
# Runs the addon under ThreadSanitizer: sessions that are cut at random moments, and worker threads that are terminated in
# mid-transfer. Plain node scripts, since under vitest its bundler's own threads are reported. Fails on any report, and if
# the addon under test was not the sanitized one.
#
# scripts/test-tsan.sh [SESSIONS]; needs the build (npm run build:ts).
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/sanitized.sh
sessions=${1:-1000}

sanitized_addon tsan
# Not ours: V8, whose locks TSan does not see since node itself is not sanitized, and libuv's pool lock where worker
# threads end. A race of our code with itself has none of them on top, so none is hidden.
cat >"$scratch/tsan.supp" <<'SUPPRESSIONS'
race:v8::platform
race:v8::
race:uv_rwlock_destroy
SUPPRESSIONS

export FOOTAGE_CUTS_MEMORY=0
export TSAN_OPTIONS=suppressions=$scratch/tsan.supp:exitcode=66:print_suppressions=0
library=$(g++ -print-file-name=libtsan.so)

sanitized() {
  echo "test-tsan: $*"
  LD_PRELOAD=$library node "$@" || {
    echo "test-tsan: failed with status $? (66: a race was reported)" >&2
    exit 1
  }
}

check_loads tsan "$library"
sanitized scripts/cut-sessions.mjs --sessions "$sessions" --native addon
sanitized test/sender/terminate-child.mjs
echo "test-tsan: passed with $addon"
