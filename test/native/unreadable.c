/* Loaded into a process with LD_PRELOAD: pread of a file fails with EIO where a disk has a bad sector. The
 * file is named by BAD_FILE, the bytes by BAD_FROM and BAD_TO; as a disk's do, a read that begins before them
 * is cut short. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int is_bad_file(int fd) {
  char link[64], path[PATH_MAX];
  const char *bad = getenv("BAD_FILE");
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t length = readlink(link, path, sizeof path - 1);
  if (bad == NULL || length < 0) return 0;
  path[length] = '\0';
  return strcmp(path, bad) == 0;
}

ssize_t pread64(int fd, void *bytes, size_t length, off64_t at) {
  static ssize_t (*real)(int, void *, size_t, off64_t);
  if (real == NULL) real = (ssize_t(*)(int, void *, size_t, off64_t))dlsym(RTLD_NEXT, "pread64");
  if (is_bad_file(fd)) {
    const off64_t from = atoll(getenv("BAD_FROM")), to = atoll(getenv("BAD_TO"));
    if (at >= from && at < to) {
      errno = EIO;
      return -1;
    }
    if (at < from && at + (off64_t)length > from) length = (size_t)(from - at);
  }
  return real(fd, bytes, length, at);
}

ssize_t pread(int fd, void *bytes, size_t length, off_t at) { return pread64(fd, bytes, length, at); }
