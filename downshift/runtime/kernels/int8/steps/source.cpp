#include "source.hpp"

#include <algorithm>

namespace downshift::int8 {

const char* Source::rows(const char* home, std::uint64_t run, int first, int last, Scratch& scratch) const {
    if (expansion_.direct()) return home;
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
    ExpandTask task;
    task.from = home + std::size_t(expansion_.home_row(row)) * map_.row_bytes();
    task.to = to;
    task.from_group = std::ptrdiff_t(map_.group_bytes());
    task.groups = map_.groups();
    task.width = map_.block_width() / expansion_.step();
    task.step = expansion_.step();
    task.left = expansion_.left();
    task.right = columns - task.left - task.width;
    task.down = expansion_.down(row);
    task.outside = outside_;
    isa_.expand(task);
}

}  // namespace downshift::int8
