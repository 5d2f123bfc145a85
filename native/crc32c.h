// CRC32C (Castagnoli, RFC 3720 B.4). Pure functions of their arguments; safe on every thread.
#pragma once

#include <cstddef>
#include <cstdint>

namespace footage {

// CRC32C of `data`, continuing from `crc` (0 to begin). Uses the CPU's instruction where there is one.
[[nodiscard]] uint32_t Crc32c(uint32_t crc, const uint8_t* data, size_t length);

// The same by tables only: the reference for the instruction, and what runs on CPUs without it.
[[nodiscard]] uint32_t Crc32cPortable(uint32_t crc, const uint8_t* data, size_t length);

}  // namespace footage
