#include "source.hpp"

#include <algorithm>

namespace downshift::int8 {

const char* Source::rows(char* home, std::uint64_t run, int first, int last, Scratch& scratch) const {
    if (expansion_.bare()) return home;
    if (scratch.owner != this || scratch.run != run) {
        scratch.owner = this;
        scratch.run = run;
        std::fill(scratch.made.begin(), scratch.made.end(), 0);
    }
    char* expanded = expansion_.resident() ? home - expansion_.origin() : scratch.rows.data();
    for (int row = first; row <= last; ++row)
        if (!scratch.made[std::size_t(row)]) {
            scratch.made[std::size_t(row)] = 1;
            make(home, row, expanded + std::size_t(row) * expansion_.row_bytes());
        }
    return expanded;
}

void Source::make(const char* home, int row, char* to) const {
    const int columns = int(expansion_.columns());
    if (!expansion_.aligned()) {
        const std::int32_t* table = table_.data() + std::size_t(row) * std::size_t(columns) * lanes;
        for (int group = 0; group < map_.groups(); ++group, to += std::size_t(columns) * vector_bytes)
            isa_.gather(home + std::size_t(group) * map_.group_bytes(), table, outside_, to, columns);
        return;
    }
    const int left = expansion_.left();
    ExpandTask task;
    task.from = home + std::size_t(expansion_.home_row(row)) * map_.row_bytes();
    task.to = to + std::size_t(left) * vector_bytes;
    task.from_group = std::ptrdiff_t(map_.group_bytes());
    task.to_group = std::ptrdiff_t(columns) * std::ptrdiff_t(vector_bytes);
    task.groups = map_.groups();
    task.width = map_.block_width();
    task.left = left;
    task.right = expansion_.resident() ? map_.margin : columns - left - task.width;
    task.down = expansion_.down(row);
    task.inside = !expansion_.resident() || task.down != 0;
    task.outside = outside_;
    isa_.expand(task);
}

}  // namespace downshift::int8
