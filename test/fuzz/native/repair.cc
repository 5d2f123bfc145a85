#include "repair.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "../../../native/crc32c.h"
#include "segment_input.h"

namespace footage::fuzz {
namespace {

constexpr std::array<uint8_t, 4> kMagicBytes = {0xF5, 0x46, 0x54, 0x4D};
constexpr std::array<uint32_t, 14> kLengths = {
    0, 1, 3, 4, 12, 31, 32, 4095, 4096, 4097, 1 << 20, (1 << 20) + 1, 0x7FFFFFFF, 0xFFFFFFFF};

// Where delimiters begin in the bytes.
std::vector<size_t> DelimitersOf(const uint8_t* bytes, size_t size) {
  std::vector<size_t> found;
  const uint8_t* end = bytes + size;
  for (const uint8_t* at = bytes;; at += 4) {
    at = std::search(at, end, kMagicBytes.begin(), kMagicBytes.end());
    if (at == end || static_cast<size_t>(end - at) < kDelimiterBytes) return found;
    found.push_back(static_cast<size_t>(at - bytes));
  }
}

uint32_t AnyLength(Choices& choices, size_t rest) {
  if (choices.OneIn(2)) return kLengths[choices.Below(kLengths.size())];
  return choices.Below(static_cast<uint32_t>(rest) + 2);
}

void ChangeField(uint8_t* delimiter, size_t rest, Choices& choices) {
  switch (choices.Below(4)) {
    case 0:
      delimiter[4] = static_cast<uint8_t>(choices.Below(9));
      break;
    case 1:
      WriteU32(delimiter + 8, AnyLength(choices, rest - kDelimiterBytes));
      break;
    case 2:  // the count of a group, or any size in its table
      if (rest < kDelimiterBytes + 8) break;
      WriteU32(delimiter + kDelimiterBytes + (choices.OneIn(2) ? 0 : 4), AnyLength(choices, rest));
      break;
    default:
      delimiter[choices.Below(kDelimiterBytes)] ^= static_cast<uint8_t>(1u << choices.Below(8));
  }
}

// Puts `length` bytes in at `at`, as many as there is room for; returns the new size.
size_t Insert(uint8_t* data, size_t size, size_t max_size, size_t at, const std::vector<uint8_t>& bytes) {
  if (size + bytes.size() > max_size) return size;
  std::memmove(data + at + bytes.size(), data + at, size - at);
  std::copy(bytes.begin(), bytes.end(), data + at);
  return size + bytes.size();
}

std::vector<uint8_t> NewRecord(Choices& choices) {
  std::vector<uint8_t> record(kDelimiterBytes + choices.Below(64));
  std::copy(kMagicBytes.begin(), kMagicBytes.end(), record.begin());
  record[4] = static_cast<uint8_t>(1 + choices.Below(8));
  WriteU32(record.data() + 8, static_cast<uint32_t>(record.size() - kDelimiterBytes));
  return record;
}

}  // namespace

size_t MutateRecord(uint8_t* data, size_t size, size_t max_size, Choices& choices) {
  if (size < kInputHeaderBytes) return size;
  uint8_t* body = data + kInputHeaderBytes;
  const std::vector<size_t> delimiters = DelimitersOf(body, size - kInputHeaderBytes);
  if (delimiters.empty()) return Insert(data, size, max_size, kInputHeaderBytes, NewRecord(choices));
  const size_t one = delimiters[choices.Below(static_cast<uint32_t>(delimiters.size()))];
  const size_t rest = size - kInputHeaderBytes - one;
  if (choices.OneIn(4)) return Insert(data, size, max_size, kInputHeaderBytes + one, NewRecord(choices));
  if (choices.OneIn(4)) {
    const size_t length = std::min<size_t>(rest, kDelimiterBytes + choices.Below(128));
    return Insert(data, size, max_size, kInputHeaderBytes + one, {body + one, body + one + length});
  }
  ChangeField(body + one, rest, choices);
  return size;
}

void Repair(uint8_t* data, size_t size, Choices& choices) {
  SegmentInput input = ReadInput(data, size);
  const size_t file_bytes = input.file.size();
  for (const size_t at : DelimitersOf(input.file.data(), file_bytes)) {
    if (choices.OneIn(8)) continue;
    uint8_t* delimiter = input.file.data() + at;
    const uint64_t length = ReadU32(delimiter + 8);
    if (at + kDelimiterBytes + length <= file_bytes) {
      WriteU32(delimiter + 24, Crc32c(0, delimiter + kDelimiterBytes, length));
    }
    WriteU32(delimiter + 28, Crc32c(input.seed, delimiter, 28));
  }
  WriteFile(input, data);
}

}  // namespace footage::fuzz
