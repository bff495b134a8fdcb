#pragma once
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

// Calls that the C library declares only for GNU sources, which Swift's module of it is not.

// An anonymous file in memory, closed on exec; -1 with errno set.
static inline int weir_memory_file(const char *name) {
    return (int)syscall(SYS_memfd_create, name, 1U /* MFD_CLOEXEC */);
}

// Starts to read a part of a file into the page cache. A hint: failure means nothing.
static inline void weir_read_ahead(int descriptor, int64_t offset, size_t count) {
    (void)syscall(SYS_readahead, descriptor, (off_t)offset, count);
}

// Datagrams. The C library declares sendmmsg and the options of UDP only for GNU sources.

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

// One send: bytes for one peer. `segment` > 0 lets the kernel cut them into datagrams of that many bytes, the last one
// shorter (UDP_SEGMENT). `source_length` > 0 names the local address that they leave from: an in_pktinfo (IPv4) or an
// in6_pktinfo.
struct weir_datagram {
    const void *bytes;
    size_t length;
    const void *peer;
    const void *source;
    uint32_t peer_length;
    uint16_t source_length;
    uint16_t segment;
};

#define WEIR_MAXIMUM_DATAGRAMS 64

// Sends up to WEIR_MAXIMUM_DATAGRAMS of them with one call. Returns how many the kernel took from the front; if it took
// none, the negated error number of the first.
static inline int weir_send_datagrams(int descriptor, const struct weir_datagram *datagrams, int count) {
    struct weir_message {
        struct msghdr header;
        unsigned int length;
    } messages[WEIR_MAXIMUM_DATAGRAMS];
    struct iovec parts[WEIR_MAXIMUM_DATAGRAMS];
    union {
        char bytes[CMSG_SPACE(sizeof(uint16_t)) + CMSG_SPACE(20)];
        struct cmsghdr align;
    } controls[WEIR_MAXIMUM_DATAGRAMS];
    if (count > WEIR_MAXIMUM_DATAGRAMS) count = WEIR_MAXIMUM_DATAGRAMS;
    for (int i = 0; i < count; i++) {
        const struct weir_datagram *datagram = &datagrams[i];
        struct msghdr *header = &messages[i].header;
        parts[i].iov_base = (void *)datagram->bytes;
        parts[i].iov_len = datagram->length;
        memset(header, 0, sizeof *header);
        header->msg_name = (void *)datagram->peer;
        header->msg_namelen = datagram->peer_length;
        header->msg_iov = &parts[i];
        header->msg_iovlen = 1;
        size_t used = 0;
        char *control = controls[i].bytes;
        if (datagram->segment > 0) {
            struct cmsghdr *entry = (struct cmsghdr *)(control + used);
            entry->cmsg_level = 17; /* IPPROTO_UDP */
            entry->cmsg_type = 103; /* UDP_SEGMENT */
            entry->cmsg_len = CMSG_LEN(sizeof(uint16_t));
            memcpy(CMSG_DATA(entry), &datagram->segment, sizeof(uint16_t));
            used += CMSG_SPACE(sizeof(uint16_t));
        }
        if (datagram->source_length > 0 && datagram->source_length <= 20) {
            struct cmsghdr *entry = (struct cmsghdr *)(control + used);
            int isV6 = datagram->source_length == 20;
            entry->cmsg_level = isV6 ? 41 /* IPPROTO_IPV6 */ : 0 /* IPPROTO_IP */;
            entry->cmsg_type = isV6 ? 50 /* IPV6_PKTINFO */ : 8 /* IP_PKTINFO */;
            entry->cmsg_len = CMSG_LEN(datagram->source_length);
            memcpy(CMSG_DATA(entry), datagram->source, datagram->source_length);
            used += CMSG_SPACE(datagram->source_length);
        }
        if (used > 0) {
            header->msg_control = control;
            header->msg_controllen = used;
        }
    }
    for (;;) {
        long sent = syscall(SYS_sendmmsg, descriptor, messages, (unsigned int)count, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent > 0) return (int)sent;
        if (sent < 0 && errno == EINTR) continue;
        return sent < 0 ? -errno : -EAGAIN;
    }
}
