/*
 * The benchmarks' HTTP client: one process with many connections. It throws the bytes away where they are, in
 * the kernel (MSG_TRUNC), so that it takes as little as possible from the server's machine. It checks status
 * and length and nothing else; that the bytes are right is checked separately.
 *
 * Usage: client PORT PATH [options]
 *   -n COUNT    connections (1)
 *   -c RATE     at most so many new connections per second (no limit)
 *   -s BYTES    ask for so many bytes on each connection (Range), at places spread evenly over -f
 *   -f BYTES    length of the file
 *   -r RATE     bytes per second that each connection should get
 *   -p          each connection reads at that rate by itself, every 50 ms, whatever more there is
 *   -b BYTES    SO_RCVBUF of each connection (the kernel doubles it; else it grows as the kernel sees fit)
 *   -k          keep each connection when its answer is complete, and do nothing with it
 *   -w SECONDS  wait so long after the last connection has its header (with -k: its answer)
 *   -t SECONDS  then measure for so long, and end; without it: until all answers are complete
 *
 * Prints `BYTES SECONDS`: what all connections have read of bodies since the start, and in which time.
 * With -t before that: `steady` when the measurement begins, `over` when it has ended (all connections are
 * still open then), `rates MIN QUARTILE MEDIAN QUARTILE MAX SHARE`: bytes per second of the connections, and
 * the share of them within 10 % of RATE, over each whole 10 s of the measurement (all of it if that is
 * shorter); BYTES and SECONDS are those of the measurement.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEADER_MAX = 4096, DISCARD_MAX = 4 << 20, EVENTS = 256 };
/* A paced connection reads in one tick of SLOTS. */
enum { TICK_MS = 5, SLOTS = 10 };
static const double WINDOW_SECONDS = 10;
static const double SILENCE_SECONDS = 30;

static struct {
  int port;
  const char *path;
  int count;
  double connects_per_second;
  long long bytes;
  long long file_bytes;
  double rate;
  bool paced;
  int receive_buffer;
  bool keep;
  double settle_seconds;
  double seconds;
} options = {.count = 1};

typedef struct {
  int fd; /* -1 before it is connected, and when it is closed */
  size_t header_length;
  long long remaining; /* of the body; -1 before the header is complete */
  long long taken;     /* of the body */
  long long mark;      /* taken at the beginning of the window */
  double began;        /* when the header was complete */
  char header[HEADER_MAX + 1];
} Connection;

static Connection *connections;
static int poll_fd;
static int connected; /* have been */
static int answered;  /* have been: with their header, with -k their answer */
static int complete;  /* have their answer */
static long long total;
static double last_byte_at;

static void fail(const char *what) {
  fprintf(stderr, "client: %s: %s\n", what, errno ? strerror(errno) : "unexpected answer");
  exit(1);
}

static double now_seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- One connection */

static int connect_to_server(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)options.port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) fail("socket");
  int size = options.receive_buffer;
  if (size > 0 && setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size) != 0) fail("SO_RCVBUF");
  if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) fail("connect");
  return fd;
}

/* The Range field of a connection, or nothing. */
static void write_range(char *text, size_t size, int index) {
  text[0] = 0;
  if (options.bytes == 0) return;
  long long room = options.file_bytes - options.bytes;
  if (room < 0) fail("-s is more than -f");
  long long first = options.count < 2 ? 0 : room / (options.count - 1) * index;
  snprintf(text, size, "Range: bytes=%lld-%lld\r\n", first, first + options.bytes - 1);
}

static void send_request(int fd, int index) {
  char range[80];
  char request[4096];
  write_range(range, sizeof range, index);
  int length = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s%s\r\n",
                        options.path, range, options.keep ? "" : "Connection: close\r\n");
  if (length < 0 || (size_t)length >= sizeof request) fail("path too long");
  if (send(fd, request, (size_t)length, MSG_NOSIGNAL) != length) fail("send");
}

static void open_connection(Connection *c) {
  c->fd = connect_to_server();
  c->remaining = -1;
  send_request(c->fd, connected++);
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
  if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, c->fd, &event) != 0) fail("epoll_ctl");
}

static void complete_connection(Connection *c) {
  complete++;
  if (options.keep) {
    answered++;
    return;
  }
  if (options.seconds > 0) fail("an answer ended before the measurement did");
  close(c->fd);
  c->fd = -1;
}

/* Status 200 or 206 and a Content-Length are required; returns the latter. */
static long long content_length(const char *header) {
  errno = 0;
  if (strncmp(header, "HTTP/1.1 200 ", 13) != 0 && strncmp(header, "HTTP/1.1 206 ", 13) != 0) {
    fprintf(stderr, "%.200s\n", header);
    fail("status");
  }
  const char *line = strcasestr(header, "\r\ncontent-length:");
  if (!line) fail("no Content-Length");
  return atoll(line + 17);
}

/* The header is complete: a paced connection is read by the clock from now on. */
static void begin_body(Connection *c) {
  c->remaining = content_length(c->header);
  if (options.bytes > 0 && c->remaining != options.bytes) fail("length of the range");
  c->began = now_seconds();
  if (!options.keep) answered++;
  if (options.paced && epoll_ctl(poll_fd, EPOLL_CTL_DEL, c->fd, NULL) != 0) fail("epoll_ctl");
  if (c->remaining == 0) complete_connection(c);
}

/* Reads header bytes; peeks first, so that body bytes behind the header stay in the socket. */
static void read_header(Connection *c) {
  size_t room = HEADER_MAX - c->header_length;
  ssize_t got = recv(c->fd, c->header + c->header_length, room, MSG_PEEK | MSG_DONTWAIT);
  if (got < 0 && errno == EAGAIN) return;
  if (got <= 0) fail("connection closed in the header");
  c->header[c->header_length + (size_t)got] = 0;
  char *end = strstr(c->header, "\r\n\r\n");
  size_t take = end ? (size_t)(end + 4 - c->header) - c->header_length : (size_t)got;
  if (recv(c->fd, c->header + c->header_length, take, 0) != (ssize_t)take) fail("recv");
  c->header_length += take;
  if (end)
    begin_body(c);
  else if (c->header_length >= HEADER_MAX)
    fail("header too long");
}

static void discard(Connection *c, size_t at_most) {
  ssize_t got = recv(c->fd, NULL, at_most, MSG_TRUNC | MSG_DONTWAIT);
  if (got < 0 && errno == EAGAIN) return;
  if (got <= 0) fail("connection closed in the body");
  c->remaining -= got;
  c->taken += got;
  total += got;
  last_byte_at = now_seconds();
  if (c->remaining == 0) complete_connection(c);
}

/* ---- All connections */

static void open_due_connections(double began, double now) {
  int due = options.count;
  if (options.connects_per_second > 0) due = (int)fmin(due, 1 + (now - began) * options.connects_per_second);
  while (connected < due) open_connection(&connections[connected]);
}

static void serve_events(int timeout_ms) {
  struct epoll_event events[EVENTS];
  int ready = epoll_wait(poll_fd, events, EVENTS, timeout_ms);
  if (ready < 0 && errno != EINTR) fail("epoll_wait");
  for (int i = 0; i < ready; i++) {
    Connection *c = events[i].data.ptr;
    if (c->remaining < 0)
      read_header(c);
    else
      discard(c, DISCARD_MAX);
  }
}

/* Every connection whose turn it is reads what it is behind its rate. */
static void read_slot(long long tick, double now) {
  for (int i = (int)(tick % SLOTS); i < connected; i += SLOTS) {
    Connection *c = &connections[i];
    if (c->fd < 0 || c->remaining <= 0) continue;
    double due = (now - c->began) * options.rate - (double)c->taken;
    if (due >= 1) discard(c, (size_t)due);
  }
}

static void read_paced(double now) {
  static long long last_tick;
  long long tick = (long long)(now * 1000 / TICK_MS);
  if (last_tick == 0 || tick - last_tick > SLOTS) last_tick = tick - SLOTS;
  while (last_tick < tick) read_slot(++last_tick, now);
}

/* ---- Rates */

static double *rates;
static size_t rate_count;

static void begin_window(void) {
  for (int i = 0; i < options.count; i++) connections[i].mark = connections[i].taken;
}

static void end_window(double seconds) {
  rates = realloc(rates, (rate_count + (size_t)options.count) * sizeof *rates);
  if (!rates) fail("memory");
  for (int i = 0; i < options.count; i++) {
    rates[rate_count++] = (double)(connections[i].taken - connections[i].mark) / seconds;
  }
  begin_window();
}

static int compare(const void *a, const void *b) {
  double difference = *(const double *)a - *(const double *)b;
  return (difference > 0) - (difference < 0);
}

static void print_rates(void) {
  qsort(rates, rate_count, sizeof *rates, compare);
  size_t within = 0;
  for (size_t i = 0; i < rate_count; i++) within += fabs(rates[i] - options.rate) <= options.rate / 10;
  size_t last = rate_count - 1;
  printf("rates %.0f %.0f %.0f %.0f %.0f %.4f\n", rates[0], rates[last / 4], rates[last / 2],
         rates[last * 3 / 4], rates[last], (double)within / (double)rate_count);
}

/* ---- The course of a run */

static void say(const char *word) {
  puts(word);
  fflush(stdout);
}

static void run_until(double began, double end) {
  for (double now = now_seconds(); now < end; now = now_seconds()) {
    open_due_connections(began, now);
    bool ticking = options.paced || connected < options.count;
    double wait_seconds = ticking ? TICK_MS / 1e3 : fmin(1, end - now);
    serve_events((int)ceil(wait_seconds * 1e3));
    if (options.paced) read_paced(now_seconds());
    errno = 0;
    if (!options.keep && now - last_byte_at > SILENCE_SECONDS) fail("no byte for 30 s");
    if (complete == options.count && !options.keep) return;
    if (isinf(end) && options.seconds > 0 && answered == options.count) return;
  }
}

static void measure(double began) {
  run_until(began, INFINITY);
  run_until(began, now_seconds() + options.settle_seconds);
  double from = now_seconds();
  long long before = total;
  say("steady");
  begin_window();
  double window = fmin(WINDOW_SECONDS, options.seconds);
  for (double at = from; at + window <= from + options.seconds + 1e-6; at += window) {
    double window_began = now_seconds();
    run_until(began, at + window);
    end_window(now_seconds() - window_began);
  }
  run_until(began, from + options.seconds);
  double seconds = now_seconds() - from;
  say("over");
  print_rates();
  printf("%lld %.6f\n", total - before, seconds);
}

static void use_all_descriptors(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) fail("RLIMIT_NOFILE");
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0) fail("RLIMIT_NOFILE");
}

static bool read_options(int argc, char **argv) {
  for (int option; (option = getopt(argc, argv, "n:c:s:f:r:pb:kw:t:")) != -1;) {
    if (option == 'n') options.count = atoi(optarg);
    if (option == 'c') options.connects_per_second = atof(optarg);
    if (option == 's') options.bytes = atoll(optarg);
    if (option == 'f') options.file_bytes = atoll(optarg);
    if (option == 'r') options.rate = atof(optarg);
    if (option == 'p') options.paced = true;
    if (option == 'b') options.receive_buffer = atoi(optarg);
    if (option == 'k') options.keep = true;
    if (option == 'w') options.settle_seconds = atof(optarg);
    if (option == 't') options.seconds = atof(optarg);
    if (option == '?') return false;
  }
  if (argc - optind != 2) return false;
  options.port = atoi(argv[optind]);
  options.path = argv[optind + 1];
  return options.count > 0 && (options.rate > 0 || !options.paced) && (options.seconds > 0 || !options.keep);
}

int main(int argc, char **argv) {
  if (!read_options(argc, argv)) {
    fprintf(stderr, "usage: client PORT PATH [options]: see the top of client.c\n");
    return 2;
  }
  use_all_descriptors();
  connections = calloc((size_t)options.count, sizeof *connections);
  poll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (!connections || poll_fd < 0) fail("set-up");
  for (int i = 0; i < options.count; i++) connections[i].fd = -1;
  double began = last_byte_at = now_seconds();
  if (options.seconds > 0) {
    measure(began);
    return 0;
  }
  run_until(began, INFINITY);
  printf("%lld %.6f\n", total, now_seconds() - began);
  return 0;
}
