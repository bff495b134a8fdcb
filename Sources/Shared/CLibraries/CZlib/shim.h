#pragma once
#include <zlib.h>

// A macro in zlib.h, which the importer does not see.
static inline int weir_deflateInit2(z_streamp stream, int level, int windowBits, int memoryLevel) {
    return deflateInit2(stream, level, Z_DEFLATED, windowBits, memoryLevel, Z_DEFAULT_STRATEGY);
}
