// Receives many datagrams with one call, joined ones as one (UDP_GRO). The C library declares recvmmsg only for GNU
// sources, which Swift's module of it is not.
#ifndef WEIR_CDATAGRAMS_SHIM_H
#define WEIR_CDATAGRAMS_SHIM_H

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { cdatagramsCapacity = 16, cdatagramsRoom = 1 << 16 };

/// What one receive found: `length` bytes, which are datagrams of `segment` bytes each but for the last, and when the
/// kernel had them in nanoseconds of the wall clock (0 if it does not say).
struct cdatagram {
    uint32_t length;
    uint32_t segment;
    int64_t nanos;
};

/// Lets the kernel say when datagrams came, and with `joins` hand over datagrams of one size as one. Returns 0, or -1.
static inline int cdatagramsPrepare(int descriptor, int joins, int receiveBytes) {
    int one = 1;
    if (setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &receiveBytes, sizeof receiveBytes) != 0) return -1;
    if (setsockopt(descriptor, SOL_SOCKET, 35 /* SO_TIMESTAMPNS */, &one, sizeof one) != 0) return -1;
    if (!joins) return 0;
    return setsockopt(descriptor, 17 /* SOL_UDP */, 104 /* UDP_GRO */, &one, sizeof one);
}

/// Reads what is there, at most `cdatagramsCapacity` messages; message n goes to `room` + n * `cdatagramsRoom`. Returns
/// how many there were; the negated error number if there is none.
static inline int cdatagramsReceive(int descriptor, void *room, struct cdatagram *found) {
    struct message {
        struct msghdr header;
        unsigned int length;
    } messages[cdatagramsCapacity];
    struct iovec parts[cdatagramsCapacity];
    union {
        char bytes[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct timespec))];
        struct cmsghdr align;
    } controls[cdatagramsCapacity];
    memset(messages, 0, sizeof messages);
    for (int i = 0; i < cdatagramsCapacity; i++) {
        parts[i].iov_base = (char *)room + (size_t)i * cdatagramsRoom;
        parts[i].iov_len = cdatagramsRoom;
        messages[i].header.msg_iov = &parts[i];
        messages[i].header.msg_iovlen = 1;
        messages[i].header.msg_control = controls[i].bytes;
        messages[i].header.msg_controllen = sizeof controls[i].bytes;
    }
    long count = syscall(SYS_recvmmsg, descriptor, messages, (unsigned int)cdatagramsCapacity, MSG_DONTWAIT, NULL);
    if (count < 0) return -errno;
    for (long i = 0; i < count; i++) {
        struct msghdr *header = &messages[i].header;
        found[i].length = messages[i].length;
        found[i].segment = messages[i].length;
        found[i].nanos = 0;
        for (struct cmsghdr *entry = CMSG_FIRSTHDR(header); entry != NULL; entry = CMSG_NXTHDR(header, entry)) {
            if (entry->cmsg_level == 17 && entry->cmsg_type == 104) {
                int segment;
                memcpy(&segment, CMSG_DATA(entry), sizeof segment);
                if (segment > 0) found[i].segment = (uint32_t)segment;
            } else if (entry->cmsg_level == SOL_SOCKET && entry->cmsg_type == 35) {
                struct timespec time;
                memcpy(&time, CMSG_DATA(entry), sizeof time);
                found[i].nanos = (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
            }
        }
    }
    return (int)count;
}

#endif
