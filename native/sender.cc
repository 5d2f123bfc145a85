// RawSender for JavaScript: see sender.h and src/native-types.ts.
#include "sender.h"

#include <uv.h>

#include <cerrno>
#include <memory>
#include <string>
#include <utility>

namespace footage {
namespace {

constexpr int kQueued = 8;  // QUEUED of src/native-types.ts

// Keeps a buffer of JavaScript alive while its bytes are queued.
class BufferPin final : public Pin {
 public:
  explicit BufferPin(const Napi::Uint8Array& buffer) : reference_(Napi::Persistent(buffer)) {}

 private:
  Napi::Reference<Napi::Uint8Array> reference_;
};

uint64_t Bytes(const Napi::Value& value) {
  const int64_t number = value.As<Napi::Number>().Int64Value();
  if (number < 0) throw Napi::RangeError::New(value.Env(), "a number of bytes was expected");
  return static_cast<uint64_t>(number);
}

}  // namespace

Napi::Function Sender::Define(Napi::Env env, SendPool* pool) {
  return DefineClass(env, "Sender",
                     {
                         InstanceMethod<&Sender::EnqueueBytes>("enqueueBytes"),
                         InstanceMethod<&Sender::EnqueueFile>("enqueueFile"),
                         InstanceMethod<&Sender::State>("state"),
                         InstanceMethod<&Sender::Fill>("fill"),
                         InstanceMethod<&Sender::Queued>("queued"),
                         InstanceMethod<&Sender::Sent>("sent"),
                         InstanceMethod<&Sender::Error>("error"),
                         InstanceMethod<&Sender::Close>("close"),
                     },
                     pool);
}

Sender::Sender(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Sender>(info) {
  const int fd = info[0].As<Napi::Number>().Int32Value();
  const Connection::Barriers barriers{Bytes(info[1]), Bytes(info[2])};
  if (!info[3].IsFunction()) throw Napi::TypeError::New(info.Env(), "onHint must be a function");
  connection_ = Connection::Open(*static_cast<SendPool*>(info.Data()), fd, barriers, this);
  if (!connection_) {
    const std::string code = uv_err_name(-errno);
    Napi::Error error = Napi::Error::New(info.Env(), code + ": the socket cannot be duplicated");
    error.Set("code", code);
    throw error;
  }
  on_hint_ = Napi::Persistent(info[3].As<Napi::Function>());
  const Napi::String name = Napi::String::New(info.Env(), "footage.Sender");
  if (napi_async_init(info.Env(), nullptr, name, &context_) != napi_ok) {
    connection_->Close(false);
    throw Napi::Error::New(info.Env(), "no async context for the sender");
  }
  Ref();
}

Sender::~Sender() {
  if (connection_) connection_->Close(false);
  if (context_ != nullptr) napi_async_destroy(Env(), context_);
}

Napi::Value Sender::StateValue(Napi::Env env) const {
  return Napi::Number::New(env, static_cast<int>(connection_->state()));
}

// The state after a piece was taken, and whether something is queued. kHardLimit would say that it was
// refused.
Napi::Value Sender::TakenValue(Napi::Env env) const {
  const SenderState state = connection_->state();
  const SenderState told = state == SenderState::kHardLimit ? SenderState::kSoftLimit : state;
  return Napi::Number::New(env, static_cast<int>(told) + (connection_->queued() > 0 ? kQueued : 0));
}

Napi::Value Sender::EnqueueBytes(const Napi::CallbackInfo& info) {
  if (!info[0].IsTypedArray()) throw Napi::TypeError::New(info.Env(), "a Uint8Array was expected");
  const auto data = info[0].As<Napi::Uint8Array>();
  if (!connection_->Accepts()) return StateValue(info.Env());
  connection_->EnqueueBytes(data.Data(), data.ByteLength(),
                            [&data] { return std::make_unique<BufferPin>(data); });
  return TakenValue(info.Env());
}

Napi::Value Sender::EnqueueFile(const Napi::CallbackInfo& info) {
  const uint64_t length = Bytes(info[2]);
  if (!connection_->Accepts()) return StateValue(info.Env());
  if (length > 0) connection_->EnqueueFile(info[0].As<Napi::Number>().Int32Value(), Bytes(info[1]), length);
  return TakenValue(info.Env());
}

Napi::Value Sender::State(const Napi::CallbackInfo& info) { return StateValue(info.Env()); }

Napi::Value Sender::Fill(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(connection_->fill()));
}

Napi::Value Sender::Queued(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(connection_->queued()));
}

Napi::Value Sender::Sent(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(connection_->sent()));
}

Napi::Value Sender::Error(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), connection_->error());
}

void Sender::Close(const Napi::CallbackInfo& info) {
  connection_->Close(info[0].ToBoolean());
  if (on_hint_.IsEmpty()) return;
  on_hint_.Reset();
  Unref();
}

// From a libuv callback, so by the plain C interface: no C++ exception may arise here. An exception of the
// listener is an uncaught one. While the environment is being torn down no JavaScript can run, and the call
// fails quietly.
void Sender::OnHint() {
  const napi_env env = Env();
  napi_handle_scope scope = nullptr;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return;
  napi_value listener = nullptr;
  napi_value receiver = nullptr;
  if (napi_get_reference_value(env, on_hint_, &listener) == napi_ok && listener != nullptr &&
      napi_get_global(env, &receiver) == napi_ok) {
    const napi_status status = napi_make_callback(env, context_, receiver, listener, 0, nullptr, nullptr);
    napi_value thrown = nullptr;
    if (status == napi_pending_exception && napi_get_and_clear_last_exception(env, &thrown) == napi_ok) {
      napi_fatal_exception(env, thrown);
    }
  }
  napi_close_handle_scope(env, scope);
}

}  // namespace footage
