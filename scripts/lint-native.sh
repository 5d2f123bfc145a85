#!/usr/bin/env bash
# Checks the format of the C++ sources where clang-format-14 is installed; the pinned version keeps results equal.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! command -v clang-format-14 >/dev/null; then
  echo 'lint: clang-format-14 is not installed, the C++ format was not checked'
  exit 0
fi
find native bench test/native test/fuzz/native \( -name '*.cc' -o -name '*.h' -o -name '*.c' \) -print0 | xargs -0 -r clang-format-14 --dry-run -Werror
