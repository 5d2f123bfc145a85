// What a fuzzer's input says: how to scan, and the bytes of a file. For the fuzzers of the scan only.
//
//   0  flags: 1 verify, 2 resync
//   1  records per batch, less 1
//   2  seed of the header CRCs (4)
//   6  where the scan begins (2)
//   8  where a hole of zeros is put in (2), and its length in blocks of 16 KiB (1)
//  11  the file without the hole
//
// The hole makes files larger than the windows of the scan out of inputs that are small enough to mutate.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace footage::fuzz {

constexpr size_t kInputHeaderBytes = 11;
constexpr size_t kHoleBlockBytes = 16 << 10;
constexpr size_t kMaxHoleBlocks = 127;
constexpr size_t kDelimiterBytes = 32;
constexpr uint32_t kMagic = 0xF546544D;
constexpr uint32_t kMaxPayload = 1 << 20;

struct SegmentInput {
  bool verify;
  bool resync;
  uint32_t batch;
  uint32_t seed;
  uint64_t from;
  size_t hole_at;
  size_t hole_bytes;
  std::vector<uint8_t> file;  // with the hole
};

// `size` is at least kInputHeaderBytes.
[[nodiscard]] SegmentInput ReadInput(const uint8_t* data, size_t size);

// Puts the file back behind the header of `data`, without the hole.
void WriteFile(const SegmentInput& input, uint8_t* data);

[[nodiscard]] uint32_t ReadU32(const uint8_t* bytes);
void WriteU32(uint8_t* bytes, uint32_t value);

}  // namespace footage::fuzz
