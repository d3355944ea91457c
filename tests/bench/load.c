/* load: WebSocket clients by the thousand in one thread, and what they cost the server.
 *
 *   load --port PORT --path /x --count 500 --mode broadcast --seconds 3 --pid SERVER
 *
 * Modes
 *   echo       each client has one message under way and waits until it comes back
 *   broadcast  client 0 has --window messages under way; one is done when all clients have it
 *   paced      --rate messages a second are sent, whatever comes back, by the first --senders clients in
 *              turn; --receivers all: each is awaited at all clients, one: at its sender
 *   hold       nothing is sent; the clients stay
 *
 * A message is {"type":"bench","tag":"@0000000042"}, with --pad bytes more if asked for; a text frame that
 * comes counts as a delivery if its tag is under way. What is sent within one turn of the loop leaves in one
 * send(). Latency counts from the moment at which a message was due, so that a server that is late for one
 * is late for all that it kept from being sent. With --deflate clients offer permessage-deflate and inflate
 * nothing: there may be one message under way, and whatever comes compressed is that one.
 *
 * The server's CPU time is read from its own clock (clock_getcpuclockid), to the nanosecond and with all its
 * threads; its memory from /proc/PID/statm. The result is one line of JSON. Exit status 1, with a line that
 * says why, if a connection was refused or lost, or if nothing came for STALL_SECONDS.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000ull
#define CONNECT_SECONDS 60
#define STALL_SECONDS 5
#define SAMPLE_SECONDS 0.1
/* Reading at last what was sent to a client that did not read. */
#define GIVEN_UP_SECONDS 2
/* Messages that may be under way at once; a power of two. */
#define UNDER_WAY 65536
#define MAX_PORTS 8
#define MAX_PIDS 64
#define SCRATCH (1 << 20)
/* A stalled client's kernel buffer is as small as it gets, so that the server soon notices. */
#define STALLED_BUFFER 4096

enum state { UNBORN, CONNECTING, SHAKING, OPEN, ENDED };
enum mode { ECHO, BROADCAST, PACED, HOLD };
static const char *const mode_names[] = { "echo", "broadcast", "paced", "hold", NULL };

struct buffer {
    char *bytes;
    size_t length, room;
};

struct client {
    int fd;
    enum state state;
    int group; /* which of the ports it is connected to */
    bool stalled, queued;
    struct buffer in, out;
};

/* Counts by value with a precision of 1.6 %: 64 steps for each power of two. */
struct histogram {
    uint64_t counts[64 * 64], total, largest;
};

static struct {
    const char *path, *cookie, *before, *after, *hello;
    int ports[MAX_PORTS], port_count, pids[MAX_PIDS], pid_count;
    int count, window, senders, paths, stalled, pad, at_once;
    enum mode mode;
    /* From the last handshake to the run: a server tidies up, and sends its first frames. */
    double settle;
    double seconds, rate;
    bool all_receive, deflate;
} options = { .path = "/", .cookie = "", .before = "", .after = "", .hello = "", .count = 100, .window = 1,
              .senders = 1, .paths = 0, .at_once = 64, .mode = ECHO, .settle = 0.3, .seconds = 1, .rate = 100 };

static struct client *clients;
static int epoll_fd, open_count, started_count;
static struct client **to_flush;
static int to_flush_count;
static char scratch[SCRATCH];

/* The run */
static bool running;
static uint64_t stop_at, last_progress, deliveries, payload_bytes, under_way, sent_count;
static uint32_t next_sequence;
static uint64_t due_at[UNDER_WAY];
static int awaited[UNDER_WAY];
static struct histogram latencies[MAX_PORTS];
static int closes;
/* Of the last close frame that came; 0 if a connection was lost without one. */
static int close_code;
static double peak_rss_kb;

static void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * SECOND + now.tv_nsec;
}

/* The server */

static double cpu_seconds(int pid) {
    clockid_t clock;
    struct timespec used;
    if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &used)) fail("process %d has ended", pid);
    return used.tv_sec + used.tv_nsec / 1e9;
}

static double rss_kb(void) {
    double pages = 0;
    for (int i = 0; i < options.pid_count; i++) {
        char name[64];
        long total, resident = 0;
        snprintf(name, sizeof name, "/proc/%d/statm", options.pids[i]);
        FILE *file = fopen(name, "r");
        if (!file) fail("process %d has ended", options.pids[i]);
        if (fscanf(file, "%ld %ld", &total, &resident) == 2) pages += resident;
        fclose(file);
    }
    return pages * sysconf(_SC_PAGESIZE) / 1024;
}

static void sample_rss(void) {
    double now = rss_kb();
    if (now > peak_rss_kb) peak_rss_kb = now;
}

/* Histograms */

static int bucket_of(uint64_t value) {
    if (value < 64) return value;
    int top = 63 - __builtin_clzll(value);
    return 64 * (top - 5) + ((value >> (top - 6)) & 63);
}

static uint64_t value_of(int bucket) {
    if (bucket < 64) return bucket;
    int top = bucket / 64 + 5;
    return (64ull + bucket % 64) << (top - 6);
}

static void count_latency(struct histogram *histogram, uint64_t value) {
    histogram->counts[bucket_of(value)]++;
    histogram->total++;
    if (value > histogram->largest) histogram->largest = value;
}

static double quantile_us(const struct histogram *histogram, double part) {
    uint64_t rank = histogram->total * part, seen = 0;
    for (int i = 0; i < 64 * 64; i++) {
        seen += histogram->counts[i];
        if (seen > rank) return value_of(i) / 1e3;
    }
    return histogram->largest / 1e3;
}

/* Buffers */

static void append(struct buffer *buffer, const void *bytes, size_t length) {
    if (buffer->length + length > buffer->room) {
        buffer->room = 2 * (buffer->length + length);
        buffer->bytes = realloc(buffer->bytes, buffer->room);
        if (!buffer->bytes) fail("no memory");
    }
    memcpy(buffer->bytes + buffer->length, bytes, length);
    buffer->length += length;
}

static void drop_first(struct buffer *buffer, size_t length) {
    buffer->length -= length;
    memmove(buffer->bytes, buffer->bytes + length, buffer->length);
}

/* Out */

static void watch(struct client *client, int operation, uint32_t events) {
    struct epoll_event event = { .events = events, .data.ptr = client };
    if (epoll_ctl(epoll_fd, operation, client->fd, &event)) fail("epoll_ctl: %s", strerror(errno));
}

static void end_client(struct client *client) {
    if (client->state == OPEN) open_count--;
    client->state = ENDED;
    close(client->fd);
    closes++;
}

/* Send what the kernel takes; what it does not take waits until the socket is writable. */
static void flush_client(struct client *client) {
    ssize_t sent = send(client->fd, client->out.bytes, client->out.length, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        end_client(client);
        return;
    }
    bool was_whole = sent == (ssize_t)client->out.length;
    drop_first(&client->out, sent < 0 ? 0 : sent);
    watch(client, EPOLL_CTL_MOD, was_whole ? EPOLLIN : EPOLLIN | EPOLLOUT);
}

static void flush_queued(void) {
    for (int i = 0; i < to_flush_count; i++) {
        struct client *client = to_flush[i];
        client->queued = false;
        if (client->state == ENDED) continue;
        ssize_t sent = send(client->fd, client->out.bytes, client->out.length, MSG_NOSIGNAL);
        if (sent == (ssize_t)client->out.length) client->out.length = 0;
        else flush_client(client);
    }
    to_flush_count = 0;
}

static void queue(struct client *client, const void *bytes, size_t length) {
    append(&client->out, bytes, length);
    if (!client->queued) {
        client->queued = true;
        to_flush[to_flush_count++] = client;
    }
}

/* A masked frame (RFC 6455 section 5.2); the mask is not random, since nobody is to be protected here. */
static void queue_frame(struct client *client, int opcode, const char *payload, size_t length) {
    static const uint8_t mask[4] = { 0x5c, 0x91, 0xe3, 0x2a };
    static char frame[8 + UINT16_MAX];
    size_t at = 0;
    frame[at++] = 0x80 | opcode;
    if (length < 126) {
        frame[at++] = 0x80 | length;
    } else {
        frame[at++] = (char)(0x80 | 126);
        frame[at++] = length >> 8;
        frame[at++] = length & 0xff;
    }
    memcpy(frame + at, mask, 4);
    at += 4;
    for (size_t i = 0; i < length; i++) frame[at + i] = payload[i] ^ mask[i & 3];
    queue(client, frame, at + length);
}

/* Send the next message, which counts as sent at `due` and is awaited by so many. */
static void say(struct client *client, uint64_t due, int receivers) {
    static char message[UINT16_MAX + 1];
    uint32_t sequence = next_sequence++;
    int length = snprintf(message, sizeof message, "%s{\"type\":\"bench\",\"tag\":\"@%010u\"", options.before, sequence);
    if (options.pad) {
        length += snprintf(message + length, sizeof message - length, ",\"pad\":\"");
        memset(message + length, 'x', options.pad);
        length += options.pad;
        message[length++] = '"';
    }
    length += snprintf(message + length, sizeof message - length, "}%s", options.after);
    due_at[sequence % UNDER_WAY] = due;
    awaited[sequence % UNDER_WAY] = receivers;
    under_way += receivers;
    sent_count++;
    queue_frame(client, 1, message, length);
}

/* In */

static void on_delivery(struct client *client, uint32_t sequence) {
    int *left = &awaited[sequence % UNDER_WAY];
    if (next_sequence - sequence > UNDER_WAY || *left <= 0) return;
    uint64_t now = now_ns();
    count_latency(&latencies[client->group], now - due_at[sequence % UNDER_WAY]);
    last_progress = now;
    deliveries++;
    under_way--;
    (*left)--;
    if (*left || now >= stop_at) return;
    if (options.mode == ECHO) say(client, now, 1);
    if (options.mode == BROADCAST) say(&clients[0], now, options.count - options.stalled);
}

static void on_text(struct client *client, const char *payload, size_t length) {
    if (length == 1 && *payload == '2' && *options.hello) {
        /* Engine.IO has pings of its own, as text. */
        queue_frame(client, 1, "3", 1);
        return;
    }
    const char *tag = memchr(payload, '@', length);
    if (!tag || !running) return;
    payload_bytes += length;
    on_delivery(client, strtoul(tag + 1, NULL, 10));
}

static void on_compressed(struct client *client, size_t length) {
    if (!running) return;
    payload_bytes += length;
    on_delivery(client, next_sequence - 1);
}

static void on_frame(struct client *client, int opcode, const char *payload, size_t length) {
    if (opcode & 0x40) on_compressed(client, length);
    else if (opcode == 1 || opcode == 2) on_text(client, payload, length);
    else if (opcode == 9) queue_frame(client, 10, payload, length);
    else if (opcode == 8) {
        close_code = length < 2 ? 1005 : (uint8_t)payload[0] << 8 | (uint8_t)payload[1];
        end_client(client);
    }
}

/* Take one frame; returns its bytes, 0 if it is not all there. */
static size_t take_frame(struct client *client, const uint8_t *bytes, size_t length) {
    if (length < 2) return 0;
    size_t size = bytes[1] & 127, head = 2;
    if (size == 127) fail("a frame of 64 KiB or more came");
    if (size == 126) {
        if (length < 4) return 0;
        size = bytes[2] << 8 | bytes[3];
        head = 4;
    }
    if (length < head + size) return 0;
    on_frame(client, bytes[0] & 0x4f, (const char *)bytes + head, size);
    return head + size;
}

/* Take the answer to the handshake; returns its bytes, 0 if it is not all there. */
static size_t take_answer(struct client *client, const char *bytes, size_t length) {
    const char *end = memmem(bytes, length, "\r\n\r\n", 4);
    if (!end) return 0;
    if (strncmp(bytes, "HTTP/1.1 101", 12)) fail("a handshake was refused: %.*s", (int)strcspn(bytes, "\r"), bytes);
    client->state = OPEN;
    open_count++;
    if (*options.hello) queue_frame(client, 1, options.hello, strlen(options.hello));
    return end + 4 - bytes;
}

static void read_client(struct client *client) {
    size_t kept = client->in.length, used = 0, length;
    if (kept) memcpy(scratch, client->in.bytes, kept);
    ssize_t got = recv(client->fd, scratch + kept, SCRATCH - 1 - kept, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
        end_client(client);
        return;
    }
    length = kept + got;
    scratch[length] = 0;
    if (client->state == SHAKING) used = take_answer(client, scratch, length);
    while (client->state == OPEN) {
        size_t taken = take_frame(client, (uint8_t *)scratch + used, length - used);
        if (!taken) break;
        used += taken;
    }
    client->in.length = 0;
    append(&client->in, scratch + used, length - used);
}

/* Connecting */

static void connect_client(struct client *client, int number) {
    client->group = number % options.port_count;
    client->stalled = number >= options.count - options.stalled;
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (client->fd < 0) fail("socket: %s; raise `ulimit -n`", strerror(errno));
    int on = 1, small = STALLED_BUFFER;
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (client->stalled) setsockopt(client->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(options.ports[client->group]),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    if (connect(client->fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS)
        fail("connect: %s", strerror(errno));
    client->state = CONNECTING;
    watch(client, EPOLL_CTL_ADD, EPOLLOUT);
}

static void ask_for_websocket(struct client *client, int number) {
    char request[4096], suffix[32] = "";
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) fail("connect: %s", strerror(error));
    if (options.paths) snprintf(suffix, sizeof suffix, "-%d", number % options.paths);
    int length = snprintf(request, sizeof request,
        "GET %s%s%cuuid=%08x-0000-4000-8000-%012x HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2l4dGVlbiBieXRlcyA6KQ==\r\n"
        "%s%s%s%s\r\n",
        options.path, suffix, strchr(options.path, '?') ? '&' : '?', number, getpid(),
        options.ports[client->group], *options.cookie ? "Cookie: " : "", options.cookie,
        *options.cookie ? "\r\n" : "",
        options.deflate ? "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n" : "");
    client->state = SHAKING;
    append(&client->out, request, length);
    flush_client(client);
}

static void on_event(struct client *client, uint32_t events) {
    if (client->state == ENDED) return;
    if (client->state == CONNECTING) ask_for_websocket(client, client - clients);
    else if (events & EPOLLOUT && client->out.length) flush_client(client);
    if (client->state != ENDED && events & (EPOLLIN | EPOLLHUP | EPOLLERR)) read_client(client);
}

/* One turn of the loop, which waits for at most so long. */
static void turn(uint64_t wait_ns) {
    struct epoll_event events[512];
    struct pollfd readable = { .fd = epoll_fd, .events = POLLIN };
    struct timespec wait = { .tv_sec = wait_ns / SECOND, .tv_nsec = wait_ns % SECOND };
    if (wait_ns) ppoll(&readable, 1, &wait, NULL);
    int count = epoll_wait(epoll_fd, events, 512, 0);
    for (int i = 0; i < count; i++) on_event(events[i].data.ptr, events[i].events);
    flush_queued();
}

static void connect_all(void) {
    uint64_t give_up = now_ns() + CONNECT_SECONDS * SECOND;
    while (open_count < options.count) {
        while (started_count < options.count && started_count - open_count < options.at_once) {
            connect_client(&clients[started_count], started_count);
            started_count++;
        }
        turn(SECOND / 10);
        if (closes) fail("a connection was lost in its handshake");
        if (now_ns() > give_up) fail("%d of %d are connected after %d s", open_count, options.count, CONNECT_SECONDS);
    }
}

static void rest(double seconds) {
    uint64_t end = now_ns() + seconds * SECOND;
    for (uint64_t now; (now = now_ns()) < end;) turn(end - now);
}

/* Runs */

static void begin_run(void) {
    uint64_t now = now_ns();
    running = true;
    last_progress = now;
    stop_at = now + options.seconds * SECOND;
    if (options.mode == ECHO)
        for (int i = 0; i < options.count; i++) say(&clients[i], now, 1);
    if (options.mode == BROADCAST)
        for (int i = 0; i < options.window; i++) say(&clients[0], now, options.count - options.stalled);
    flush_queued();
}

/* Send what is due by now in mode paced; returns when the next one is. */
static uint64_t keep_pace(uint64_t started, uint64_t now) {
    int receivers = options.all_receive ? options.count - options.stalled : 1;
    uint64_t due = started + sent_count * (SECOND / options.rate);
    while (due <= now && due < stop_at) {
        say(&clients[sent_count % options.senders], due, receivers);
        due = started + sent_count * (SECOND / options.rate);
    }
    flush_queued();
    return due;
}

static uint64_t next_turn_at(uint64_t started, uint64_t now) {
    uint64_t at = now < stop_at ? stop_at : now + SECOND / 10;
    if (options.mode == PACED && now < stop_at) {
        uint64_t due = keep_pace(started, now);
        if (due < at) at = due;
    }
    return at;
}

/* Tell whether a lost connection spoils the run; where each is awaited on its own, it is only counted. */
static bool needs_all(void) {
    return options.mode == ECHO || options.mode == BROADCAST || options.all_receive;
}

static void run(void) {
    uint64_t started = now_ns(), now = started, sample_at = started;
    begin_run();
    while ((now = now_ns()) < stop_at || under_way) {
        if (closes && needs_all()) fail("the server has closed a connection with %d", close_code);
        if (under_way && now - last_progress > STALL_SECONDS * SECOND)
            fail("%lu deliveries are missing, nothing came for %d s, %d connections were lost", under_way,
                 STALL_SECONDS, closes);
        if (now >= sample_at) {
            sample_rss();
            sample_at = now + SAMPLE_SECONDS * SECOND;
        }
        uint64_t until = next_turn_at(started, now);
        if (until > sample_at) until = sample_at;
        turn(until > now ? until - now : 0);
    }
    running = false;
    sample_rss();
}

/* Clients that don't read */

static void stall(void) {
    for (int i = options.count - options.stalled; i < options.count; i++)
        epoll_ctl(epoll_fd, EPOLL_CTL_DEL, clients[i].fd, NULL);
}

/* Let those read who did not; returns how many the server had given up, by a close frame or without one. */
static int given_up(void) {
    int count = 0;
    for (int i = options.count - options.stalled; i < options.count; i++) {
        uint64_t end = now_ns() + GIVEN_UP_SECONDS * SECOND;
        while (clients[i].state == OPEN && now_ns() < end) {
            read_client(&clients[i]);
            usleep(100);
        }
        count += clients[i].state == ENDED;
    }
    return count;
}

/* The command line and the result */

static int mode_named(const char *name) {
    for (int i = 0; mode_names[i]; i++)
        if (!strcmp(mode_names[i], name)) return i;
    fail("there is no mode %s", name);
    return -1;
}

static const struct option long_options[] = {
    { "port", 1, 0, 'p' },    { "path", 1, 0, 'a' },    { "cookie", 1, 0, 'c' },  { "before", 1, 0, 'b' },
    { "after", 1, 0, 'f' },   { "hello", 1, 0, 'h' },   { "pid", 1, 0, 'P' },     { "count", 1, 0, 'n' },
    { "window", 1, 0, 'w' },  { "senders", 1, 0, 's' }, { "paths", 1, 0, 'k' },   { "stalled", 1, 0, 'S' },
    { "pad", 1, 0, 'd' },     { "mode", 1, 0, 'm' },    { "seconds", 1, 0, 't' }, { "rate", 1, 0, 'r' },
    { "receivers", 1, 0, 'R' }, { "settle", 1, 0, 'T' }, { "deflate", 0, 0, 'z' }, { 0 },
};

static void read_options(int argc, char **argv) {
    int name;
    while ((name = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        switch (name) {
        case 'p': if (options.port_count < MAX_PORTS) options.ports[options.port_count++] = atoi(optarg); break;
        case 'P': if (options.pid_count < MAX_PIDS) options.pids[options.pid_count++] = atoi(optarg); break;
        case 'a': options.path = optarg; break;
        case 'c': options.cookie = optarg; break;
        case 'b': options.before = optarg; break;
        case 'f': options.after = optarg; break;
        case 'h': options.hello = optarg; break;
        case 'n': options.count = atoi(optarg); break;
        case 'w': options.window = atoi(optarg); break;
        case 's': options.senders = atoi(optarg); break;
        case 'k': options.paths = atoi(optarg); break;
        case 'S': options.stalled = atoi(optarg); break;
        case 'd': options.pad = atoi(optarg); break;
        case 'm': options.mode = mode_named(optarg); break;
        case 't': options.seconds = atof(optarg); break;
        case 'r': options.rate = atof(optarg); break;
        case 'T': options.settle = atof(optarg); break;
        case 'z': options.deflate = true; break;
        case 'R': options.all_receive = !strcmp(optarg, "all"); break;
        default: exit(2);
        }
    }
    if (!options.port_count || !options.pid_count) fail("--port and --pid are needed");
    if (options.stalled >= options.count || options.pad > 60000) fail("--stalled or --pad is too large");
    if (options.deflate && (options.mode != BROADCAST || options.window != 1))
        fail("--deflate is for --mode broadcast with one message under way");
}

static void print_list(const char *name, const double *values, int count) {
    printf("\"%s\":[", name);
    for (int i = 0; i < count; i++) printf("%s%.9g", i ? "," : "", values[i]);
    printf("],");
}

static void print_latencies(void) {
    double p50[MAX_PORTS], p99[MAX_PORTS], largest[MAX_PORTS];
    for (int i = 0; i < options.port_count; i++) {
        p50[i] = quantile_us(&latencies[i], 0.5);
        p99[i] = quantile_us(&latencies[i], 0.99);
        largest[i] = latencies[i].largest / 1e3;
    }
    print_list("p50_us", p50, options.port_count);
    print_list("p99_us", p99, options.port_count);
    print_list("max_us", largest, options.port_count);
}

static void read_cpu(double *used) {
    for (int i = 0; i < options.pid_count; i++) used[i] = cpu_seconds(options.pids[i]);
}

static double since(const double *before, double *now) {
    double sum = 0;
    for (int i = 0; i < options.pid_count; i++) sum += now[i] -= before[i];
    return sum;
}

int main(int argc, char **argv) {
    struct rlimit files;
    double before[MAX_PIDS], after[MAX_PIDS];
    read_options(argc, argv);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    clients = calloc(options.count, sizeof *clients);
    to_flush = calloc(options.count, sizeof *to_flush);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!clients || !to_flush) fail("no memory");

    double rss_before = rss_kb();
    read_cpu(before);
    connect_all();
    rest(options.settle);
    read_cpu(after);
    double connect_cpu = since(before, after), rss_start = rss_kb();
    stall();

    read_cpu(before);
    uint64_t started = now_ns();
    run();
    double wall = (now_ns() - started) / 1e9;
    read_cpu(after);
    double cpu = since(before, after);

    printf("{\"clients\":%d,\"connect_cpu_us\":%.3f,\"rss_kb_per_client\":%.3f,", options.count,
           connect_cpu / options.count * 1e6, (rss_start - rss_before) / options.count);
    printf("\"seconds\":%.6f,\"sent\":%lu,\"deliveries\":%lu,\"closes\":%d,\"cpu_seconds\":%.9f,", wall,
           sent_count, deliveries, closes, cpu);
    print_list("cpu_seconds_of", after, options.pid_count);
    print_latencies();
    printf("\"payload_bytes\":%.1f,\"rss_growth_kb\":%.0f,\"given_up\":%d}\n",
           deliveries ? (double)payload_bytes / deliveries : 0, peak_rss_kb - rss_start, given_up());
    return 0;
}
