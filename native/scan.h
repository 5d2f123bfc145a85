// Frame scan: finds the records of a segment by their delimiters, with positioned reads. Blocks; for a pool
// thread. Knows the delimiter and the table of a group, nothing of MP4. The layout is written down in
// docs/format.md.
//
// A record at `pos` is valid if and only if
//   1. its first four bytes are the magic and the CRC of its header (seeded) holds,
//   2. pos + 32 + length <= to,
//   3. a group's table fits and its sizes sum up to the rest of the payload; no other payload that is read
//   whole
//      exceeds kMaxPayload,
//   4. the payload CRC holds, where it is asked for: with `verify`, and for a record found by a search.
// Bytes that the disk cannot read (EIO) are damage as any other where damage is looked for (`verify`,
// `resync`); a scan that only hops fails.
#pragma once

#include <cstdint>
#include <vector>

namespace footage {

struct ScanInput {
  int fd;
  uint64_t from;
  uint64_t to;  // nothing at or behind it is read; a shorter file ends the scan earlier
  uint32_t seed;
  bool verify;
  bool resync;
  uint32_t limit;
  const int32_t* cancel;  // may be null; polled with an atomic load; the caller keeps it alive
};

enum class ScanStop { kEnd, kLimit, kDamage, kCancelled, kFailed };

struct ScanOutput {
  std::vector<uint8_t> records;
  std::vector<double> offsets;
  std::vector<double> damaged;  // pairs [from, to)
  uint64_t next = 0;
  ScanStop stop = ScanStop::kEnd;
  int error = 0;             // errno, with kFailed
  const char* syscall = "";  // what failed, with kFailed
};

[[nodiscard]] ScanOutput Scan(const ScanInput& input);

}  // namespace footage
