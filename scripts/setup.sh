#!/usr/bin/env bash
# Makes a fresh clone ready for `npm run build`, `npm test` and `npm run bench`: Debian packages, then `npm ci`.
# Needs only bash, Node and npm; quick and silent about what is there already. It never touches a running service.
set -euo pipefail
cd "$(dirname "$0")/.."
# A user's PATH on Debian often lacks the folders where nginx lives.
export PATH="$PATH:/usr/sbin:/sbin"

# What is called, and the Debian package that brings it.
tools=(
  'g++ g++' 'gcc gcc' 'make make' 'python3 python3' 'cmake cmake' 'git git' 'curl curl' 'openssl openssl'
  'ffmpeg ffmpeg' 'ffprobe ffmpeg' 'chromium chromium' 'nginx nginx-light' 'strace strace' 'objdump binutils'
  'clang++-14 clang-14' 'mkfs.ext4 e2fsprogs' 'mkfs.xfs xfsprogs' 'losetup mount'
  'faketime faketime'
)

# The same of what is no command: the test camera, an RTSP server in Debian's own Python with GStreamer behind it.
libraries=(
  '/usr/lib/python3/dist-packages/gi/__init__.py python3-gi'
  '/usr/lib/*/girepository-1.0/GstRtspServer-1.0.typelib gir1.2-gst-rtsp-server-1.0'
  '/usr/lib/*/gstreamer-1.0/libgstrtp.so gstreamer1.0-plugins-good'
  '/usr/lib/*/gstreamer-1.0/libgstvideoparsersbad.so gstreamer1.0-plugins-bad'
)

missing_packages() {
  local entry
  for entry in "${tools[@]}"; do
    command -v "${entry% *}" >/dev/null 2>&1 || echo "${entry#* }"
  done | sort -u
  # The test media and the clips of the demo have text in the picture.
  [ -e /usr/share/fonts/truetype/dejavu/DejaVuSans-Bold.ttf ] || echo fonts-dejavu-core
  # clang comes without the runtime that fuzzers and sanitizers are linked with.
  compgen -G '/usr/lib/llvm-14/lib/clang/*/lib/linux/libclang_rt.fuzzer-*.a' >/dev/null || echo libclang-rt-14-dev
  for entry in "${libraries[@]}"; do
    compgen -G "${entry% *}" >/dev/null || echo "${entry#* }"
  done
}

# Installs without starting services, and leaves nginx disabled: only the tests and benchmarks start it.
install_packages() {
  local policy=/usr/sbin/policy-rc.d made_policy=
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    made_policy=1
    # shellcheck disable=SC2064
    trap "rm -f '$policy'" EXIT
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get update
  apt-get install --yes --no-install-recommends "$@"
  case " $* " in
    *' nginx-light '*)
      if command -v systemctl >/dev/null; then
        systemctl disable --quiet nginx || echo 'setup: nginx could not be disabled, it starts with the system' >&2
      fi
      ;;
  esac
  if [ -n "$made_policy" ]; then rm -f "$policy"; fi
}

check_node() {
  command -v node >/dev/null || { echo 'setup: Node.js 20.19 or newer is needed: https://nodejs.org' >&2; exit 1; }
  node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' ||
    { echo "setup: Node.js 20.19 or newer is needed, this is $(node --version)" >&2; exit 1; }
}

check_packages() {
  local packages
  mapfile -t packages < <(missing_packages)
  [ "${#packages[@]}" -gt 0 ] || return 0
  if ! command -v apt-get >/dev/null; then
    echo "setup: this is not Debian; install what corresponds to: ${packages[*]}" >&2
    exit 1
  fi
  if [ "$(id -u)" -ne 0 ]; then
    echo 'setup: tools are missing; run this and then setup again:' >&2
    echo "  sudo apt-get update && sudo apt-get install --yes --no-install-recommends ${packages[*]}" >&2
    exit 1
  fi
  install_packages "${packages[@]}"
  mapfile -t packages < <(missing_packages)
  [ "${#packages[@]}" -eq 0 ] || { echo "setup: still missing after the installation: ${packages[*]}" >&2; exit 1; }
}

# The stamp names the lock file and the Node ABI that node_modules was installed for.
install_modules() {
  local stamp=node_modules/.footage-setup want
  want="$(sha256sum <package-lock.json) $(node -p process.versions.modules)"
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ]; then return 0; fi
  npm ci
  printf '%s\n' "$want" >"$stamp"
}

check_node
check_packages
install_modules
echo 'setup: ready'
