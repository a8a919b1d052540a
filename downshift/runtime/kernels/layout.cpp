#include "layout.hpp"

#include <algorithm>

namespace downshift {

namespace {

int round_up(int value, int unit) { return (value + unit - 1) / unit * unit; }

int power_of_two_from(int least, int value) {
    int power = least;
    while (power < value) power *= 2;
    return power;
}

}  // namespace

Layout Layout::of(Shape shape, int halo, int lanes) {
    Layout layout;
    layout.shape = shape;
    layout.lanes = lanes;
    layout.halo = halo;
    const int narrow = power_of_two_from(4, shape.width);
    if (narrow < lanes) {
        layout.pitch = narrow;
        layout.rows = lanes / narrow;
        layout.vectors = (shape.height + layout.rows - 1) / layout.rows;
        layout.copies = std::min(layout.rows, 2 * halo + 1);
        layout.copy_vectors = layout.vectors + 2 * halo / layout.rows;
        layout.plane = layout.copies * (layout.copy_vectors + 1) - 1;
    } else {
        layout.pitch = round_up(shape.width, lanes);
        layout.per_row = layout.pitch / lanes;
        layout.vectors = shape.height * layout.per_row;
        layout.copy_vectors = (shape.height + 2 * halo) * layout.per_row;
        layout.plane = layout.copy_vectors;
    }
    layout.plane |= 1;
    return layout;
}

int Layout::row_shift(int dy) const {
    const int row = dy + halo;
    if (rows == 1) return row * per_row;
    return row % rows * (copy_vectors + 1) + row / rows;
}

bool Layout::same_map(const Layout& other) const {
    return lanes == other.lanes && halo == other.halo && shape.height == other.shape.height &&
           shape.width == other.shape.width;
}

std::vector<std::uint16_t> Layout::lane_masks() const {
    std::vector<std::uint16_t> masks(std::size_t(vectors), 0);
    for (int y = 0; y < shape.height; ++y)
        for (int x = 0; x < shape.width; ++x) {
            const int at = y * pitch + x;
            masks[std::size_t(at / lanes)] |= std::uint16_t(1u << (at % lanes));
        }
    return masks;
}

}  // namespace downshift
