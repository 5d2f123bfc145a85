// libFuzzer target: the scan of a hostile file. Whatever the bytes are,
//   1. the scan gives what the reference gives, in one batch and in many,
//   2. what it hands out is no larger than the file,
//   3. damaged ranges and records together cover what was scanned, without an overlap (the reference lays
//   them so).
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <limits>

#include "../../../native/scan.h"
#include "reference_scan.h"
#include "repair.h"
#include "segment_input.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace footage::fuzz {
namespace {

void Check(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "scan_fuzzer: %s\n", what);
  std::abort();
}

// One file in memory for all inputs.
int FileOf(const SegmentInput& input) {
  static const int fd = memfd_create("scan_fuzzer", 0);
  const size_t behind = input.hole_at + input.hole_bytes;
  const size_t rest = input.file.size() - behind;
  Check(fd >= 0 && ftruncate(fd, 0) == 0, "no file in memory");
  Check(ftruncate(fd, static_cast<off_t>(input.file.size())) == 0, "the file does not grow");
  Check(pwrite(fd, input.file.data(), input.hole_at, 0) == static_cast<ssize_t>(input.hole_at),
        "short write");
  Check(
      pwrite(fd, input.file.data() + behind, rest, static_cast<off_t>(behind)) == static_cast<ssize_t>(rest),
      "short write");
  return fd;
}

ScanOutput ScanFrom(const SegmentInput& input, int fd, uint64_t from, uint32_t limit) {
  return Scan({fd, from, std::numeric_limits<int64_t>::max(), input.seed, input.verify, input.resync, limit,
               nullptr});
}

template <typename T>
void Append(std::vector<T>& to, const std::vector<T>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

ScanOutput ScanInBatches(const SegmentInput& input, int fd, uint32_t limit) {
  ScanOutput all;
  all.next = input.from;
  do {
    const ScanOutput batch = ScanFrom(input, fd, all.next, limit);
    Check(batch.offsets.size() <= limit, "a batch is larger than its limit");
    Check(batch.stop != ScanStop::kLimit || batch.next > all.next, "a batch makes no progress");
    Append(all.records, batch.records);
    Append(all.offsets, batch.offsets);
    Append(all.damaged, batch.damaged);
    all.next = batch.next;
    all.stop = batch.stop;
  } while (all.stop == ScanStop::kLimit);
  return all;
}

void CheckSame(const ScanOutput& scanned, const Found& expected, const char* what) {
  Check(scanned.stop == (expected.stopped_at_damage ? ScanStop::kDamage : ScanStop::kEnd), what);
  Check(scanned.next == expected.next, what);
  Check(scanned.offsets == expected.offsets, what);
  Check(scanned.damaged == expected.damaged, what);
  Check(scanned.records == expected.records, what);
}

}  // namespace
}  // namespace footage::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace footage;
  using namespace footage::fuzz;
  if (size < kInputHeaderBytes) return -1;
  const SegmentInput input = ReadInput(data, size);
  const int fd = FileOf(input);
  const Found expected = ReferenceScan(input);
  const ScanOutput whole = ScanFrom(input, fd, input.from, std::numeric_limits<uint32_t>::max());
  Check(whole.records.size() <= input.file.size(), "more is handed out than the file has");
  CheckSame(whole, expected, "the scan differs from the reference");
  // At most ten batches: each makes a window of its own.
  const uint32_t limit = std::max(input.batch, static_cast<uint32_t>(whole.offsets.size() / 8 + 1));
  CheckSame(ScanInBatches(input, fd, limit), expected, "the scan in batches differs from the reference");
  return 0;
}

// Most random changes end at a CRC: after a mutation the CRCs are often made to hold again.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned int seed) {
  using namespace footage::fuzz;
  Choices choices(seed);
  size_t length =
      choices.OneIn(3) ? MutateRecord(data, size, max_size, choices) : LLVMFuzzerMutate(data, size, max_size);
  if (length < kInputHeaderBytes) return length;
  // Large files are slow: one in many.
  if (!choices.OneIn(12)) data[10] = 0;
  if (!choices.OneIn(3)) Repair(data, length, choices);
  return length;
}
