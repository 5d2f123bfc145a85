// CRC32C three ways: the x86-64 SSE4.2 instruction, the ARMv8 one, and slicing-by-8. Which one runs is
// decided once, at run time; only the functions that use an instruction are compiled for it.
//
// The instruction has a latency of 3 cycles and a throughput of 1, so long inputs go through it as three
// interleaved streams. Their CRCs are joined by "append n zero bytes", which is linear over GF(2) and so a
// table look-up.
#include "crc32c.h"

#include <array>
#include <bit>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#define FOOTAGE_CRC_TARGET __attribute__((target("sse4.2")))
#elif defined(__aarch64__)
#include <arm_acle.h>
#include <asm/hwcap.h>
#include <sys/auxv.h>
#define FOOTAGE_CRC_TARGET __attribute__((target("+crc")))
#endif

namespace footage {
namespace {

static_assert(std::endian::native == std::endian::little, "words are read as little-endian");

constexpr uint32_t kPolynomial = 0x82F63B78;  // 0x1EDC6F41 with its bits reversed

using Table = std::array<uint32_t, 256>;

constexpr std::array<Table, 8> MakeSlicingTables() {
  std::array<Table, 8> tables{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? kPolynomial : 0);
    tables[0][i] = crc;
  }
  for (uint32_t i = 0; i < 256; ++i) {
    for (size_t t = 1; t < 8; ++t)
      tables[t][i] = (tables[t - 1][i] >> 8) ^ tables[0][tables[t - 1][i] & 0xFF];
  }
  return tables;
}

constexpr std::array<Table, 8> kSlicing = MakeSlicingTables();

uint64_t LoadWord(const uint8_t* data) {
  uint64_t word;
  std::memcpy(&word, data, sizeof word);
  return word;
}

#ifdef FOOTAGE_CRC_TARGET

// A 32x32 matrix over GF(2), as its columns.
using Matrix = std::array<uint32_t, 32>;

constexpr uint32_t Multiply(const Matrix& matrix, uint32_t vector) {
  uint32_t sum = 0;
  for (size_t column = 0; vector != 0; ++column, vector >>= 1) {
    if ((vector & 1) != 0) sum ^= matrix[column];
  }
  return sum;
}

// The matrix that appends 2^power zero bytes.
constexpr Matrix ZeroBytes(int power) {
  Matrix matrix{};
  for (uint32_t bit = 0; bit < 32; ++bit) {
    const uint32_t crc = uint32_t{1} << bit;
    matrix[bit] = (crc >> 8) ^ kSlicing[0][crc & 0xFF];
  }
  for (int i = 0; i < power; ++i) {
    Matrix square{};
    for (size_t column = 0; column < 32; ++column) square[column] = Multiply(matrix, matrix[column]);
    matrix = square;
  }
  return matrix;
}

using ShiftTable = std::array<Table, 4>;

constexpr ShiftTable MakeShiftTable(int power) {
  const Matrix matrix = ZeroBytes(power);
  ShiftTable table{};
  for (uint32_t byte = 0; byte < 4; ++byte) {
    for (uint32_t value = 0; value < 256; ++value) table[byte][value] = Multiply(matrix, value << (8 * byte));
  }
  return table;
}

constexpr int kLongPower = 12;
constexpr int kShortPower = 8;
constexpr ShiftTable kShiftLong = MakeShiftTable(kLongPower);
constexpr ShiftTable kShiftShort = MakeShiftTable(kShortPower);

uint32_t Shift(const ShiftTable& table, uint32_t crc) {
  return table[0][crc & 0xFF] ^ table[1][(crc >> 8) & 0xFF] ^ table[2][(crc >> 16) & 0xFF] ^
         table[3][crc >> 24];
}

#if defined(__x86_64__)
bool HasInstruction() { return __builtin_cpu_supports("sse4.2") != 0; }
FOOTAGE_CRC_TARGET inline uint32_t Step8(uint32_t crc, uint64_t word) {
  return static_cast<uint32_t>(_mm_crc32_u64(crc, word));
}
FOOTAGE_CRC_TARGET inline uint32_t Step1(uint32_t crc, uint8_t byte) { return _mm_crc32_u8(crc, byte); }
#else
bool HasInstruction() { return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0; }
FOOTAGE_CRC_TARGET inline uint32_t Step8(uint32_t crc, uint64_t word) { return __crc32cd(crc, word); }
FOOTAGE_CRC_TARGET inline uint32_t Step1(uint32_t crc, uint8_t byte) { return __crc32cb(crc, byte); }
#endif

// Three neighbouring blocks of 2^power bytes; `crc` is the raw register (not inverted).
FOOTAGE_CRC_TARGET uint32_t ThreeBlocks(uint32_t crc, const uint8_t* data, int power,
                                        const ShiftTable& shift) {
  const size_t block = size_t{1} << power;
  uint32_t second = 0;
  uint32_t third = 0;
  for (size_t i = 0; i < block; i += 8) {
    crc = Step8(crc, LoadWord(data + i));
    second = Step8(second, LoadWord(data + block + i));
    third = Step8(third, LoadWord(data + 2 * block + i));
  }
  return Shift(shift, Shift(shift, crc) ^ second) ^ third;
}

FOOTAGE_CRC_TARGET uint32_t Crc32cInstruction(uint32_t crc, const uint8_t* data, size_t length) {
  constexpr size_t kLong = size_t{3} << kLongPower;
  constexpr size_t kShort = size_t{3} << kShortPower;
  crc = ~crc;
  for (; length >= kLong; length -= kLong, data += kLong)
    crc = ThreeBlocks(crc, data, kLongPower, kShiftLong);
  for (; length >= kShort; length -= kShort, data += kShort)
    crc = ThreeBlocks(crc, data, kShortPower, kShiftShort);
  for (; length >= 8; length -= 8, data += 8) crc = Step8(crc, LoadWord(data));
  for (; length > 0; --length, ++data) crc = Step1(crc, *data);
  return ~crc;
}

#endif  // FOOTAGE_CRC_TARGET

}  // namespace

uint32_t Crc32cPortable(uint32_t crc, const uint8_t* data, size_t length) {
  crc = ~crc;
  for (; length >= 8; length -= 8, data += 8) {
    const uint64_t word = LoadWord(data) ^ crc;
    crc = 0;
    for (int i = 0; i < 8; ++i) crc ^= kSlicing[7 - i][(word >> (8 * i)) & 0xFF];
  }
  for (; length > 0; --length, ++data) crc = (crc >> 8) ^ kSlicing[0][(crc ^ *data) & 0xFF];
  return ~crc;
}

uint32_t Crc32c(uint32_t crc, const uint8_t* data, size_t length) {
#ifdef FOOTAGE_CRC_TARGET
  static const bool has_instruction = HasInstruction();
  if (has_instruction) return Crc32cInstruction(crc, data, length);
#endif
  return Crc32cPortable(crc, data, length);
}

}  // namespace footage
