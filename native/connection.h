// One connection we send into, and the environment's list of them with its share of the thread pool.
// Uses libuv, knows no JS. Everything here is touched by the loop thread only, except where a job says
// otherwise.
//
// Invariants of a Connection:
//  1. At most one of these is at work on the socket: the loop, one job, or the poll handle (see Phase).
//  2. Bytes leave in the order in which they were queued: a job takes a run off the front of the queue, and
//  what it
//     did not send goes back to the front.
//  3. The descriptor is closed once the phase is kClosed, no job is in flight and the poll handle is gone, in
//  that order.
#pragma once

#include <uv.h>

#include <atomic>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <unordered_map>
#include <unordered_set>

#include "ref.h"
#include "send_run.h"

namespace footage {

class Connection;

// Numbers as in SENDER_STATES of src/native-types.ts.
enum class SenderState { kReady, kOverloaded, kSoftLimit, kHardLimit, kClosed };

// What the jobs of one environment did on the thread pool. Loop thread only.
struct PoolCounters {
  uint64_t jobs = 0;       // begun
  uint64_t waits = 0;      // jobs that had to wait for a thread or their disk, and have begun
  uint64_t waited_ns = 0;  // how long those waited in all
};

// The connections of one environment. Jobs in flight are limited so that one thread of the pool stays free
// for Node's own file work, and per disk so that a sick one stalls only itself.
class SendPool {
 public:
  explicit SendPool(uv_loop_t* loop);

  [[nodiscard]] uv_loop_t* loop() const { return loop_; }
  [[nodiscard]] const std::atomic<int>& line_length() const { return line_length_; }
  [[nodiscard]] const std::atomic<int>& rivals() const { return rivals_; }
  [[nodiscard]] const PoolCounters& counters() const { return counters_; }
  [[nodiscard]] int running() const { return used_; }

  void Add(Connection* connection) { open_.insert(connection); }
  void Remove(Connection* connection);

  // A thread for a job on `device`; if none is free now, false, and Connection::OnSlot is called later.
  [[nodiscard]] bool TakeSlot(Connection* connection, uint64_t device);
  // A thread for a job on what is in memory, if one is free at once and few enough have something to send.
  [[nodiscard]] bool TakeSpareSlot(uint64_t device);
  // How much the loop may still send in this turn, of all connections: recorders live on it, too.
  [[nodiscard]] uint64_t TurnBudget();
  void CountTurn(uint64_t sent) { turn_sent_ += sent; }
  // A connection begins or ends to have something queued.
  void CountBacklog(int change);
  void LeaveLine(Connection* connection);
  // As it was taken; hands the thread to the next in line.
  void ReturnSlot(uint64_t device);

  // Aborts all connections; calls `done` when no job is in flight and no handle is open any more.
  void Shutdown(std::function<void()> done);

 private:
  struct Waiting {
    Connection* connection;
    uint64_t device;
    uint64_t since_ns;
  };
  [[nodiscard]] bool HasSlot(uint64_t device) const;
  void CountSlot(uint64_t device);
  void FinishShutdown();

  uv_loop_t* const loop_;
  const int slots_;
  const int slots_per_device_;
  const int
      spare_slots_;  // jobs that need a processor, not a disk: the loop and the clients need one as well
  int used_ = 0;
  int backlogged_ = 0;
  uint64_t turn_ = 0;  // time of the loop, which stands still within a turn
  uint64_t turn_sent_ = 0;
  std::unordered_map<uint64_t, int> used_by_device_;
  std::deque<Waiting> line_;
  std::atomic<int> line_length_{0};  // read by jobs, as is the next
  std::atomic<int> rivals_{0};       // connections with something queued, beyond what processors are for
  PoolCounters counters_;
  std::unordered_set<Connection*> open_;
  std::function<void()> done_;
};

using PinMaker = std::function<std::unique_ptr<Pin>()>;

class Connection final : public RefCounted<Connection> {
 public:
  struct Barriers {
    uint64_t soft;
    uint64_t hard;
  };

  // Told on the loop, never from within a call into the connection, that something may have changed.
  class Listener {
   public:
    virtual ~Listener() = default;
    virtual void OnHint() = 0;
  };

  // On a duplicate of `fd`. Empty, with errno set, if it cannot be duplicated.
  [[nodiscard]] static RefPtr<Connection> Open(SendPool& pool, int fd, Barriers barriers, Listener* listener);
  ~Connection();

  [[nodiscard]] bool Accepts() const { return state() < SenderState::kHardLimit; }
  // Sends past the queue if that is empty and the socket is free; only what is left is pinned.
  void EnqueueBytes(const uint8_t* data, size_t length, const PinMaker& pin);
  // Sends past the queue, too; only for what is left a descriptor of our own is made.
  void EnqueueFile(int fd, uint64_t offset, uint64_t length);

  [[nodiscard]] SenderState state() const;
  [[nodiscard]] uint64_t queued() const {
    return phase_ == Phase::kClosed ? 0 : queued_ - InFlightProgress();
  }
  [[nodiscard]] uint64_t sent() const { return sent_ + InFlightProgress(); }
  [[nodiscard]] uint64_t fill() const;
  [[nodiscard]] int error() const { return error_; }

  // See RawSender.close. Forgets the listener.
  void Close(bool abort);
  void OnSlot();

 private:
  enum class Phase { kIdle, kInLine, kJob, kFull, kClosed };
  struct Job;

  Connection(SendPool& pool, int fd, Barriers barriers, Listener* listener)
      : pool_(pool), fd_(fd), barriers_(barriers), listener_(listener) {}

  [[nodiscard]] uint64_t InFlightProgress() const;
  [[nodiscard]] bool IsFree() const { return phase_ == Phase::kIdle && queue_.empty() && !hinting_; }
  Outcome SendPast(std::deque<Piece>& pieces);
  void Push(Piece&& piece);
  [[nodiscard]] bool Extend(const Piece& piece);
  void Pump();
  void GoOn(Outcome outcome);
  [[nodiscard]] Outcome SendOnLoop();
  void PopSent(uint64_t sent);
  void StartJob(bool spare);
  [[nodiscard]] std::deque<Piece> TakeRun(uint64_t device);
  [[nodiscard]] uint64_t NextDevice() const;
  void Dispatch();
  void SendElsewhere();
  void FinishJob(Job& job);
  void AfterProgress();
  void AwaitRoom();
  void OnRoom(int status);
  void StopPolling();
  void Fail(int error);
  void EnterClosed();
  void ReleaseDescriptor();
  static void RunJob(uv_work_t* request) noexcept;
  static void JobDone(uv_work_t* request, int status) noexcept;
  static void PollDone(uv_poll_t* handle, int status, int events) noexcept;
  static void PollClosed(uv_handle_t* handle) noexcept;

  SendPool& pool_;  // not used once the descriptor is closed
  int fd_;
  const Barriers barriers_;
  Listener* listener_;
  Phase phase_ = Phase::kIdle;
  FileTable files_;  // of the pieces in queue_ and in job_
  std::deque<Piece> queue_;
  uint64_t queued_ = 0;     // bytes in queue_ and in job_
  uint64_t sent_ = 0;       // without those of job_
  bool full_ = false;       // the last attempt met a full socket
  bool owes_hint_ = false;  // the soft barrier was reached since the last hint
  bool hinting_ = false;    // in OnHint: pieces are gathered, to leave in one run
  int error_ = 0;
  Job* job_ = nullptr;  // owned by the request in flight
  enum class PollState { kNone, kStopped, kArmed, kClosing } poll_state_ = PollState::kNone;
  uv_poll_t poll_{};
  RefPtr<Connection> until_poll_closed_;
};

}  // namespace footage
