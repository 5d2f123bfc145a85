#include "segment_input.h"

#include <algorithm>
#include <cstring>

namespace footage::fuzz {

uint32_t ReadU32(const uint8_t* bytes) {
  return uint32_t{bytes[0]} << 24 | uint32_t{bytes[1]} << 16 | uint32_t{bytes[2]} << 8 | bytes[3];
}

void WriteU32(uint8_t* bytes, uint32_t value) {
  for (int i = 0; i < 4; i++) bytes[i] = static_cast<uint8_t>(value >> (24 - 8 * i));
}

SegmentInput ReadInput(const uint8_t* data, size_t size) {
  const size_t length = size - kInputHeaderBytes;
  const uint8_t* body = data + kInputHeaderBytes;
  SegmentInput input;
  input.verify = (data[0] & 1) != 0;
  input.resync = (data[0] & 2) != 0;
  input.batch = uint32_t{data[1]} + 1;
  input.seed = ReadU32(data + 2);
  input.from = static_cast<uint64_t>(data[6]) << 8 | data[7];
  input.hole_at = std::min<size_t>(length, static_cast<size_t>(data[8]) << 8 | data[9]);
  input.hole_bytes = std::min<size_t>(data[10], kMaxHoleBlocks) * kHoleBlockBytes;
  input.file.resize(length + input.hole_bytes);
  std::copy(body, body + input.hole_at, input.file.begin());
  const auto behind = input.file.begin() + static_cast<std::ptrdiff_t>(input.hole_at + input.hole_bytes);
  std::copy(body + input.hole_at, body + length, behind);
  return input;
}

void WriteFile(const SegmentInput& input, uint8_t* data) {
  uint8_t* body = data + kInputHeaderBytes;
  const auto at = static_cast<std::ptrdiff_t>(input.hole_at);
  const auto hole = static_cast<std::ptrdiff_t>(input.hole_bytes);
  std::copy(input.file.begin(), input.file.begin() + at, body);
  std::copy(input.file.begin() + at + hole, input.file.end(), body + at);
}

}  // namespace footage::fuzz
