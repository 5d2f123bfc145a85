// Sending a run of pieces: see send_run.h.
#include "send_run.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

namespace footage {
namespace {

constexpr uint64_t kCallBytes = 2 << 20;  // per system call: how soon `stop` is seen
constexpr uint64_t kLingerBytes = 256
                                  << 10;  // a reader that took less since the last wait is not worth a wait
constexpr int kLingerMs = 5;
constexpr int kDefaultPoolSize = 4;
constexpr uint64_t kPageBytes = 4096;

std::atomic<int> jobs_in_flight{0};

bool PoolHasFreeThread() { return jobs_in_flight.load(std::memory_order_relaxed) < ThreadPoolSize() - 1; }

// cachestat(2), Linux 6.5; older C libraries do not name it. The number is the same on all architectures.
struct CacheRange {
  uint64_t offset;
  uint64_t length;
};
struct CacheState {
  uint64_t cached, dirty, writeback, evicted, recently_evicted;
};
constexpr long kCachestat = 451;

// Whether the range is in the page cache, as far as the kernel tells (if not, the thread pool sends it).
bool IsCached(int fd, uint64_t offset, uint64_t length) {
  CacheRange range{offset, length};
  CacheState state{};
  if (syscall(kCachestat, fd, &range, &state, 0) != 0) return false;
  const uint64_t pages = (offset + length - 1) / kPageBytes - offset / kPageBytes + 1;
  return state.cached >= pages;
}

bool Identify(int fd, FileIdentity& identity) {
  struct statx info;
  if (statx(fd, "", AT_EMPTY_PATH, STATX_INO, &info) != 0) return false;
  identity = {uint64_t{info.stx_dev_major} << 32 | info.stx_dev_minor, info.stx_ino};
  return true;
}

class Sending {
 public:
  Sending(int socket, std::deque<Piece>& pieces, const SendLimits& limits)
      : socket_(socket), pieces_(pieces), limits_(limits) {}

  SendResult Run() {
    Outcome outcome = Outcome::kSent;
    for (size_t i = 0; i < pieces_.size() && outcome == Outcome::kSent && !Spent(); ++i) {
      outcome = SendPiece(pieces_[i], i + 1 < pieces_.size());
    }
    return {sent_, outcome, error_};
  }

 private:
  [[nodiscard]] bool Spent() const {
    return sent_ >= limits_.budget || (sent_ >= limits_.share && OthersWait()) ||
           (limits_.stop != nullptr && limits_.stop->load(std::memory_order_relaxed));
  }

  Outcome SendPiece(Piece& piece, bool more) {
    while (piece.length > 0 && !Spent()) {
      const uint64_t part = std::min({piece.length, kCallBytes, limits_.budget - sent_});
      if (piece.is_file() && limits_.on_loop && !IsCached(piece.fd, piece.offset, part))
        return Outcome::kFile;
      const ssize_t count = piece.is_file() ? SendRange(piece, part) : SendBytes(piece, part, more);
      if (count > 0) Advance(piece, static_cast<uint64_t>(count));
      if (count == static_cast<ssize_t>(part)) continue;
      const int error = count == 0 ? EIO : errno;  // 0: the file was truncated under us
      if (count < 0 && error == EINTR) continue;
      if (count <= 0 && error != EAGAIN) return Fail(error);
      // Taken in part means full as well (or the end of the file, which the next call tells): to ask again is
      // one call in two.
      if (!Linger()) return Outcome::kFull;
    }
    return Outcome::kSent;
  }

  [[nodiscard]] ssize_t SendBytes(const Piece& piece, uint64_t part, bool more) const {
    const int flags = MSG_DONTWAIT | MSG_NOSIGNAL | (more || part < piece.length ? MSG_MORE : 0);
    return send(socket_, piece.data, static_cast<size_t>(part), flags);
  }

  [[nodiscard]] ssize_t SendRange(const Piece& piece, uint64_t part) const {
    off_t offset = static_cast<off_t>(piece.offset);
    return sendfile(socket_, piece.fd, &offset, static_cast<size_t>(part));
  }

  void Advance(Piece& piece, uint64_t count) {
    if (piece.is_file()) {
      piece.offset += count;
    } else {
      piece.data += count;
    }
    piece.length -= count;
    sent_ += count;
    if (limits_.progress != nullptr) limits_.progress->store(sent_, std::memory_order_relaxed);
  }

  Outcome Fail(int error) {
    error_ = error;
    return Outcome::kFailed;
  }

  [[nodiscard]] bool OthersWait() const {
    return limits_.others != nullptr && limits_.others->load(std::memory_order_relaxed) > 0;
  }

  // A fast reader makes room at once: waiting for it here is cheaper than two hops between loop and pool.
  [[nodiscard]] bool Linger() {
    if (limits_.on_loop || sent_ - lingered_at_ < kLingerBytes) return false;
    if (OthersWait() || !PoolHasFreeThread()) return false;
    lingered_at_ = sent_;
    pollfd waiting{socket_, POLLOUT, 0};
    return poll(&waiting, 1, kLingerMs) > 0;
  }

  const int socket_;
  std::deque<Piece>& pieces_;
  const SendLimits& limits_;
  uint64_t sent_ = 0;
  uint64_t lingered_at_ = 0;
  int error_ = 0;
};

}  // namespace

File::~File() {
  table_.files_.erase(identity_);
  close(fd_);
}

RefPtr<File> FileTable::Hold(int fd) {
  FileIdentity identity;
  if (!Identify(fd, identity)) return {};
  const auto held = files_.find(identity);
  if (held != files_.end()) return RefPtr<File>(held->second);
  const int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  if (own < 0) return {};
  RefPtr<File> file(new File(*this, own, identity));
  files_.emplace(identity, file.get());
  return file;
}

SendResult SendPieces(int socket, std::deque<Piece>& pieces, const SendLimits& limits) {
  return Sending(socket, pieces, limits).Run();
}

JobInFlight::JobInFlight() { jobs_in_flight.fetch_add(1, std::memory_order_relaxed); }
JobInFlight::~JobInFlight() { jobs_in_flight.fetch_sub(1, std::memory_order_relaxed); }

int ThreadPoolSize() {
  static const int size = [] {
    const char* text = std::getenv("UV_THREADPOOL_SIZE");
    const int value = text == nullptr ? kDefaultPoolSize : std::atoi(text);
    return std::clamp(value, 1, 1024);
  }();
  return size;
}

}  // namespace footage
