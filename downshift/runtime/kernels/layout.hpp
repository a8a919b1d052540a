// Where a tensor's values lie in memory, for vectors of `lanes` floats.
//
// Every channel is one plane of whole, 64-byte aligned vectors; the planes of a tensor follow each other.
//
//   pitch    floats from one row to the next. Wide maps (width > lanes / 2): the width rounded up to whole vectors.
//            Narrow maps: the power of two >= width, at least 4; a vector then holds `rows` = lanes / pitch rows.
//   vectors  output vectors of a map, in row order; lanes that are no pixel are zero.
//   halo     rows of zeros above and below the map, so that a kernel's vertical reach needs no bounds check.
//   copies   a narrow map is stored min(rows, 2 * halo + 1) times, copy j starting j rows later, so that a shift
//            by any number of rows is still an aligned load. A guard vector stands between two copies.
//   plane    vectors of a channel, odd, so that the planes of a tensor spread over all sets of the L1 cache.
//
// The vector `dy` rows below output vector v is number v + row_shift(dy) of its plane, |dy| <= halo.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace downshift {

struct Shape {
    int channels = 0;
    int height = 0;
    int width = 0;
    bool operator==(const Shape&) const = default;
};

struct Layout {
    Shape shape;
    int lanes = 0;
    int halo = 0;
    int pitch = 0;
    int rows = 1;          // rows of a vector; 1 for wide maps
    int per_row = 1;       // vectors of a row; 1 for narrow maps
    int vectors = 0;
    int copies = 1;
    int copy_vectors = 0;  // vectors of one copy
    int plane = 0;

    static Layout of(Shape shape, int halo, int lanes);

    int row_shift(int dy) const;
    // Output vector 0, in vectors from the start of a plane.
    int home() const { return row_shift(0); }
    // Row 0 of copy 0, in floats from the start of a plane; row 0 of copy j stands j * copy_step() further.
    std::ptrdiff_t first_row() const { return std::ptrdiff_t(halo) * pitch; }
    std::ptrdiff_t copy_step() const { return std::ptrdiff_t(copy_vectors + 1) * lanes - pitch; }
    std::size_t floats() const { return plane_floats() * std::size_t(shape.channels); }
    std::size_t plane_floats() const { return std::size_t(plane) * std::size_t(lanes); }
    // Whether the zeros of both lie in the same places, so that the tensors can follow each other in a buffer.
    bool same_map(const Layout& other) const;
    // Bit l of entry v: lane l of output vector v is a pixel.
    std::vector<std::uint16_t> lane_masks() const;
};

}  // namespace downshift
