// Swift's Glibc module leaves epoll out, and `epoll_event` holds a pointer. These two calls take plain numbers.
#ifndef WEIR_CEPOLL_SHIM_H
#define WEIR_CEPOLL_SHIM_H

#include <stdint.h>
#include <sys/epoll.h>

enum { cepollCapacity = 512 };

/// `epoll_ctl` for a descriptor that is known by `token`.
static inline int cepollControl(int epoll, int operation, int descriptor, uint32_t events, uint32_t token) {
    struct epoll_event event = {.events = events, .data = {.u32 = token}};
    return epoll_ctl(epoll, operation, descriptor, &event);
}

/// `epoll_wait` for at most `cepollCapacity` events: each is the event mask in the upper half and the token in the
/// lower half of a number. Returns how many there are, or -1.
static inline int cepollWait(int epoll, uint64_t *ready, int timeoutMillis) {
    struct epoll_event events[cepollCapacity];
    int count = epoll_wait(epoll, events, cepollCapacity, timeoutMillis);
    for (int index = 0; index < count; index++) {
        ready[index] = (uint64_t)events[index].events << 32 | events[index].data.u32;
    }
    return count;
}

#endif
