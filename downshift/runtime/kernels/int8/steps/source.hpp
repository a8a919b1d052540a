// The input of a windowed step with its halo: in the map itself, or made by each thread for itself.
#pragma once
#include "step.hpp"

namespace downshift::int8 {

class Source {
public:
    static constexpr bool many_rows = true;  // at a time

    // The halo holds `halo`, lanes outside the map `zero`.
    Source(const Isa& isa, const Map& map, int zero, int halo, const Map& output, const Window& window)
        : isa_(isa), map_(map), outside_(four_times(halo)), expansion_(map, output, window, map.ragged() && halo != zero) {
        if (!expansion_.aligned()) table_ = expansion_.gather_table(map);
    }

    const Expansion& expansion() const { return expansion_; }
    ScratchNeed scratch() const { return {expansion_.resident() ? 0 : expansion_.bytes(), int(expansion_.rows())}; }

    // The expanded map, of which rows [first, last] are there; a resident one changes what lies around the map.
    const char* rows(char* home, std::uint64_t run, int first, int last, Scratch& scratch) const;

    // Row `first` of it, and the rows to `last` behind.
    const char* row(char* home, std::uint64_t run, int first, int last, Scratch& scratch) const {
        return rows(home, run, first, last, scratch) + std::size_t(first) * expansion_.row_bytes();
    }

private:
    void make(const char* home, int row, char* to) const;

    const Isa& isa_;
    Map map_;
    std::uint32_t outside_;
    Expansion expansion_;
    std::vector<std::int32_t> table_;  // unless aligned
};

}  // namespace downshift::int8
