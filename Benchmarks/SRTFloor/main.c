// The floor of SRT: the cheapest program that sends one transport stream to many callers through libsrt.
//
// One thread lets everybody in who calls, and on every tick gives each connection the same messages of 1,316 bytes. It
// parses nothing, keeps nothing and looks at no statistics, so that what it costs is the library, its threads and the
// kernel. Its socket options are those that Weir has by default.
//
//   weir-bench-srt-floor --port 9000 --tick-ms 40 --bitrate 2000000 --passphrase 0123456789
//
// Messages that the library did not take are counted and printed at the end (SIGTERM or SIGINT): a floor that drops is
// not a floor.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <getopt.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <srt/srt.h>

enum {
    kPacket = 188,
    kMessage = 7 * kPacket,
    kMaximumMessages = 4096,
    kMaximumCallers = 16384,
    kTicksPerKeyframe = 50,
    kPID = 0x100,
};

static struct {
    SRTSOCKET listener;
    SRTSOCKET callers[kMaximumCallers];
    size_t callerCount;
    uint8_t *messages;
    uint8_t counter;  // of the transport stream's packets
    double owedBytes;
    uint64_t tick, sent, refused, lateTicks;
} state;

static volatile sig_atomic_t isOver;

static void stop(int signal) {
    (void)signal;
    isOver = 1;
}

static void fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, srt_getlasterror_str());
    exit(1);
}

// Writes one packet. The first one of a tick begins a picture (ISO 13818-1 §2.4.3).
static void writePacket(uint8_t *packet, bool isFirst, uint64_t tick, uint64_t clock) {
    memset(packet, 0xA5, kPacket);
    packet[0] = 0x47;
    packet[1] = (uint8_t)((isFirst ? 0x40 : 0) | kPID >> 8);
    packet[2] = kPID & 0xFF;
    packet[3] = (uint8_t)((isFirst ? 0x30 : 0x10) | state.counter);
    state.counter = (state.counter + 1) & 0x0F;
    if (!isFirst) return;
    packet[4] = 1;  // adaptation field: random_access_indicator or nothing
    packet[5] = tick % kTicksPerKeyframe == 0 ? 0x40 : 0;
    uint8_t *unit = packet + 6;
    const uint8_t header[] = {0, 0, 1, 0xE0, 0, 0, 0x80, 0x80, 5};
    memcpy(unit, header, sizeof header);
    unit[9] = (uint8_t)(0x21 | (clock >> 29 & 0x0E));
    unit[10] = (uint8_t)(clock >> 22);
    unit[11] = (uint8_t)(clock >> 14 | 1);
    unit[12] = (uint8_t)(clock >> 7);
    unit[13] = (uint8_t)(clock << 1 | 1);
}

static void acceptAll(void) {
    for (;;) {
        SRTSOCKET caller = srt_accept(state.listener, NULL, NULL);
        if (caller == SRT_INVALID_SOCK) return;
        if (state.callerCount == kMaximumCallers) {
            srt_close(caller);
            continue;
        }
        state.callers[state.callerCount++] = caller;
    }
}

// Gives every caller all messages of this tick, caller by caller.
static void sendAll(size_t messages) {
    for (size_t index = 0; index < state.callerCount; index++) {
        SRTSOCKET caller = state.callers[index];
        for (size_t message = 0; message < messages; message++) {
            const char *bytes = (const char *)state.messages + message * kMessage;
            if (srt_sendmsg2(caller, bytes, kMessage, NULL) >= 0) {
                state.sent++;
                continue;
            }
            if (srt_getlasterror(NULL) == SRT_EASYNCSND) {
                state.refused++;
                continue;
            }
            // The caller is gone. The last one takes its place and is next.
            srt_close(caller);
            state.callers[index--] = state.callers[--state.callerCount];
            break;
        }
    }
}

static void tick(long tickMillis, long bitrate) {
    state.owedBytes += (double)bitrate / 8 * (double)tickMillis / 1000;
    size_t messages = (size_t)(state.owedBytes / kMessage);
    if (messages > kMaximumMessages) messages = kMaximumMessages;
    state.owedBytes -= (double)(messages * kMessage);
    uint64_t clock = state.tick * (uint64_t)tickMillis * 90;
    for (size_t packet = 0; packet < messages * 7; packet++) {
        writePacket(state.messages + packet * kPacket, packet == 0, state.tick, clock);
    }
    state.tick++;
    sendAll(messages);
}

static void set(SRT_SOCKOPT option, const void *value, int length) {
    if (srt_setsockflag(state.listener, option, value, length) == SRT_ERROR) fail("srt_setsockflag");
}

static void setNumber(SRT_SOCKOPT option, int value) { set(option, &value, sizeof value); }

static void listenOn(long port, const char *passphrase, long latency) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    state.listener = srt_create_socket();
    if (state.listener == SRT_INVALID_SOCK) fail("srt_create_socket");
    bool no = false;
    set(SRTO_SNDSYN, &no, sizeof no);
    set(SRTO_RCVSYN, &no, sizeof no);
    setNumber(SRTO_LATENCY, (int)latency);
    setNumber(SRTO_SNDBUF, 12 << 20);
    setNumber(SRTO_RCVBUF, 12 << 20);
    setNumber(SRTO_UDP_SNDBUF, 1 << 20);
    setNumber(SRTO_UDP_RCVBUF, 8 << 20);
    setNumber(SRTO_PAYLOADSIZE, kMessage);
    if (passphrase) {
        setNumber(SRTO_PBKEYLEN, 16);
        set(SRTO_PASSPHRASE, passphrase, (int)strlen(passphrase));
    }
    if (srt_bind(state.listener, (struct sockaddr *)&address, sizeof address) == SRT_ERROR) fail("srt_bind");
    if (srt_listen(state.listener, 1024) == SRT_ERROR) fail("srt_listen");
}

static int64_t monotonicNanos(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void run(long tickMillis, long bitrate) {
    int64_t interval = tickMillis * 1000000;
    int64_t due = monotonicNanos() + interval;
    while (!isOver) {
        struct timespec until = {.tv_sec = due / 1000000000, .tv_nsec = due % 1000000000};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
        acceptAll();
        tick(tickMillis, bitrate);
        due += interval;
        if (monotonicNanos() > due) state.lateTicks++;
    }
    fprintf(stderr, "sent %llu messages, refused %llu, late ticks %llu\n", (unsigned long long)state.sent,
            (unsigned long long)state.refused, (unsigned long long)state.lateTicks);
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
    static const struct option options[] = {
        {"port", required_argument, NULL, 'p'},       {"tick-ms", required_argument, NULL, 't'},
        {"bitrate", required_argument, NULL, 'b'},    {"latency", required_argument, NULL, 'l'},
        {"passphrase", required_argument, NULL, 'k'}, {NULL, 0, NULL, 0}};
    long port = 9000, tickMillis = 40, bitrate = 2000000, latency = 120;
    const char *passphrase = NULL;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 'p': port = number(optarg, "port", 1, 65535); break;
        case 't': tickMillis = number(optarg, "tick-ms", 1, 1000); break;
        case 'b': bitrate = number(optarg, "bitrate", 10000, 100000000); break;
        case 'l': latency = number(optarg, "latency", 0, 60000); break;
        case 'k': passphrase = optarg; break;
        default:
            fprintf(stderr, "usage: weir-bench-srt-floor [--port N] [--tick-ms N] [--bitrate BITS_PER_SECOND] "
                            "[--latency MILLISECONDS] [--passphrase TEXT]\n");
            return 64;
        }
    }
    struct sigaction action = {.sa_handler = stop};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    if (srt_startup() == SRT_ERROR) fail("srt_startup");
    srt_setloglevel(LOG_CRIT);
    state.messages = malloc((size_t)kMaximumMessages * kMessage);
    if (!state.messages) fail("malloc");
    listenOn(port, passphrase, latency);
    run(tickMillis, bitrate);
    // The library's threads end with the process.
    _Exit(0);
}
