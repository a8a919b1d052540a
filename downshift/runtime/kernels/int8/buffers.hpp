// Which buffer holds each quantised tensor.
#pragma once
#include "network.hpp"

namespace downshift::int8 {

// Tensors that do not live at the same time share a buffer.
struct Buffers {
    std::vector<int> of;             // by tensor; -1 for vectors of floats
    std::vector<std::size_t> bytes;  // by buffer, from vector (0, 0) of its maps
    std::size_t margin = 0;          // bytes that lie before it
};

Buffers assign_buffers(const Network& network);

}  // namespace downshift::int8
