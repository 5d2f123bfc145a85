// The blocking jobs (scan, group flush) as promises: they run on the libuv thread pool and touch no JS value
// there.
#pragma once

#include <napi.h>

namespace footage {

// crc32c(data: Uint8Array, crc: number): number
Napi::Value Crc32cOf(const Napi::CallbackInfo& info);

// scan(fd, from, to, seed, verify, resync, limit, cancel: Int32Array | undefined): Promise<ScanResult>
Napi::Value ScanFile(const Napi::CallbackInfo& info);

// groupFlush(fds: Int32Array): Promise<Int32Array>
Napi::Value FlushFiles(const Napi::CallbackInfo& info);

}  // namespace footage
