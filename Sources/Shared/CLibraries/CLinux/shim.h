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
