#!/usr/bin/env bash
# Runs the tests of the addon and of the senders, and sessions that are cut at random moments, against an AddressSanitizer
# and UndefinedBehaviorSanitizer build. Fails on any finding, on any leak of ours, and if the addon under test was not the
# sanitized one. FOOTAGE_CUTS is how many sessions (default 500); they need the build (npm run build:ts).
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/sanitized.sh

sanitized_addon asan
# Not ours: vite's bundler, OpenSSL in Node 24 and later, and V8's heap, which a process that ends by process.exit()
# does not take down. No call of ours runs below these functions, so no leak of ours is hidden.
cat >"$scratch/lsan.supp" <<'SUPPRESSIONS'
leak:rolldown
leak:CRYPTO_malloc
leak:v8::internal::Heap
leak:v8::internal::CodeObjectRegistry
leak:v8::internal::MemoryChunk
leak:v8::internal::Page::
leak:v8::internal::BodyDescriptorBase
leak:v8::internal::Scavenge
leak:Heap_CombinedGenerationalAndSharedBarrierSlow
SUPPRESSIONS

export ASAN_OPTIONS=detect_leaks=1
export LSAN_OPTIONS=suppressions=$scratch/lsan.supp:print_suppressions=0
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
libraries="$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libubsan.so)"

check_loads asan "$libraries"
export LD_PRELOAD=$libraries
# What was freed is kept for a while, so the limits of memory do not hold.
FOOTAGE_CUTS_MEMORY=0 node scripts/cut-sessions.mjs --sessions "${FOOTAGE_CUTS:-500}" --native addon
# Left out is what says nothing of the addon here: how much memory a process has in use, and processes that take minutes.
node node_modules/vitest/vitest.mjs run test/native test/sender \
  --exclude test/sender/backpressure.test.ts --exclude test/sender/processes.test.ts "$@"
echo "test-asan: passed with $addon"
