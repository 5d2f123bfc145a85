# Sourced by test-asan.sh and test-tsan.sh: builds the addon with a sanitizer and makes sure that it is the one under test.
# The caller says what findings are not ours: suppressions go into "$scratch", which is removed at the end.

# sanitized_addon NAME, the name of its build (npm run native:NAME). Sets `addon`, the file, and `scratch`.
sanitized_addon() {
  local name=$1 variant=$PWD/build-cmake/$1 picked
  npm run "native:$name"
  addon=$variant/build/Debug/footage.node
  [ -f "$addon" ] || { echo "test-$name: $addon was not built" >&2; exit 1; }
  grep -q "__${name}_init" "$addon" || { echo "test-$name: $addon is not sanitized" >&2; exit 1; }
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  # node-gyp-build must pick the sanitized file; the tests and their child processes inherit the variables.
  export FOOTAGE_NATIVE=1 FOOTAGE_PREBUILD=$variant
  picked=$(node -p "require('node-gyp-build').path(process.cwd())")
  [ "$picked" = "$addon" ] || { echo "test-$name: $picked would be loaded instead of $addon" >&2; exit 1; }
}

# check_loads NAME LIBRARIES, those to be loaded before the program: the addon loads, and its sanitizer with it.
check_loads() {
  LD_PRELOAD=$2 node -e "
    require('node-gyp-build')(process.cwd());
    const maps = require('node:fs').readFileSync('/proc/self/maps', 'utf8');
    if (!maps.includes('$addon') || !maps.includes('lib$1')) process.exit(1);
  " || { echo "test-$1: the sanitized addon does not load" >&2; exit 1; }
}
