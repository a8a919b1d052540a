// The blocks of one convolution's weights that are not zero.
#pragma once
#include <cstdint>
#include <vector>

#include "../network.hpp"

namespace downshift::int8 {

// A unit is the `rows` output channels that share their positions. A position is a kernel tap of a group of four input
// channels; it holds one word for each channel of the unit: four weights, a byte each.
struct Positions {
    struct Place {
        int group, tap;
    };

    int rows = 1;
    std::vector<std::size_t> begin;   // of every unit among `places`, and the end; ascending groups in a unit
    std::vector<Place> places;
    std::vector<std::int32_t> words;  // `rows` for every place
};

// Four output channels share positions where the loads that saves outweigh the zeros it adds. `narrow`: a position whose
// products might exceed 16 bits in a pair, 255 * (|w0| + |w1|) or 255 * (|w2| + |w3|), becomes two with halves of its weights.
// So no sum of products saturates, and every instruction set gives the same result.
Positions find_positions(const Conv& conv, const Map& input, const Map& output, bool narrow);

}  // namespace downshift::int8
