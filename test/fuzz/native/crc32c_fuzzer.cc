// libFuzzer target: CRC32C by the instruction, by tables and bit by bit are one, at any alignment and in any
// two pieces.
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "../../../native/crc32c.h"

namespace {

uint32_t BitByBit(uint32_t crc, const uint8_t* data, size_t length) {
  crc = ~crc;
  for (size_t i = 0; i < length; i++) {
    crc ^= data[i];
    for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82F63B78u : 0);
  }
  return ~crc;
}

void Check(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "crc32c_fuzzer: %s\n", what);
  std::abort();
}

}  // namespace

// Two bytes choose alignment and the place of the cut; the rest is data.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return -1;
  const size_t shift = data[0] % 16;
  std::vector<uint8_t> bytes(shift);
  bytes.insert(bytes.end(), data + 2, data + size);
  const uint8_t* begin = bytes.data() + shift;
  const size_t length = size - 2;
  const size_t cut = length * data[1] / 255;
  const uint32_t expected = BitByBit(0, begin, length);
  Check(footage::Crc32c(0, begin, length) == expected, "the CRC is wrong");
  Check(footage::Crc32cPortable(0, begin, length) == expected, "the CRC by tables is wrong");
  const uint32_t first = footage::Crc32c(0, begin, cut);
  Check(footage::Crc32c(first, begin + cut, length - cut) == expected, "the CRC of two pieces is wrong");
  return 0;
}
