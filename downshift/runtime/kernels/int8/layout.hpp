// Where the pixels of a map lie.
//
// A map is cut into 4 x 4 equal blocks of bh x bw pixels, bh = ceil(height / 4). Lane 4 a + b of a vector belongs to block
// (a, b), and vector (y, x) holds pixel (y, x) of every block, 4 neighbouring channels of it. A kernel tap is then another
// whole vector, also for strides: every load is aligned and nothing is moved between lanes. Lanes whose pixel lies outside
// the map hold the zero point. The price is a halo. A program of one thread has room for a halo of one vector around a map
// (`margin`) unless one of its operations goes through whole rows at once, as additions and concatenations do; several threads
// each make a copy with halo for themselves (`Expansion`), because cache lines that another core has read are slow to write.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "isa.hpp"

namespace downshift::int8 {

constexpr int side = 4;  // blocks of a map in each direction
static_assert(side * side == lanes);
constexpr std::size_t offset_unit = 8;  // bytes; the offsets of a convolution are 16 bits in this unit

struct Map {
    int channels = 0, height = 0, width = 0;
    int margin = 0;  // vectors around every group's rows and columns, not part of the map

    int groups() const { return (channels + 3) / 4; }
    int block_height() const { return (height + side - 1) / side; }
    int block_width() const { return (width + side - 1) / side; }
    // From one group of a row to the next, and from one row to the next.
    std::size_t group_bytes() const { return std::size_t(block_width() + 2 * margin) * vector_bytes; }
    std::size_t row_bytes() const { return std::size_t(groups()) * group_bytes(); }
    // Before vector (0, 0), and from it to the end.
    std::size_t margin_bytes() const { return std::size_t(margin) * (row_bytes() + vector_bytes); }
    std::size_t bytes() const { return std::size_t(block_height() + margin) * row_bytes(); }
    // Bytes from vector (0, 0) to a pixel, and from a pixel to a channel of it.
    std::size_t pixel(int row, int column) const {
        return std::size_t(row % block_height()) * row_bytes() + std::size_t(column % block_width()) * vector_bytes +
               std::size_t(row / block_height() * side + column / block_width()) * 4;
    }
    std::size_t channel(int number) const { return std::size_t(number / 4) * group_bytes() + std::size_t(number % 4); }
    bool ragged() const { return height % side != 0 || width % side != 0; }

    // Lanes of vector (y, x) whose pixel lies inside the map.
    std::uint16_t valid(int y, int x) const {
        std::uint16_t mask = 0;
        for (int lane = 0; lane < lanes; ++lane)
            if (lane / side * block_height() + y < height && lane % side * block_width() + x < width)
                mask = std::uint16_t(mask | 1u << lane);
        return mask;
    }
};

// A window that slides over a map.
struct Window {
    int height, width, stride, top, left, bottom, right;
};

// The geometry of a map with the halo that a window needs, in blocks that correspond to those of what the window writes. A
// window of one pixel skips what its stride skips. Where lanes outside the map hold another value than the halo must
// (`foreign`), they are never taken for halo. Sizes are 64 bits: a window is checked by them before anything is allocated.
class Expansion {
public:
    Expansion(const Map& map, const Map& output, const Window& window, bool foreign = false);

    // Whether it lies in the map itself, and whether it then needs no halo.
    bool resident() const { return resident_; }
    bool bare() const { return bare_; }
    // Bytes from its first vector to the map's in a resident one.
    std::size_t origin() const { return std::size_t(window_.top) * row_bytes() + std::size_t(window_.left) * vector_bytes; }
    // In vectors, from what one output vector needs to what the next one does.
    int stride() const { return window_.stride / step_; }
    std::int64_t rows() const { return rows_; }
    std::size_t row_bytes() const { return std::size_t(groups_) * std::size_t(columns_) * vector_bytes; }
    std::size_t bytes() const { return std::size_t(rows_) * row_bytes(); }
    // Bytes from the vector an output vector begins at to what a tap of an input channel group reads.
    std::size_t offset(int group, int tap_y, int tap_x) const {
        return std::size_t(tap_y) * row_bytes() + (std::size_t(group) * std::size_t(columns_) + std::size_t(tap_x)) * vector_bytes;
    }
    // Whether a convolution's offsets reach every tap of every channel.
    bool fits_offsets() const {
        return offset(groups_ - 1, window_.height - 1, window_.width - 1) / offset_unit <= UINT16_MAX;
    }
    bool aligned() const { return aligned_; }
    // Row `row` when aligned: the home row it comes from and by how many blocks it has to move down.
    int home_row(int row) const;
    int down(int row) const;
    int left() const { return window_.left; }
    std::int64_t columns() const { return columns_; }
    // Otherwise, row by row: for every column and lane, the byte in group 0 of the map's memory, or -1 for halo.
    std::vector<std::int32_t> gather_table(const Map& map) const;

private:
    Window window_;
    int groups_, block_height_, step_;
    std::int64_t inner_height_, inner_width_;  // of a block, without halo
    std::int64_t rows_, columns_;
    bool aligned_, resident_, bare_;
};

}  // namespace downshift::int8
