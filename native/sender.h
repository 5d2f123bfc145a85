// The class RawSender of src/native-types.ts: a Connection for JavaScript.
#pragma once

#include <napi.h>

#include "connection.h"

namespace footage {

// Owned by JavaScript; loop thread only. Its listener keeps it alive until close(), which must therefore be
// called.
class Sender final : public Napi::ObjectWrap<Sender>, private Connection::Listener {
 public:
  // The constructor for JavaScript: new Sender(fd, softBarrier, hardBarrier, onHint).
  static Napi::Function Define(Napi::Env env, SendPool* pool);
  explicit Sender(const Napi::CallbackInfo& info);
  ~Sender() override;

 private:
  Napi::Value EnqueueBytes(const Napi::CallbackInfo& info);
  Napi::Value EnqueueFile(const Napi::CallbackInfo& info);
  Napi::Value State(const Napi::CallbackInfo& info);
  Napi::Value Fill(const Napi::CallbackInfo& info);
  Napi::Value Queued(const Napi::CallbackInfo& info);
  Napi::Value Sent(const Napi::CallbackInfo& info);
  Napi::Value Error(const Napi::CallbackInfo& info);
  void Close(const Napi::CallbackInfo& info);

  void OnHint() override;
  Napi::Value StateValue(Napi::Env env) const;
  Napi::Value TakenValue(Napi::Env env) const;

  RefPtr<Connection> connection_;
  Napi::FunctionReference on_hint_;
  napi_async_context context_ = nullptr;
};

}  // namespace footage
