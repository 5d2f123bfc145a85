// The native surface: four functions and one class. Their contract is src/native-types.ts; src/native.ts
// loads this. Only this file and the wrappers (jobs, sender) include the Node-API header.
#include <napi.h>

#include "connection.h"
#include "jobs.h"
#include "sender.h"

namespace footage {
namespace {

// State of one environment (the main thread or a worker thread); there is no other.
class Addon final : public Napi::Addon<Addon> {
 public:
  Addon(Napi::Env env, Napi::Object exports) : pool_(LoopOf(env)) {
    exports.Set("crc32c", Napi::Function::New<Crc32cOf>(env, "crc32c"));
    exports.Set("scan", Napi::Function::New<ScanFile>(env, "scan"));
    exports.Set("groupFlush", Napi::Function::New<FlushFiles>(env, "groupFlush"));
    exports.Set("sendPool", Napi::Function::New<PoolState>(env, "sendPool", &pool_));
    exports.Set("Sender", Sender::Define(env, &pool_));
    const napi_status status = napi_add_async_cleanup_hook(env, CleanUp, &pool_, nullptr);
    NAPI_THROW_IF_FAILED_VOID(env, status);
  }

 private:
  static uv_loop_t* LoopOf(Napi::Env env) {
    uv_loop_t* loop = nullptr;
    const napi_status status = napi_get_uv_event_loop(env, &loop);
    NAPI_THROW_IF_FAILED(env, status, nullptr);
    return loop;
  }

  static Napi::Value PoolState(const Napi::CallbackInfo& info) {
    constexpr double kNsPerMs = 1e6;
    const SendPool& pool = *static_cast<const SendPool*>(info.Data());
    const PoolCounters& counters = pool.counters();
    const Napi::Object state = Napi::Object::New(info.Env());
    state.Set("jobs", static_cast<double>(counters.jobs));
    state.Set("running", pool.running());
    state.Set("waiting", pool.line_length().load(std::memory_order_relaxed));
    state.Set("waits", static_cast<double>(counters.waits));
    state.Set("waitMs", static_cast<double>(counters.waited_ns) / kNsPerMs);
    return state;
  }

  // Node does not know of our jobs and handles: the environment must wait for them.
  static void CleanUp(napi_async_cleanup_hook_handle handle, void* data) {
    static_cast<SendPool*>(data)->Shutdown([handle] { napi_remove_async_cleanup_hook(handle); });
  }

  SendPool pool_;
};

Napi::Object Init(Napi::Env env, Napi::Object exports) { return Addon::Init(env, exports); }

}  // namespace
}  // namespace footage

// The macro wants unqualified names.
using footage::Init;
NODE_API_MODULE(footage, Init)
