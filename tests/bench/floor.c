/* floor: what the kernel alone costs. `floor PORT` serves /echo and /broadcast by a plain loop of send().
 *
 * No JSON, no limits, no statistics, no check of what comes: the answer is spliced from the message's bytes,
 * to the same bytes as the other servers answer. The handshake's accept key is not computed. A client that
 * does not read is not waited for: it loses bytes.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_FILES 65536
#define MAX_BYTES 65536

struct client {
    bool used, open, broadcasts;
    size_t place; /* in `receivers`, if it broadcasts */
};

static struct client clients[MAX_FILES];
static int receivers[MAX_FILES];
static size_t receiver_count;
static int epoll_fd;
static uint8_t input[MAX_BYTES + 1];

static const char HEAD[] = "{\"success\":true,\"data\":";
static const char TAIL[] = ",\"username\":\"\",\"ctx\":{\"username\":\"\",\"ip\":\"127.0.0.1\"}}}";
static const char ANSWER[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                             "Sec-WebSocket-Accept: not computed\r\n\r\n";

static void forget(int fd) {
    struct client *client = &clients[fd];
    if (client->broadcasts) {
        int last = receivers[--receiver_count];
        receivers[client->place] = last;
        clients[last].place = client->place;
    }
    *client = (struct client){ 0 };
    close(fd);
}

static void send_to(int fd, const void *bytes, size_t length) {
    send(fd, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Answer one message, to its sender or to all. */
static void answer(int fd, const uint8_t *message, size_t length) {
    static uint8_t frame[MAX_BYTES + 256];
    size_t body = sizeof HEAD - 1 + length - 1 + sizeof TAIL - 1, at = 0;
    frame[at++] = 0x81;
    if (body < 126) {
        frame[at++] = body;
    } else {
        frame[at++] = 126;
        frame[at++] = body >> 8;
        frame[at++] = body & 0xff;
    }
    memcpy(frame + at, HEAD, sizeof HEAD - 1);
    memcpy(frame + at + sizeof HEAD - 1, message, length - 1);
    memcpy(frame + at + sizeof HEAD - 1 + length - 1, TAIL, sizeof TAIL - 1);
    if (!clients[fd].broadcasts) send_to(fd, frame, at + body);
    else
        for (size_t i = 0; i < receiver_count; i++) send_to(receivers[i], frame, at + body);
}

static void shake_hands(int fd) {
    struct client *client = &clients[fd];
    client->open = true;
    if (!memcmp(input, "GET /broadcast", 14)) {
        client->broadcasts = true;
        client->place = receiver_count;
        receivers[receiver_count++] = fd;
    }
    send_to(fd, ANSWER, sizeof ANSWER - 1);
}

/* Take one masked frame; returns its bytes, 0 if it is not all there. */
static size_t take_frame(int fd, uint8_t *bytes, size_t length) {
    if (length < 6) return 0;
    size_t size = bytes[1] & 127, head = 6;
    if (size == 126) {
        size = bytes[2] << 8 | bytes[3];
        head = 8;
    }
    if (length < head + size) return 0;
    uint8_t *payload = bytes + head;
    for (size_t i = 0; i < size; i++) payload[i] ^= payload[(int)(i & 3) - 4];
    if ((bytes[0] & 15) == 1) answer(fd, payload, size);
    return head + size;
}

static void on_readable(int fd) {
    ssize_t got = recv(fd, input, MAX_BYTES, 0);
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN) forget(fd);
        return;
    }
    if (!clients[fd].open) {
        shake_hands(fd);
        return;
    }
    size_t used = 0, taken;
    while ((taken = take_frame(fd, input + used, got - used))) used += taken;
}

static void watch(int fd) {
    struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

static void on_connection(int listener) {
    int on = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    if (fd < 0 || fd >= MAX_FILES) return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    clients[fd].used = true;
    watch(fd);
}

static int listen_on(int port) {
    int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1024)) {
        perror("floor");
        exit(1);
    }
    return listener;
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fputs("usage: floor PORT\n", stderr);
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    epoll_fd = epoll_create1(0);
    int listener = listen_on(atoi(argv[1]));
    watch(listener);
    for (;;) {
        struct epoll_event events[512];
        int count = epoll_wait(epoll_fd, events, 512, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == listener) on_connection(listener);
            else on_readable(events[i].data.fd);
        }
    }
}
