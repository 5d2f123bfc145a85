#include "reference_scan.h"

#include <algorithm>
#include <optional>

#include "../../../native/crc32c.h"

namespace footage::fuzz {
namespace {

class Reference {
 public:
  explicit Reference(const SegmentInput& input) : input_(input), size_(input.file.size()) {}

  Found Run() {
    found_.next = input_.from;
    while (found_.next < size_) {
      if (Take(found_.next, input_.verify)) continue;
      if (!input_.resync) {
        found_.stopped_at_damage = true;
        break;
      }
      Search();
    }
    return found_;
  }

 private:
  const uint8_t* At(uint64_t position) const { return input_.file.data() + position; }

  bool Take(uint64_t at, bool check_payload) {
    if (at + kDelimiterBytes > size_ || ReadU32(At(at)) != kMagic) return false;
    if (Crc32cPortable(input_.seed, At(at), 28) != ReadU32(At(at) + 28)) return false;
    const uint64_t length = ReadU32(At(at) + 8);
    const uint64_t end = at + kDelimiterBytes + length;
    if (end > size_) return false;
    const uint8_t* payload = At(at) + kDelimiterBytes;
    if (check_payload && Crc32cPortable(0, payload, length) != ReadU32(At(at) + 24)) return false;
    const std::optional<uint64_t> kept = Kept(At(at)[4], payload, length);
    if (!kept) return false;
    found_.records.insert(found_.records.end(), At(at), payload + *kept);
    found_.offsets.push_back(static_cast<double>(at));
    found_.next = end;
    return true;
  }

  // Bytes of the payload that are handed on; nothing if the payload breaks the rules of its type.
  static std::optional<uint64_t> Kept(uint8_t type, const uint8_t* payload, uint64_t length) {
    const bool group = type == 5;
    if (!group && type != 1 && type != 2 && type != 3 && type != 7) return 0;
    if (length > kMaxPayload) return std::nullopt;
    if (!group) return length;
    if (length < 4) return std::nullopt;
    const uint64_t table = 4 + uint64_t{8} * ReadU32(payload);
    if (table > length) return std::nullopt;
    uint64_t sum = table;
    for (uint64_t at = 4; at < table; at += 8) sum += ReadU32(payload + at);
    return sum == length ? std::optional<uint64_t>(table) : std::nullopt;
  }

  void Search() {
    const uint64_t from = found_.next;
    uint64_t at = from + 1;
    while (at < size_ && !Take(at, true)) at++;
    if (at >= size_) found_.next = std::max(from, size_);
    found_.damaged.push_back(static_cast<double>(from));
    found_.damaged.push_back(static_cast<double>(std::min(at, size_)));
  }

  const SegmentInput& input_;
  const uint64_t size_;
  Found found_ = {};
};

}  // namespace

Found ReferenceScan(const SegmentInput& input) { return Reference(input).Run(); }

}  // namespace footage::fuzz
