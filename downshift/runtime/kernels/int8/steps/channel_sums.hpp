// Sums of the channels of a group over a map, for averages of whole maps.
#pragma once
#include <array>

#include "step.hpp"

namespace downshift::int8 {

// `valid`: lanes inside the map for each of its vectors.
inline std::array<std::int32_t, 4> channel_sums(const Isa& isa, const Map& map, const char* home, const std::vector<std::uint16_t>& valid,
                                                int group) {
    std::array<std::int32_t, 4> sums = {};
    for (int y = 0; y < map.block_height(); ++y)
        isa.sum(home + std::size_t(y) * map.row_bytes() + std::size_t(group) * map.group_bytes(), vector_bytes, map.block_width(),
                valid.data() + y * map.block_width(), sums.data());
    return sums;
}

}  // namespace downshift::int8
