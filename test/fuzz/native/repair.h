// Mutations that know the delimiter, and CRCs that hold again: what a hostile writer would do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>

namespace footage::fuzz {

// Reproducible choices.
class Choices {
 public:
  explicit Choices(unsigned int seed) : engine_(seed) {}
  // From 0 up to `count`, without it; 0 if that is 0.
  uint32_t Below(uint32_t count) { return count == 0 ? 0 : static_cast<uint32_t>(engine_() % count); }
  bool OneIn(uint32_t count) { return Below(count) == 0; }

 private:
  std::minstd_rand engine_;
};

// Changes a field of a delimiter or the count of a group, doubles a record, or makes a new one. Returns the
// new size.
[[nodiscard]] size_t MutateRecord(uint8_t* data, size_t size, size_t max_size, Choices& choices);

// Writes the CRCs of the delimiters again, most of them.
void Repair(uint8_t* data, size_t size, Choices& choices);

}  // namespace footage::fuzz
