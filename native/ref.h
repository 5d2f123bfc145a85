// Counted ownership for objects of one thread: the count is not atomic. (std::shared_ptr would raise the
// glibc floor.)
#pragma once

#include <utility>

namespace footage {

template <typename T>
class RefCounted {
 public:
  RefCounted(const RefCounted&) = delete;
  RefCounted& operator=(const RefCounted&) = delete;

 protected:
  RefCounted() = default;
  ~RefCounted() = default;

 private:
  template <typename>
  friend class RefPtr;
  int users_ = 0;
};

template <typename T>
class RefPtr {
 public:
  RefPtr() = default;
  explicit RefPtr(T* object) : object_(object) { Use(); }
  RefPtr(const RefPtr& other) : object_(other.object_) { Use(); }
  RefPtr(RefPtr&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  RefPtr& operator=(RefPtr other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~RefPtr() {
    if (object_ != nullptr && --object_->users_ == 0) delete object_;
  }

  T* operator->() const { return object_; }
  T* get() const { return object_; }
  explicit operator bool() const { return object_ != nullptr; }

 private:
  void Use() {
    if (object_ != nullptr) ++object_->users_;
  }
  T* object_ = nullptr;
};

}  // namespace footage
