#include "cache.hpp"

#include <unistd.h>

namespace downshift {

std::size_t l1_data_bytes() {
#if defined(_SC_LEVEL1_DCACHE_SIZE)
    const long bytes = sysconf(_SC_LEVEL1_DCACHE_SIZE);
    if (bytes > 0) return std::size_t(bytes);
#endif
    return 32 * 1024;
}

std::size_t l1_pixel_bytes() { return l1_data_bytes() / 4 * 3; }

}  // namespace downshift
