// The input of a convolution over three channels as a map of its own: its channels are all taps of all three, four in a
// group, so that no byte of a product is idle. One row at a time.
#pragma once
#include "source.hpp"

namespace downshift::int8 {

class Quads {
public:
    static constexpr bool many_rows = false;

    Quads(const Isa& isa, const Map& map, int zero, const Map& output, const Window& window);

    // Whether a convolution has fewer products so, and its offsets still reach them.
    static bool suit(const Map& map, const Map& output, const Window& window);
    // The same convolution of that map.
    static Conv over_quads(const Conv& conv);

    const Map& map() const { return map_; }
    const Expansion& expansion() const { return expansion_; }
    ScratchNeed scratch() const;
    const char* row(char* home, std::uint64_t run, int first, int last, Scratch& scratch) const;

private:
    const Isa& isa_;
    Window window_;
    Source pixels_;
    Map map_;
    Expansion expansion_;
    std::vector<std::uint32_t> offsets_;  // of every tap, in the pixels
};

}  // namespace downshift::int8
