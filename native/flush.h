// Group flush: makes the data of many files durable. Blocks; for a pool thread.
#pragma once

#include <cstddef>
#include <cstdint>

namespace footage {

// Starts write-back on all files, then fdatasyncs each, so the disk sees the whole group at once and yet
// every error is known per file. errors[i] is 0 or the errno of fds[i]. The caller keeps the descriptors open
// meanwhile.
void FlushGroup(const int32_t* fds, int32_t* errors, size_t count);

}  // namespace footage
