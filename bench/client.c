/*
 * The benchmarks' HTTP client: GETs a path over CONNECTIONS connections at once and throws the bytes away
 * where they are, in the kernel (MSG_TRUNC), so that it takes as little as possible from the server's
 * machine. It checks status and length and nothing else; that the bytes are right is checked separately.
 *
 * Usage: client PORT PATH [CONNECTIONS]   prints: bytes seconds
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEADER_MAX = 16384, DISCARD_MAX = 4 << 20, EVENTS = 256 };

/* One connection: first the header is collected, then `remaining` body bytes are discarded. */
typedef struct {
  int fd;
  size_t header_length;
  long long remaining;
  char header[HEADER_MAX + 1];
} Connection;

static void fail(const char *what) {
  fprintf(stderr, "client: %s: %s\n", what, errno ? strerror(errno) : "unexpected answer");
  exit(1);
}

static double now_seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int connect_to(int port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0) fail("connect");
  return fd;
}

static void send_request(int fd, const char *path) {
  char request[4096];
  int length = snprintf(request, sizeof request,
                        "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", path);
  if (length < 0 || (size_t)length >= sizeof request) fail("path too long");
  if (send(fd, request, (size_t)length, MSG_NOSIGNAL) != length) fail("send");
}

/* Status 200 and a Content-Length are required; returns the latter. */
static long long content_length(const char *header) {
  errno = 0;
  if (strncmp(header, "HTTP/1.1 200 ", 13) != 0) {
    fprintf(stderr, "%.200s\n", header);
    fail("status");
  }
  const char *line = strcasestr(header, "\r\ncontent-length:");
  if (!line) fail("no Content-Length");
  return atoll(line + 17);
}

/* Reads header bytes; peeks first, so that body bytes behind the header stay in the socket. */
static void read_header(Connection *c) {
  ssize_t got =
      recv(c->fd, c->header + c->header_length, HEADER_MAX - c->header_length, MSG_PEEK | MSG_DONTWAIT);
  if (got < 0 && errno == EAGAIN) return;
  if (got <= 0) fail("connection closed in the header");
  c->header[c->header_length + (size_t)got] = 0;
  char *end = strstr(c->header, "\r\n\r\n");
  size_t take = end ? (size_t)(end + 4 - c->header) - c->header_length : (size_t)got;
  if (recv(c->fd, c->header + c->header_length, take, 0) != (ssize_t)take) fail("recv");
  c->header_length += take;
  if (end)
    c->remaining = content_length(c->header);
  else if (c->header_length >= HEADER_MAX)
    fail("header too long");
}

/* Discards what is there; returns the bytes. */
static long long discard(Connection *c) {
  ssize_t got = recv(c->fd, NULL, DISCARD_MAX, MSG_TRUNC | MSG_DONTWAIT);
  if (got < 0 && errno == EAGAIN) return 0;
  if (got <= 0) fail("connection closed in the body");
  c->remaining -= got;
  return got;
}

int main(int argc, char **argv) {
  if (argc < 3) {
    fprintf(stderr, "usage: client PORT PATH [CONNECTIONS]\n");
    return 2;
  }
  int count = argc > 3 ? atoi(argv[3]) : 1;
  Connection *connections = calloc((size_t)count, sizeof *connections);
  int poll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (count < 1 || !connections || poll_fd < 0) fail("set-up");
  double began = now_seconds();
  for (int i = 0; i < count; i++) {
    Connection *c = &connections[i];
    c->fd = connect_to(atoi(argv[1]));
    c->remaining = -1;
    send_request(c->fd, argv[2]);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, c->fd, &event) != 0) fail("epoll_ctl");
  }
  long long total = 0;
  for (int open = count; open > 0;) {
    struct epoll_event events[EVENTS];
    int ready = epoll_wait(poll_fd, events, EVENTS, 30000);
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) fail("no byte for 30 s");
    for (int i = 0; i < ready; i++) {
      Connection *c = events[i].data.ptr;
      if (c->remaining < 0)
        read_header(c);
      else
        total += discard(c);
      if (c->remaining != 0) continue;
      close(c->fd);
      open--;
    }
  }
  printf("%lld %.6f\n", total, now_seconds() - began);
  return 0;
}
