// The blocks of one convolution that are not zero, in reading order.
#pragma once
#include <cstdint>
#include <vector>

#include "../network.hpp"

namespace downshift::int8 {

struct PackedWeights {
    int rows = 1;                         // output channels that share their positions: 1 or 4
    std::vector<std::uint32_t> counts;    // positions of every output channel, or of every four
    std::vector<std::uint16_t> offsets;   // of every position, into the expanded input in units of 8 bytes
    std::vector<std::int32_t> weights;    // `rows` for every position, four input channels in each
    std::vector<std::size_t> begin;       // the first position of every group of four output channels, and the end

    std::size_t bytes() const { return (counts.size() + weights.size()) * 4 + offsets.size() * 2; }
};

// Whether 16 bits hold every offset.
bool fits_offsets(const Expansion& expansion, const Map& input, const Window& window);

// Output channels share positions where the loads that saves outweigh the zeros it adds.
PackedWeights pack(const Conv& conv, const Map& input, const Map& output, const Expansion& expansion);

}  // namespace downshift::int8
