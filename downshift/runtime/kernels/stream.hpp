// The nonzeros of one convolution, packed in the order in which a kernel reads them.
//
//   part    output channels that one thread works through; parts are balanced by nonzeros
//   block   source planes that fit the L1 cache together
//   section one block, with all kernel columns or one of them
//   unit    R output channels of a section, which share the positions of their nonzeros
//   column  nonzeros of a unit whose results move sideways alike
//
// A nonzero is R floats and a 16-bit offset from the section's base, or, where the kernel can and every step from one
// nonzero of a column to the next fits, a step of 8 bits: R = 1 costs 6 or 5 bytes. A unit costs 2 bytes and 2 for
// every column.
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

// How a convolution is cut up; found by measuring.
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

// The nonzeros of a convolution by units of `rows` output channels, in the order of their source planes: what stays
// the same however it is tiled.
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
