// The weights of one convolution in the order in which its kernels read them.
#pragma once
#include <vector>

#include "positions.hpp"

namespace downshift::int8 {

// Groups of output channels that are computed together, and where their streams begin for every block of input channels.
struct Part {
    struct Start {
        std::size_t unit, position;  // among `counts`, among `offsets`
    };

    int first, last;
    std::vector<Start> starts;  // by block
};

struct PackedWeights {
    std::vector<Part> parts;
    std::vector<std::uint32_t> counts;   // positions of every unit in a block
    std::vector<std::uint16_t> offsets;  // of every position, into the expanded input in units of 8 bytes
    std::vector<std::int32_t> weights;

    std::size_t bytes() const { return (counts.size() + weights.size()) * 4 + offsets.size() * 2; }
};

// At most `parts` parts of about equal work, each in `blocks` blocks of about equally many input channels. Throws
// std::logic_error unless 16 bits hold every offset of the expansion.
PackedWeights pack(const Positions& positions, const Expansion& expansion, const Map& input, const Window& window, int parts,
                   int blocks);

}  // namespace downshift::int8
