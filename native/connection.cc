// Connections and their share of the thread pool: see connection.h.
#include "connection.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <memory>
#include <utility>
#include <vector>

namespace footage {
namespace {

constexpr uint64_t kJobBytes = 128 << 20;  // per job, while no other waits for a thread: few hops
constexpr uint64_t kJobShare = 16 << 20;   // per job, when another waits
constexpr uint64_t kLoopBytes = 4 << 20;   // per wake-up on the loop: bounds how long it is held up
constexpr uint64_t kTurnBytes = 32 << 20;  // per turn of the loop, of all connections
constexpr SendLimits kOnLoop = {.budget = kLoopBytes,
                                .share = kLoopBytes,
                                .on_loop = true,
                                .stop = nullptr,
                                .others = nullptr,
                                .progress = nullptr};

int SocketError(int fd) {
  int error = 0;
  socklen_t length = sizeof error;
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0) return errno;
  return error == 0 ? ECONNRESET : error;
}

}  // namespace

// A run of pieces on its way through the thread pool. Owned by its request; keeps the connection alive.
struct Connection::Job {
  Job(RefPtr<Connection> owner, int socket_fd, uint64_t on_device, std::deque<Piece>&& run)
      : connection(std::move(owner)), socket(socket_fd), device(on_device), pieces(std::move(run)) {
    request.data = this;
  }

  uv_work_t request{};
  const RefPtr<Connection> connection;
  // Input of the worker
  const int socket;
  const uint64_t device;
  const std::atomic<int>* others = nullptr;
  std::deque<Piece> pieces;
  const JobInFlight counted;
  // Shared while it runs
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> progress{0};
  // Output
  SendResult result{};
};

// ---- SendPool

SendPool::SendPool(uv_loop_t* loop)
    : loop_(loop),
      slots_(std::max(1, ThreadPoolSize() - 1)),
      slots_per_device_(std::max(1, (slots_ + 1) / 2)),
      spare_slots_(std::max(1, static_cast<int>(uv_available_parallelism()) - 1)) {}

bool SendPool::HasSlot(uint64_t device) const {
  const auto used = used_by_device_.find(device);
  return used_ < slots_ && (used == used_by_device_.end() || used->second < slots_per_device_);
}

bool SendPool::TakeSlot(Connection* connection, uint64_t device) {
  if (!HasSlot(device)) {
    line_.push_back({connection, device, uv_hrtime()});
    line_length_.store(static_cast<int>(line_.size()), std::memory_order_relaxed);
    return false;
  }
  CountSlot(device);
  return true;
}

bool SendPool::TakeSpareSlot(uint64_t device) {
  if (backlogged_ > spare_slots_ || !HasSlot(device) || !line_.empty()) return false;
  CountSlot(device);
  return true;
}

uint64_t SendPool::TurnBudget() {
  const uint64_t now = uv_now(loop_);
  if (now != turn_) {
    turn_ = now;
    turn_sent_ = 0;
  }
  return kTurnBytes - std::min(kTurnBytes, turn_sent_);
}

void SendPool::CountBacklog(int change) {
  backlogged_ += change;
  rivals_.store(std::max(0, backlogged_ - spare_slots_), std::memory_order_relaxed);
}

void SendPool::CountSlot(uint64_t device) {
  ++counters_.jobs;
  ++used_;
  ++used_by_device_[device];
}

void SendPool::LeaveLine(Connection* connection) {
  std::erase_if(line_, [connection](const Waiting& waiting) { return waiting.connection == connection; });
  line_length_.store(static_cast<int>(line_.size()), std::memory_order_relaxed);
}

void SendPool::ReturnSlot(uint64_t device) {
  --used_;
  const auto used = used_by_device_.find(device);
  if (--used->second == 0) used_by_device_.erase(used);
  const auto next = std::find_if(line_.begin(), line_.end(),
                                 [this](const Waiting& waiting) { return HasSlot(waiting.device); });
  if (next == line_.end()) return;
  ++counters_.waits;
  counters_.waited_ns += uv_hrtime() - next->since_ns;
  Connection* const connection = next->connection;
  CountSlot(next->device);
  line_.erase(next);
  line_length_.store(static_cast<int>(line_.size()), std::memory_order_relaxed);
  connection->OnSlot();
}

void SendPool::Remove(Connection* connection) {
  open_.erase(connection);
  FinishShutdown();
}

void SendPool::Shutdown(std::function<void()> done) {
  const std::vector<Connection*> open(open_.begin(), open_.end());
  for (Connection* connection : open) connection->Close(true);
  done_ = std::move(done);
  FinishShutdown();
}

void SendPool::FinishShutdown() {
  if (open_.empty() && done_) std::exchange(done_, nullptr)();
}

// ---- Connection: what the outside calls

RefPtr<Connection> Connection::Open(SendPool& pool, int fd, Barriers barriers, Listener* listener) {
  const int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
  if (own < 0) return {};
  RefPtr<Connection> connection(new Connection(pool, own, barriers, listener));
  pool.Add(connection.get());
  return connection;
}

Connection::~Connection() = default;

SenderState Connection::state() const {
  if (phase_ == Phase::kClosed) return SenderState::kClosed;
  const uint64_t bytes = queued();
  if (bytes >= barriers_.hard) return SenderState::kHardLimit;
  if (bytes >= barriers_.soft) return SenderState::kSoftLimit;
  return full_ ? SenderState::kOverloaded : SenderState::kReady;
}

uint64_t Connection::InFlightProgress() const {
  return job_ == nullptr ? 0 : job_->progress.load(std::memory_order_relaxed);
}

uint64_t Connection::fill() const {
  int in_kernel = 0;
  if (fd_ < 0 || ioctl(fd_, SIOCOUTQ, &in_kernel) != 0) in_kernel = 0;
  return queued() + static_cast<uint64_t>(in_kernel);
}

// Sends on the loop what is not in the queue.
Outcome Connection::SendPast(std::deque<Piece>& pieces) {
  const SendResult result = SendPieces(fd_, pieces, kOnLoop);
  sent_ += result.sent;
  full_ = result.outcome == Outcome::kFull;
  if (result.outcome == Outcome::kFailed) Fail(result.error);
  return result.outcome;
}

void Connection::EnqueueBytes(const uint8_t* data, size_t length, const PinMaker& pin) {
  std::deque<Piece> pieces(1);
  Piece& piece = pieces.front();
  piece.data = data;
  piece.length = length;
  const bool past = phase_ == Phase::kIdle && queue_.empty();
  const Outcome outcome = past ? SendPast(pieces) : Outcome::kSent;
  if (piece.length == 0 || outcome == Outcome::kFailed) return;
  piece.pin = pin();
  Push(std::move(piece));
  if (past && !hinting_) GoOn(outcome);
}

void Connection::EnqueueFile(int fd, uint64_t offset, uint64_t length) {
  std::deque<Piece> pieces(1);
  Piece& piece = pieces.front();
  piece.fd = fd;
  piece.offset = offset;
  piece.length = length;
  const bool past = IsFree();
  const Outcome outcome = past ? SendPast(pieces) : Outcome::kSent;
  if (piece.length == 0 || outcome == Outcome::kFailed) return;
  piece.file = files_.Hold(fd);
  if (!piece.file) {
    Fail(errno);
    return;
  }
  piece.fd = piece.file->fd();
  Push(std::move(piece));
  if (past) GoOn(outcome);
}

// A range that continues the last piece makes that one longer.
bool Connection::Extend(const Piece& piece) {
  if (queue_.empty() || !piece.file) return false;
  Piece& last = queue_.back();
  if (last.file.get() != piece.file.get() || last.offset + last.length != piece.offset) return false;
  last.length += piece.length;
  return true;
}

void Connection::Push(Piece&& piece) {
  if (queued_ == 0) pool_.CountBacklog(1);
  queued_ += piece.length;
  if (!Extend(piece)) queue_.push_back(std::move(piece));
  if (queued_ >= barriers_.soft) owes_hint_ = true;
}

void Connection::Close(bool abort) {
  listener_ = nullptr;
  if (fd_ >= 0 && abort) shutdown(fd_, SHUT_RDWR);
  EnterClosed();
}

// ---- Sending

// Gets the front of the queue on its way: bytes, and files that are in memory, on the loop; else by a job.
void Connection::Pump() {
  if (queue_.empty() || phase_ != Phase::kIdle) return;
  GoOn(SendOnLoop());
}

// What is left of the queue waits for room, or for a thread.
void Connection::GoOn(Outcome outcome) {
  if (outcome == Outcome::kFailed || queue_.empty()) return;
  if (outcome == Outcome::kFull) {
    AwaitRoom();
  } else if (outcome == Outcome::kFile) {
    Dispatch();
  } else {
    SendElsewhere();
  }
}

// Hands the front of the queue to the thread pool, now or when there is a thread for it.
void Connection::Dispatch() {
  phase_ = Phase::kInLine;
  if (pool_.TakeSlot(this, NextDevice())) StartJob(false);
}

// The loop has sent its share, and what comes may be in memory. A fast client is served best by a thread of
// its own, as long as there is a processor for it. With more clients than that, threads only fight for the
// processors: then the loop goes on as soon as it has been round.
void Connection::SendElsewhere() {
  if (pool_.TakeSpareSlot(NextDevice())) {
    StartJob(true);
  } else {
    AwaitRoom();
  }
}

// The disk of the first file in the queue; 0 for bytes alone.
uint64_t Connection::NextDevice() const {
  for (const Piece& piece : queue_) {
    if (piece.file) return piece.file->device();
  }
  return 0;
}

Outcome Connection::SendOnLoop() {
  SendLimits limits = kOnLoop;
  limits.budget = std::min(limits.budget, pool_.TurnBudget());
  const SendResult result = SendPieces(fd_, queue_, limits);
  pool_.CountTurn(result.sent);
  PopSent(result.sent);
  full_ = result.outcome == Outcome::kFull;
  if (result.outcome == Outcome::kFailed) Fail(result.error);
  return result.outcome;
}

void Connection::PopSent(uint64_t sent) {
  sent_ += sent;
  if (sent > 0 && queued_ == sent) pool_.CountBacklog(-1);
  queued_ -= sent;
  while (!queue_.empty() && queue_.front().length == 0) queue_.pop_front();
}

void Connection::OnSlot() { StartJob(false); }

void Connection::StartJob(bool spare) {
  const uint64_t device = NextDevice();
  auto job = std::make_unique<Job>(RefPtr<Connection>(this), fd_, device, TakeRun(device));
  job->others = spare ? &pool_.rivals() : &pool_.line_length();
  phase_ = Phase::kJob;
  job_ = job.get();
  uv_queue_work(pool_.loop(), &job.release()->request, RunJob,
                JobDone);  // fails only without a work function
}

// The leading pieces, up to a job's budget, and none of another disk: a slot counts for one.
std::deque<Piece> Connection::TakeRun(uint64_t device) {
  std::deque<Piece> run;
  uint64_t bytes = 0;
  while (!queue_.empty() && bytes < kJobBytes) {
    Piece& piece = queue_.front();
    if (piece.file && piece.file->device() != device) break;
    bytes += piece.length;
    run.push_back(std::move(piece));
    queue_.pop_front();
  }
  return run;
}

void Connection::RunJob(uv_work_t* request) noexcept {
  Job& job = *static_cast<Job*>(request->data);
  job.result = SendPieces(job.socket, job.pieces,
                          {.budget = kJobBytes,
                           .share = kJobShare,
                           .on_loop = false,
                           .stop = &job.stop,
                           .others = job.others,
                           .progress = &job.progress});
}

void Connection::JobDone(uv_work_t* request, int) noexcept {
  const std::unique_ptr<Job> job(static_cast<Job*>(request->data));
  job->connection->FinishJob(*job);
}

void Connection::FinishJob(Job& job) {
  job_ = nullptr;
  while (!job.pieces.empty() && job.pieces.front().length == 0) job.pieces.pop_front();
  SendPool& pool = pool_;
  if (phase_ == Phase::kClosed) {
    sent_ += job.result.sent;
    job.pieces.clear();
    pool.ReturnSlot(job.device);
    ReleaseDescriptor();
    return;
  }
  queue_.insert(queue_.begin(), std::make_move_iterator(job.pieces.begin()),
                std::make_move_iterator(job.pieces.end()));
  PopSent(job.result.sent);
  phase_ = Phase::kIdle;
  full_ = job.result.outcome == Outcome::kFull;
  pool.ReturnSlot(job.device);
  if (job.result.outcome == Outcome::kFailed) Fail(job.result.error);
  if (job.result.outcome == Outcome::kFull) AwaitRoom();
  AfterProgress();
}

// Hints if one is due, then sends on: what the hint brought leaves together with what was there. Not at once
// on the loop, where an eager listener and a fast reader would keep each other going for ever.
void Connection::AfterProgress() {
  const bool below_soft = owes_hint_ && queued_ < barriers_.soft;
  if (listener_ != nullptr && (phase_ == Phase::kClosed || queued_ == 0 || below_soft)) {
    owes_hint_ = false;
    hinting_ = true;
    listener_->OnHint();
    hinting_ = false;
  }
  if (phase_ == Phase::kIdle && !queue_.empty()) SendElsewhere();
}

// ---- Waiting for room in the socket

void Connection::AwaitRoom() {
  if (poll_state_ == PollState::kNone) {
    const int status = uv_poll_init(pool_.loop(), &poll_, fd_);
    if (status != 0) {
      Fail(-status);
      return;
    }
    poll_.data = this;
    poll_state_ = PollState::kStopped;
  }
  phase_ = Phase::kFull;
  // Left armed from one full socket to the next: each stop and start costs two calls of epoll_ctl.
  if (poll_state_ == PollState::kArmed) return;
  poll_state_ = PollState::kArmed;
  const int status = uv_poll_start(&poll_, UV_WRITABLE, PollDone);
  if (status != 0) Fail(-status);
}

void Connection::PollDone(uv_poll_t* handle, int status, int) noexcept {
  const RefPtr<Connection> self(static_cast<Connection*>(handle->data));
  self->OnRoom(status);
}

void Connection::OnRoom(int status) {
  phase_ = Phase::kIdle;
  // libuv reports EPOLLERR as UV_EBADF; what happened is for the socket to say.
  if (status != 0) {
    Fail(status == UV_EBADF ? SocketError(fd_) : -status);
  } else {
    full_ = false;
    Pump();
  }
  AfterProgress();
  if (phase_ != Phase::kFull) StopPolling();
}

void Connection::StopPolling() {
  if (poll_state_ != PollState::kArmed) return;
  uv_poll_stop(&poll_);
  poll_state_ = PollState::kStopped;
}

// ---- The end

void Connection::Fail(int error) {
  if (phase_ == Phase::kClosed) return;
  error_ = error;
  EnterClosed();
}

void Connection::EnterClosed() {
  if (phase_ == Phase::kClosed) return;
  const RefPtr<Connection> self(this);
  if (phase_ == Phase::kInLine) pool_.LeaveLine(this);
  phase_ = Phase::kClosed;
  if (job_ != nullptr) job_->stop.store(true, std::memory_order_relaxed);
  queue_.clear();
  if (queued_ > 0) pool_.CountBacklog(-1);
  queued_ = 0;
  ReleaseDescriptor();
}

void Connection::ReleaseDescriptor() {
  if (job_ != nullptr || fd_ < 0) return;
  if (poll_state_ == PollState::kStopped || poll_state_ == PollState::kArmed) {
    poll_state_ = PollState::kClosing;
    until_poll_closed_ = RefPtr<Connection>(this);
    uv_close(reinterpret_cast<uv_handle_t*>(&poll_), PollClosed);
  }
  if (poll_state_ == PollState::kClosing) return;
  close(std::exchange(fd_, -1));
  pool_.Remove(this);
}

void Connection::PollClosed(uv_handle_t* handle) noexcept {
  const RefPtr<Connection> self = std::move(static_cast<Connection*>(handle->data)->until_poll_closed_);
  self->poll_state_ = PollState::kNone;
  self->ReleaseDescriptor();
}

}  // namespace footage
