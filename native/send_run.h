// Sending a run of pieces (bytes and file ranges) into a non-blocking stream socket. Knows neither JS nor the
// loop: the same function serves the loop (bytes, and files that are in memory) and the jobs on the thread
// pool.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <compare>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>

#include "ref.h"

namespace footage {

class FileTable;

// What tells an open file from every other. An inode number cannot be used again while we hold the file.
struct FileIdentity {
  uint64_t device;
  uint64_t inode;
  friend auto operator<=>(const FileIdentity&, const FileIdentity&) = default;
};

// A descriptor of ours, closed with its last user. Loop thread only, but for fd().
class File final : public RefCounted<File> {
 public:
  ~File();

  [[nodiscard]] int fd() const { return fd_; }
  [[nodiscard]] uint64_t device() const { return identity_.device; }

 private:
  friend class FileTable;
  File(FileTable& table, int fd, FileIdentity identity) : table_(table), fd_(fd), identity_(identity) {}

  FileTable& table_;
  const int fd_;
  const FileIdentity identity_;
};

// The files that the pieces of one connection refer to: one descriptor for each, however many pieces there
// are and in whatever order. Keeps none open itself, and outlives them. Loop thread only.
//
// Not shared by connections: the kernel keeps its read-ahead with the open file, and each client is at
// another place.
class FileTable {
 public:
  // The file that `fd` is open on, on a duplicate of `fd` if it is not held yet. Empty, with errno set, if
  // that fails.
  [[nodiscard]] RefPtr<File> Hold(int fd);

 private:
  friend class File;
  std::map<FileIdentity, File*> files_;
};

// Keeps memory that belongs to somebody else alive. Made and destroyed on the loop thread.
class Pin {
 public:
  virtual ~Pin() = default;
};

// Bytes in memory, or a range of a file. Sending moves the front forward in place.
struct Piece {
  const uint8_t* data = nullptr;
  int fd = -1;  // of the file; -1: bytes
  uint64_t offset = 0;
  uint64_t length = 0;
  RefPtr<File> file;  // keeps `fd` open; empty while somebody else does
  std::unique_ptr<Pin> pin;

  [[nodiscard]] bool is_file() const { return fd >= 0; }
};

enum class Outcome {
  kSent,    // everything, or the budget is used up
  kFull,    // the socket takes no more
  kFile,    // met a file range that would have to be read from the disk, which was not allowed
  kFailed,  // see error
};

struct SendLimits {
  uint64_t budget;                // bytes
  uint64_t share;                 // bytes after which it makes way for others that wait
  bool on_loop;                   // never wait, neither for a disk nor for the socket
  const std::atomic<bool>* stop;  // may be null; set from the loop thread
  const std::atomic<int>*
      others;  // may be null; how many wait: then this one neither lingers nor exceeds its share
  std::atomic<uint64_t>* progress;  // may be null; bytes sent so far, for the loop thread
};

struct SendResult {
  uint64_t sent;
  Outcome outcome;
  int error;  // errno; EIO for a file that ended before its range did
};

// Sends pieces from the front; those sent whole are left in place with length 0.
[[nodiscard]] SendResult SendPieces(int socket, std::deque<Piece>& pieces, const SendLimits& limits);

// Jobs of this process that are on the thread pool, over all environments. A job lingers on a full socket for
// a few milliseconds only while at least one thread of the pool is free.
class JobInFlight {
 public:
  JobInFlight();
  ~JobInFlight();
};

// Threads of the libuv pool (UV_THREADPOOL_SIZE, default 4).
[[nodiscard]] int ThreadPoolSize();

}  // namespace footage
