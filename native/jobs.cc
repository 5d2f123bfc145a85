// Wrappers of the blocking jobs: arguments to plain structs, results to typed arrays. The TypeScript side has
// checked types and ranges (src/native.ts); what is checked here again only keeps a wrong call from being
// undefined behaviour.
#include "jobs.h"

#include <uv.h>

#include <algorithm>
#include <string>
#include <vector>

#include "crc32c.h"
#include "flush.h"
#include "scan.h"

namespace footage {
namespace {

template <typename Array, typename T>
Array Copy(Napi::Env env, const std::vector<T>& values) {
  Array array = Array::New(env, values.size());
  std::copy(values.begin(), values.end(), array.Data());
  return array;
}

Napi::Error SystemError(Napi::Env env, int error, const char* syscall) {
  const std::string code = uv_err_name(-error);
  Napi::Error value = Napi::Error::New(env, code + ": " + uv_strerror(-error) + ", " + syscall);
  value.Set("code", code);
  value.Set("errno", Napi::Number::New(env, -error));
  value.Set("syscall", syscall);
  return value;
}

Napi::Error AbortError(Napi::Env env) {
  Napi::Error value = Napi::Error::New(env, "The scan was cancelled");
  value.Set("name", "AbortError");
  value.Set("code", "ABORT_ERR");
  return value;
}

Napi::TypedArray TypedArrayOf(const Napi::Value& value, napi_typedarray_type type) {
  if (value.IsTypedArray()) {
    const Napi::TypedArray array = value.As<Napi::TypedArray>();
    if (array.TypedArrayType() == type) return array;
  }
  throw Napi::TypeError::New(value.Env(), "a typed array of another kind was expected");
}

uint64_t Position(const Napi::Value& value) {
  return static_cast<uint64_t>(std::max<int64_t>(0, value.As<Napi::Number>().Int64Value()));
}

class Job : public Napi::AsyncWorker {
 public:
  explicit Job(Napi::Env env) : Napi::AsyncWorker(env), deferred_(env) {}
  [[nodiscard]] Napi::Promise Start() {
    const Napi::Promise promise = deferred_.Promise();
    Queue();
    return promise;
  }

 protected:
  void OnError(const Napi::Error& error) override { deferred_.Reject(error.Value()); }
  Napi::Promise::Deferred deferred_;
};

class ScanJob final : public Job {
 public:
  ScanJob(Napi::Env env, const ScanInput& input, Napi::Reference<Napi::TypedArray>&& cancel)
      : Job(env), input_(input), cancel_(std::move(cancel)) {}

 private:
  void Execute() override { output_ = Scan(input_); }

  void OnOK() override {
    if (output_.stop == ScanStop::kFailed) {
      deferred_.Reject(SystemError(Env(), output_.error, output_.syscall).Value());
    } else if (output_.stop == ScanStop::kCancelled) {
      deferred_.Reject(AbortError(Env()).Value());
    } else {
      deferred_.Resolve(Result());
    }
  }

  Napi::Object Result() const {
    Napi::Object result = Napi::Object::New(Env());
    result.Set("records", Copy<Napi::Uint8Array>(Env(), output_.records));
    result.Set("offsets", Copy<Napi::Float64Array>(Env(), output_.offsets));
    result.Set("next", Napi::Number::New(Env(), static_cast<double>(output_.next)));
    result.Set("stop", StopName());
    result.Set("damaged", Copy<Napi::Float64Array>(Env(), output_.damaged));
    return result;
  }

  [[nodiscard]] const char* StopName() const {
    if (output_.stop == ScanStop::kLimit) return "limit";
    return output_.stop == ScanStop::kDamage ? "damage" : "end";
  }

  const ScanInput input_;
  ScanOutput output_;
  const Napi::Reference<Napi::TypedArray> cancel_;  // keeps input_.cancel alive
};

class FlushJob final : public Job {
 public:
  FlushJob(Napi::Env env, std::vector<int32_t>&& fds)
      : Job(env), fds_(std::move(fds)), errors_(fds_.size()) {}

 private:
  void Execute() override { FlushGroup(fds_.data(), errors_.data(), fds_.size()); }
  void OnOK() override { deferred_.Resolve(Copy<Napi::Int32Array>(Env(), errors_)); }

  const std::vector<int32_t> fds_;
  std::vector<int32_t> errors_;
};

}  // namespace

Napi::Value Crc32cOf(const Napi::CallbackInfo& info) {
  const auto data = TypedArrayOf(info[0], napi_uint8_array).As<Napi::Uint8Array>();
  const uint32_t crc = info[1].As<Napi::Number>().Uint32Value();
  return Napi::Number::New(info.Env(), Crc32c(crc, data.Data(), data.ByteLength()));
}

Napi::Value ScanFile(const Napi::CallbackInfo& info) {
  Napi::Reference<Napi::TypedArray> kept;
  const int32_t* cancel = nullptr;
  if (!info[7].IsUndefined()) {
    const auto array = TypedArrayOf(info[7], napi_int32_array).As<Napi::Int32Array>();
    if (array.ElementLength() > 0) cancel = array.Data();
    kept = Napi::Reference<Napi::TypedArray>::New(array, 1);
  }
  const ScanInput input{
      .fd = info[0].As<Napi::Number>().Int32Value(),
      .from = Position(info[1]),
      .to = Position(info[2]),
      .seed = info[3].As<Napi::Number>().Uint32Value(),
      .verify = info[4].ToBoolean(),
      .resync = info[5].ToBoolean(),
      .limit = info[6].As<Napi::Number>().Uint32Value(),
      .cancel = cancel,
  };
  return (new ScanJob(info.Env(), input, std::move(kept)))->Start();  // an AsyncWorker deletes itself
}

Napi::Value FlushFiles(const Napi::CallbackInfo& info) {
  const auto fds = TypedArrayOf(info[0], napi_int32_array).As<Napi::Int32Array>();
  std::vector<int32_t> copy(fds.Data(), fds.Data() + fds.ElementLength());
  return (new FlushJob(info.Env(), std::move(copy)))->Start();  // an AsyncWorker deletes itself
}

}  // namespace footage
