// Frame scan: see scan.h. One window of the file is held in memory; hopping refills it at each delimiter that
// lies outside, so a record costs at most one pread. The window grows while records are small and shrinks
// when they are not.
#include "scan.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include "crc32c.h"

namespace footage {
namespace {

constexpr size_t kDelimiterBytes = 32;
constexpr uint32_t kMagic = 0xF546544D;
constexpr uint8_t kMagicBytes[4] = {0xF5, 0x46, 0x54, 0x4D};
constexpr uint32_t kMaxPayload = 1 << 20;
constexpr size_t kSmallWindow = 4 << 10;
constexpr size_t kLargeWindow = 512 << 10;
constexpr size_t kBufferBytes = kMaxPayload + kDelimiterBytes;
// What a disk fails to read at once, at the most: a page.
constexpr uint64_t kBlockBytes = 4096;
// Of which so many in one scan are bad sectors; more is a disk that is gone, and may come back.
constexpr int kMaxSkipped = 256;

enum Type : uint8_t {
  kHead = 1,
  kConfiguration = 2,
  kAnchor = 3,
  kFrame = 4,
  kGroup = 5,
  kVoid = 6,
  kEnd = 7
};

struct Failure {
  int error;
  const char* syscall;
};
struct Cancelled {};

uint32_t ReadU32(const uint8_t* bytes) {
  uint32_t value;
  std::memcpy(&value, bytes, sizeof value);
  return __builtin_bswap32(value);
}

// The length of a regular file limits the scan; other files (block devices) end where read says so.
uint64_t ClampToFile(int fd, uint64_t to) {
  struct statx info;
  if (statx(fd, "", AT_EMPTY_PATH, STATX_TYPE | STATX_SIZE, &info) != 0) throw Failure{errno, "statx"};
  if (S_ISREG(info.stx_mode)) return std::min<uint64_t>(to, info.stx_size);
  return to;
}

// The part of the file that is in memory.
class Window {
 public:
  // `tolerant`: bytes that the disk cannot read are zeros, in which nothing is valid; otherwise they end the
  // scan.
  Window(int fd, uint64_t end, bool tolerant)
      : fd_(fd), end_(end), tolerant_(tolerant), bytes_(new uint8_t[kBufferBytes]) {}

  [[nodiscard]] uint64_t end() const { return end_; }
  [[nodiscard]] bool holds(uint64_t at, size_t length) const {
    return at >= start_ && at + length <= start_ + size_;
  }

  // Bytes [at, at + length), length <= kBufferBytes; reads `ahead` bytes if it has to read. Null if the file
  // ends before.
  [[nodiscard]] const uint8_t* Get(uint64_t at, size_t length, size_t ahead) {
    if (at + length > end_) return nullptr;
    if (!holds(at, length)) Fill(at, std::max(length, ahead));
    return holds(at, length) ? bytes_.get() + (at - start_) : nullptr;
  }

  // How many bytes from `at` on are in memory.
  [[nodiscard]] size_t HeldFrom(uint64_t at) const { return static_cast<size_t>(start_ + size_ - at); }

 private:
  void Fill(uint64_t at, size_t want) {
    want = static_cast<size_t>(std::min<uint64_t>({want, kBufferBytes, end_ - at}));
    start_ = at;
    size_ = 0;
    while (size_ < want) {
      const ssize_t got = pread(fd_, bytes_.get() + size_, want - size_, static_cast<off_t>(at + size_));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0 && errno == EIO && tolerant_ && skipped_ < kMaxSkipped) {
        SkipBlock(want);
        continue;
      }
      if (got < 0) throw Failure{errno, "pread"};
      if (got == 0) {
        end_ = at + size_;  // truncated meanwhile
        return;
      }
      size_ += static_cast<size_t>(got);
    }
  }

  // Takes what is left of a block of the disk as zeros.
  void SkipBlock(size_t want) {
    const size_t left = static_cast<size_t>(kBlockBytes - (start_ + size_) % kBlockBytes);
    const size_t length = std::min(left, want - size_);
    std::memset(bytes_.get() + size_, 0, length);
    ++skipped_;
    size_ += length;
  }

  const int fd_;
  uint64_t end_;
  const bool tolerant_;
  int skipped_ = 0;
  uint64_t start_ = 0;
  size_t size_ = 0;
  const std::unique_ptr<uint8_t[]> bytes_;
};

struct Record {
  uint8_t bytes[kDelimiterBytes];
  [[nodiscard]] uint8_t type() const { return bytes[4]; }
  [[nodiscard]] uint32_t length() const { return ReadU32(bytes + 8); }
  [[nodiscard]] uint32_t payload_crc() const { return ReadU32(bytes + 24); }
};

class Scanner {
 public:
  explicit Scanner(const ScanInput& input)
      : input_(input),
        window_(input.fd, ClampToFile(input.fd, input.to), input.verify || input.resync),
        pos_(input.from) {}

  void Run(ScanOutput& out) {
    out.stop = Loop(out);
    out.next = pos_;
  }

 private:
  ScanStop Loop(ScanOutput& out) {
    while (pos_ < window_.end()) {
      PollCancel();
      if (out.offsets.size() >= input_.limit) return ScanStop::kLimit;
      if (Take(pos_, input_.verify, out)) continue;
      if (!input_.resync) return ScanStop::kDamage;
      Search(out);
    }
    return ScanStop::kEnd;
  }

  // Takes the record at `at` and moves behind it; false if there is no valid one.
  [[nodiscard]] bool Take(uint64_t at, bool check_payload, ScanOutput& out) {
    Adapt(at);
    const uint8_t* bytes = window_.Get(at, kDelimiterBytes, ahead_);
    if (bytes == nullptr || !HeaderHolds(bytes)) return false;
    Record record;
    std::memcpy(record.bytes, bytes, kDelimiterBytes);
    if (record.length() > window_.end() - at - kDelimiterBytes) return false;
    if (check_payload && !PayloadHolds(at, record)) return false;
    const size_t mark = out.records.size();
    if (!Append(at, record, out)) {
      out.records.resize(mark);
      return false;
    }
    out.offsets.push_back(static_cast<double>(at));
    pos_ = at + kDelimiterBytes + record.length();
    return true;
  }

  // Sets how much the next read takes: all that is needed to go on sequentially when everything is read
  // anyway.
  void Adapt(uint64_t at) {
    if (input_.verify) {
      ahead_ = kLargeWindow;
    } else if (window_.holds(at, kDelimiterBytes)) {
      ++hits_;
    } else {
      ahead_ = hits_ > 1 ? std::min(ahead_ * 2, kLargeWindow) : std::max(ahead_ / 2, kSmallWindow);
      hits_ = 0;
    }
  }

  [[nodiscard]] bool HeaderHolds(const uint8_t* bytes) const {
    return ReadU32(bytes) == kMagic && Crc32c(input_.seed, bytes, 28) == ReadU32(bytes + 28);
  }

  [[nodiscard]] bool PayloadHolds(uint64_t at, const Record& record) {
    uint32_t crc = 0;
    uint64_t from = at + kDelimiterBytes;
    uint64_t left = record.length();
    while (left > 0) {
      PollCancel();
      const uint8_t* bytes = window_.Get(from, 1, kLargeWindow);
      if (bytes == nullptr) return false;
      const size_t part = static_cast<size_t>(std::min<uint64_t>(left, window_.HeldFrom(from)));
      crc = Crc32c(crc, bytes, part);
      from += part;
      left -= part;
    }
    return crc == record.payload_crc();
  }

  // Appends the delimiter and what the caller is given of the payload.
  [[nodiscard]] bool Append(uint64_t at, const Record& record, ScanOutput& out) {
    out.records.insert(out.records.end(), record.bytes, record.bytes + kDelimiterBytes);
    switch (record.type()) {
      case kHead:
      case kConfiguration:
      case kAnchor:
      case kEnd:
        return AppendPayload(at, record.length(), out);
      case kGroup:
        return AppendTable(at, record.length(), out);
      default:  // frame, void, and types of later versions
        return true;
    }
  }

  [[nodiscard]] bool AppendPayload(uint64_t at, uint32_t length, ScanOutput& out) {
    if (length > kMaxPayload) return false;
    if (length == 0) return true;
    const uint8_t* bytes = window_.Get(at + kDelimiterBytes, length, ahead_);
    if (bytes == nullptr) return false;
    out.records.insert(out.records.end(), bytes, bytes + length);
    return true;
  }

  [[nodiscard]] bool AppendTable(uint64_t at, uint32_t length, ScanOutput& out) {
    if (length < 4 || length > kMaxPayload) return false;
    const uint8_t* bytes = window_.Get(at + kDelimiterBytes, 4, ahead_);
    if (bytes == nullptr) return false;
    const uint64_t table_bytes = 4 + uint64_t{8} * ReadU32(bytes);
    if (table_bytes > length) return false;
    bytes = window_.Get(at + kDelimiterBytes, static_cast<size_t>(table_bytes), ahead_);
    if (bytes == nullptr) return false;
    uint64_t sum = table_bytes;
    for (uint64_t entry = 4; entry < table_bytes; entry += 8) sum += ReadU32(bytes + entry);
    if (sum != length) return false;
    out.records.insert(out.records.end(), bytes, bytes + table_bytes);
    return true;
  }

  // Goes on to the next valid record behind pos_, or to the end, and notes what was passed over.
  void Search(ScanOutput& out) {
    const uint64_t from = pos_;
    uint64_t at = from + 1;
    bool found = false;
    while (!found && NextMagic(at)) {
      found = Take(at, true, out);
      ++at;
    }
    if (!found) pos_ = std::max(from, window_.end());
    out.damaged.push_back(static_cast<double>(from));
    out.damaged.push_back(static_cast<double>(found ? at - 1 : pos_));
  }

  // Moves `at` to the next magic at or behind it; false if there is none before the end.
  [[nodiscard]] bool NextMagic(uint64_t& at) {
    for (;;) {
      PollCancel();
      const uint8_t* bytes = window_.Get(at, sizeof kMagicBytes, kLargeWindow);
      if (bytes == nullptr) return false;
      const size_t held = window_.HeldFrom(at);
      const void* hit = memmem(bytes, held, kMagicBytes, sizeof kMagicBytes);
      if (hit != nullptr) {
        at += static_cast<size_t>(static_cast<const uint8_t*>(hit) - bytes);
        return true;
      }
      at += held - (sizeof kMagicBytes - 1);
    }
  }

  void PollCancel() const {
    if (input_.cancel != nullptr && __atomic_load_n(input_.cancel, __ATOMIC_ACQUIRE) != 0) throw Cancelled{};
  }

  const ScanInput& input_;
  Window window_;
  uint64_t pos_;
  size_t ahead_ = 2 * kSmallWindow;
  size_t hits_ = 0;
};

}  // namespace

ScanOutput Scan(const ScanInput& input) {
  ScanOutput out;
  try {
    Scanner(input).Run(out);
  } catch (const Failure& failure) {
    out.stop = ScanStop::kFailed;
    out.error = failure.error;
    out.syscall = failure.syscall;
  } catch (const Cancelled&) {
    out.stop = ScanStop::kCancelled;
  }
  return out;
}

}  // namespace footage
