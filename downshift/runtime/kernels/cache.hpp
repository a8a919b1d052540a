// The machine's caches.
#pragma once
#include <cstddef>

namespace downshift {

// Bytes of a core's L1 data cache; 32 KiB where the machine does not say.
std::size_t l1_data_bytes();

// The part of it that is for pixels; a quarter is left for the weights' stream, partial sums and outputs.
std::size_t l1_pixel_bytes();

}  // namespace downshift
