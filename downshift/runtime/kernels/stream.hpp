// The sparse weight format: nonzeros of one convolution in the order in which a kernel streams through them.
//
//   part    output channels of one thread; parts are load-balanced by nonzeros
//   block   cache blocking: source planes that fit the L1 cache together
//   section one block, with all kernel columns or one of them
//   unit    row blocking: R output channels of a section that share the positions of their nonzeros
//   column  nonzeros of a unit with the same horizontal shift
//
// A nonzero is R floats and a 16-bit offset from the section's base. Delta encoding where the kernel supports it and
// every distance between neighbouring nonzeros of a column fits: an 8-bit step instead. R = 1 costs 6 or 5 bytes. A unit
// costs 2 bytes, and 2 for every column.
#pragma once
#include <cstdint>
#include <vector>

#include "aligned.hpp"
#include "isa.hpp"
#include "network.hpp"

namespace downshift {

// Where the taps of a convolution find their pixels. Input channel c owns planes [c * phases, (c + 1) * phases).
struct SourceMap {
    struct Tap {
        int phase;   // plane of the input channel
        int shift;   // vectors from the plane's start, for output vector 0
        int column;  // index into `shifts`
    };
    int phases = 1;
    int plane = 0;                     // vectors
    std::vector<Tap> taps;             // [kernel_y * kernel_x]
    std::vector<std::int8_t> shifts;   // columns to the right at which kernel columns read
};

// The tiling of a convolution; found by autotuning.
struct Tiling {
    int vectors = 1;     // V: output vectors of a tile
    int rows = 1;        // R: output channels that share positions
    int block = 1 << 20; // source planes of a block
    bool split = false;  // one section for every kernel column: units can be sorted by length
    int parts = 1;
    bool operator==(const Tiling&) const = default;
};

struct Stream {
    struct Part {
        std::uint32_t section, section_end;
        std::size_t unit, count, nonzero;  // first of each
    };
    std::vector<Part> parts;
    std::vector<Section> sections;
    std::vector<std::uint16_t> channels;
    std::vector<std::uint16_t> counts;
    Aligned<float> weights;
    Aligned<std::uint16_t> offsets;  // empty when there are steps
    Aligned<std::uint8_t> steps;
    Aligned<float> bias;
    std::vector<std::int8_t> shifts;
    std::size_t nonzeros = 0;  // stored positions

    std::size_t bytes() const;
};

// The nonzeros of a convolution by units of `rows` output channels, sorted by source plane: the part of packing that
// does not depend on the tiling.
struct Nonzeros {
    struct Position {
        int plane;
        std::uint32_t weight;  // within the weights of one output channel
        std::uint16_t shift;   // vectors from the plane's start
        std::uint16_t column;
    };
    const Conv* conv;
    int input_channels;
    int rows;
    SourceMap source;
    std::vector<Position> positions;
    std::vector<std::size_t> starts;  // of every unit, and the end

    Nonzeros(const Conv& conv, int input_channels, SourceMap source, int rows);
    // Share of the stored weights that are zeros, in [0, 1).
    double wasted() const;
};

// The convolution of `nonzeros` must still exist; tiling.rows is its `rows`. may_step: the kernel can read steps.
Stream pack(const Nonzeros& nonzeros, const Tiling& tiling, int lanes, bool may_step);

}  // namespace downshift
