#include "source.hpp"

#include <algorithm>

namespace downshift::int8 {

const char* Source::rows(const char* home, std::uint64_t run, int first, int last, Scratch& scratch) const {
    if (scratch.owner != this || scratch.run != run) {
        scratch.owner = this;
        scratch.run = run;
        std::fill(scratch.made.begin(), scratch.made.end(), 0);
    }
    for (int row = first; row <= last; ++row)
        if (!scratch.made[std::size_t(row)]) {
            scratch.made[std::size_t(row)] = 1;
            make(home, row, scratch.rows.data() + std::size_t(row) * expansion_.row_bytes());
        }
    return scratch.rows.data();
}

void Source::make(const char* home, int row, char* to) const {
    const int columns = expansion_.columns();
    if (!expansion_.aligned()) {
        const std::int32_t* table = expansion_.table(row);
        for (int group = 0; group < map_.groups(); ++group, to += std::size_t(columns) * vector_bytes)
            isa_.gather(home + std::size_t(group) * map_.group_bytes(), table, outside_, to, columns);
        return;
    }
    const int width = map_.block_width(), left = expansion_.left(), right = columns - left - width;
    const int down = expansion_.down(row);
    const char* from = home + std::size_t(expansion_.home_row(row)) * map_.row_bytes();
    for (int group = 0; group < map_.groups(); ++group, from += map_.group_bytes()) {
        isa_.shift(from + std::size_t(width - left) * vector_bytes, down, 1, outside_, to, left);
        to += std::size_t(left) * vector_bytes;
        isa_.shift(from, down, 0, outside_, to, width);
        to += std::size_t(width) * vector_bytes;
        isa_.shift(from, down, -1, outside_, to, right);
        to += std::size_t(right) * vector_bytes;
    }
}

}  // namespace downshift::int8
