// Group flush: see flush.h. syncfs is not used: it names no file and waits for foreign data.
#include "flush.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace footage {
namespace {

// Only an attempt: where a file system knows no early write-back (ESPIPE, EINVAL, ENOSYS) fdatasync does all
// of it.
int StartWriteBack(int fd) {
  if (sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE) == 0) return 0;
  return errno == EIO || errno == ENOSPC || errno == EDQUOT ? errno : 0;
}

int Sync(int fd) {
  int result;
  do {
    result = fdatasync(fd);
  } while (result != 0 && errno == EINTR);
  return result == 0 ? 0 : errno;
}

}  // namespace

void FlushGroup(const int32_t* fds, int32_t* errors, size_t count) {
  for (size_t i = 0; i < count; ++i) errors[i] = StartWriteBack(fds[i]);
  for (size_t i = 0; i < count; ++i) {
    const int error = Sync(fds[i]);
    if (error != 0) errors[i] = error;
  }
}

}  // namespace footage
