// The floor: the cheapest program that can do what a fan-out server must do.
//
// One thread, one epoll, one timer. It answers every HTTP request with an endless FLV stream whose bytes are equal
// for all viewers, and on every tick calls `send` once for each viewer. It parses nothing, queues nothing and copies
// nothing, so a server that delivers the same bytes at the same interval cannot cost less on the same kernel.
//
//   weir-bench-floor --port 9000 --flush-ms 350 --bitrate 1000000
//
// A viewer whose socket is full keeps the rest of its frame for the next tick; the number of frames it had to miss is
// printed at the end (SIGTERM or SIGINT), because a floor that drops is not a floor.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    kMaximumDescriptors = 65536,
    kFLVTagHeader = 11,
    kFLVTagOverhead = 15,
    kMaximumFrame = 8 << 20,
};

typedef struct {
    int descriptor;
    uint32_t unsent;  // bytes of the last frame that the socket did not take
} Viewer;

static struct {
    int epoll, listener, timer, signals;
    Viewer *viewers;
    size_t viewerCount;
    uint32_t *slotOfDescriptor;  // 0: not a viewer; otherwise index + 1
    uint8_t *frame;              // one FLV tag, equal for all viewers but for its timestamp
    size_t frameLength;
    uint32_t flushMillis, timestamp;
    uint64_t sent, missed, lateTicks;
} state;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void writeUInt24(uint8_t *at, uint32_t value) {
    at[0] = (uint8_t)(value >> 16);
    at[1] = (uint8_t)(value >> 8);
    at[2] = (uint8_t)value;
}

// Lays out one FLV video tag of `length` bytes, PreviousTagSize included (FLV 10.1, E.4.1 and E.4.3).
static void makeTag(uint8_t *tag, size_t length, bool keyframe) {
    uint32_t payload = (uint32_t)(length - kFLVTagOverhead);
    memset(tag, 0xA5, length);
    tag[0] = 9;
    writeUInt24(tag + 1, payload);
    memset(tag + 4, 0, 7);
    tag[11] = keyframe ? 0x17 : 0x27;
    tag[12] = 1;
    writeUInt24(tag + 13, 0);
    tag[length - 4] = 0;
    writeUInt24(tag + length - 3, payload + kFLVTagHeader);
}

static void stampTag(uint8_t *tag, uint32_t millis) {
    writeUInt24(tag + 4, millis & 0xFFFFFF);
    tag[7] = (uint8_t)(millis >> 24);
}

static void watch(int descriptor, uint32_t events) {
    struct epoll_event event = {.events = events, .data.fd = descriptor};
    if (epoll_ctl(state.epoll, EPOLL_CTL_ADD, descriptor, &event) != 0) fail("epoll_ctl");
}

static void drop(int descriptor) {
    uint32_t slot = state.slotOfDescriptor[descriptor];
    if (slot != 0) {
        Viewer last = state.viewers[--state.viewerCount];
        state.viewers[slot - 1] = last;
        state.slotOfDescriptor[last.descriptor] = slot;
        state.slotOfDescriptor[descriptor] = 0;
    }
    close(descriptor);
}

static void acceptAll(void) {
    for (;;) {
        int descriptor = accept4(state.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (descriptor < 0) return;
        if (descriptor >= kMaximumDescriptors) {
            close(descriptor);
            continue;
        }
        int one = 1;
        setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        watch(descriptor, EPOLLIN | EPOLLRDHUP);
    }
}

// Answers a request (whatever it asks for) with the HTTP head, the FLV header and one small keyframe.
static void join(int descriptor) {
    static const char head[] =
        "HTTP/1.1 200 OK\r\nContent-Type: video/x-flv\r\nConnection: close\r\nCache-Control: no-store\r\n\r\n";
    static const uint8_t fileHeader[13] = {'F', 'L', 'V', 1, 1, 0, 0, 0, 9, 0, 0, 0, 0};
    uint8_t keyframe[kFLVTagOverhead + 64];
    makeTag(keyframe, sizeof keyframe, true);
    stampTag(keyframe, state.timestamp);
    struct iovec parts[] = {
        {(void *)head, sizeof head - 1}, {(void *)fileHeader, sizeof fileHeader}, {keyframe, sizeof keyframe}};
    if (writev(descriptor, parts, 3) < 0) {
        drop(descriptor);
        return;
    }
    state.viewers[state.viewerCount++] = (Viewer){.descriptor = descriptor, .unsent = 0};
    state.slotOfDescriptor[descriptor] = (uint32_t)state.viewerCount;
}

static void readable(int descriptor, uint32_t events) {
    char request[4096];
    ssize_t count = recv(descriptor, request, sizeof request, 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR) && !(events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))) return;
    if (count <= 0) {
        drop(descriptor);
    } else if (state.slotOfDescriptor[descriptor] == 0) {
        join(descriptor);
    }
}

// One `send` per viewer. All frames are equal but for the timestamp in their first bytes, so what a full socket left
// over is always the tail of the current frame.
static void flushAll(void) {
    state.timestamp += state.flushMillis;
    stampTag(state.frame, state.timestamp);
    for (size_t index = 0; index < state.viewerCount; index++) {
        Viewer *viewer = &state.viewers[index];
        ssize_t count;
        size_t length = state.frameLength;
        if (viewer->unsent == 0) {
            count = send(viewer->descriptor, state.frame, length, MSG_NOSIGNAL | MSG_DONTWAIT);
        } else {
            struct iovec parts[] = {{state.frame + length - viewer->unsent, viewer->unsent}, {state.frame, length}};
            struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
            length += viewer->unsent;
            count = sendmsg(viewer->descriptor, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        }
        if (count < 0 && errno != EAGAIN) continue;  // A dead peer is noticed by epoll.
        if (count < 0) count = 0;
        state.sent += (uint64_t)count;
        size_t rest = length - (size_t)count;
        if (rest >= state.frameLength) {
            // The new frame was not begun (or the old one not finished): this viewer misses it.
            state.missed++;
            rest -= state.frameLength;
        }
        viewer->unsent = (uint32_t)rest;
    }
}

static void tick(void) {
    uint64_t expirations = 0;
    if (read(state.timer, &expirations, sizeof expirations) != sizeof expirations) return;
    if (expirations > 1) state.lateTicks += expirations - 1;
    flushAll();
}

static void listenOn(uint16_t port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    state.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (state.listener < 0) fail("socket");
    int one = 1;
    setsockopt(state.listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(state.listener, (struct sockaddr *)&address, sizeof address) != 0) fail("bind");
    if (listen(state.listener, 4096) != 0) fail("listen");
}

static void startTimer(void) {
    state.timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (state.timer < 0) fail("timerfd_create");
    struct timespec interval = {
        .tv_sec = state.flushMillis / 1000, .tv_nsec = (long)(state.flushMillis % 1000) * 1000000};
    struct itimerspec schedule = {.it_interval = interval, .it_value = interval};
    if (timerfd_settime(state.timer, 0, &schedule, NULL) != 0) fail("timerfd_settime");
}

static void openDescriptors(uint16_t port) {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    state.epoll = epoll_create1(EPOLL_CLOEXEC);
    state.signals = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
    if (state.epoll < 0 || state.signals < 0) fail("epoll_create1, signalfd");
    listenOn(port);
    startTimer();
    watch(state.listener, EPOLLIN);
    watch(state.timer, EPOLLIN);
    watch(state.signals, EPOLLIN);
}

static void run(void) {
    struct epoll_event events[256];
    for (;;) {
        int count = epoll_wait(state.epoll, events, 256, -1);
        for (int index = 0; index < count; index++) {
            int descriptor = events[index].data.fd;
            if (descriptor == state.timer) {
                tick();
            } else if (descriptor == state.listener) {
                acceptAll();
            } else if (descriptor == state.signals) {
                fprintf(stderr, "sent %llu bytes, missed frames %llu, late ticks %llu\n",
                        (unsigned long long)state.sent, (unsigned long long)state.missed,
                        (unsigned long long)state.lateTicks);
                return;
            } else {
                readable(descriptor, events[index].events);
            }
        }
    }
}

static long number(const char *text, const char *name, long least, long most) {
    char *end = NULL;
    long value = strtol(text, &end, 10);
    if (*text == 0 || *end != 0 || value < least || value > most) {
        fprintf(stderr, "--%s must be %ld to %ld, got '%s'\n", name, least, most, text);
        exit(64);
    }
    return value;
}

int main(int argc, char **argv) {
    static const struct option options[] = {{"port", required_argument, NULL, 'p'},
                                            {"flush-ms", required_argument, NULL, 'f'},
                                            {"bitrate", required_argument, NULL, 'b'},
                                            {NULL, 0, NULL, 0}};
    long port = 9000, flushMillis = 350, bitrate = 1000000;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 'p': port = number(optarg, "port", 1, 65535); break;
        case 'f': flushMillis = number(optarg, "flush-ms", 1, 10000); break;
        case 'b': bitrate = number(optarg, "bitrate", 10000, 100000000); break;
        default:
            fprintf(stderr, "usage: weir-bench-floor [--port N] [--flush-ms N] [--bitrate BITS_PER_SECOND]\n");
            return 64;
        }
    }
    state.flushMillis = (uint32_t)flushMillis;
    state.frameLength = (size_t)(bitrate / 8 * flushMillis / 1000);
    if (state.frameLength < kFLVTagOverhead + 16 || state.frameLength > kMaximumFrame) {
        fprintf(stderr, "a flush of %zu bytes is out of range\n", state.frameLength);
        return 64;
    }
    state.frame = malloc(state.frameLength);
    state.viewers = calloc(kMaximumDescriptors, sizeof *state.viewers);
    state.slotOfDescriptor = calloc(kMaximumDescriptors, sizeof *state.slotOfDescriptor);
    if (!state.frame || !state.viewers || !state.slotOfDescriptor) fail("malloc");
    makeTag(state.frame, state.frameLength, false);
    openDescriptors((uint16_t)port);
    run();
    return 0;
}
