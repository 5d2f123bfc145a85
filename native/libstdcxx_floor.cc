// Keeps the prebuilt addon loadable with the libstdc++ of GCC 8 (GLIBCXX_3.4.25).
//
// GCC 11 and later emit calls of this libstdc++ function (GLIBCXX_3.4.29) in the allocations of std::deque
// and the unordered containers. Defined here, and hidden like everything else, it is not imported. Older
// libraries throw the base class of the same exception in its place, as here.
#include <new>

#if defined(__GLIBCXX__) && __GNUC__ >= 11
namespace std {
[[noreturn]] void __throw_bad_array_new_length() { throw std::bad_alloc(); }
}  // namespace std
#endif
