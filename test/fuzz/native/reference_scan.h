// The scan as docs/format.md defines it, over bytes in memory: no windows, no batches, no reads. What the
// real one is held against.
#pragma once

#include <cstdint>
#include <vector>

#include "segment_input.h"

namespace footage::fuzz {

struct Found {
  std::vector<uint8_t> records;
  std::vector<double> offsets;
  std::vector<double> damaged;
  uint64_t next;
  bool stopped_at_damage;
};

[[nodiscard]] Found ReferenceScan(const SegmentInput& input);

}  // namespace footage::fuzz
