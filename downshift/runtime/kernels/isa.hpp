// The interface between packing and kernels: plain data outside, vectors of one instruction set inside.
//
// Each instruction set is one translation unit with its own compiler flags. ODR trap: no inline functions here, and no
// standard library templates in kernel code, as the linker keeps one copy of each, perhaps the one compiled for an
// instruction set this machine lacks.
#pragma once
#include <cstddef>
#include <cstdint>

#include "activation.hpp"

namespace downshift {

// Implementation of the horizontal shift of a result, by how rows lie in vectors.
enum class Columns : std::uint8_t {
    none,    // never moved: 1x1 kernels, expanded sources
    pitch4,  // rows of 4 floats, several in a vector
    pitch8,  // rows of 8 floats, several in a vector
    row1,    // a row is one vector
    row2,    // a row is two vectors
    row4,    // a row is four vectors
    rows,    // a row is any number of vectors
};

// A run of units of one block of source planes: all its columns, or one of them.
struct Section {
    std::uint32_t base;          // vectors from the source to where the offsets count from
    std::uint32_t units;
    std::uint16_t first_column;  // kernel columns [first_column, end_column)
    std::uint16_t end_column;
    bool opens;                  // its units start from bias (and residual), not from the partial sums
    bool closes;                 // its units write the result, not partial sums
};

// One tile of output vectors times one part of the output channels; streams are consumed in order.
struct ConvTask {
    // stream
    const Section* sections;
    int section_count;
    const std::uint16_t* channels;  // first output channel of every unit
    const std::uint16_t* counts;    // nonzeros of every unit and column
    const float* weights;           // R floats for every nonzero: output channels channel .. channel + R - 1
    const std::uint16_t* offsets;   // of every nonzero, in units of 8 bytes from the section's base, or
    const std::uint8_t* steps;      // vectors from the nonzero before, or from the section's base
    const std::int8_t* shifts;      // columns to the right at which each kernel column reads
    const float* bias;              // one for every output channel, padded to a multiple of R
    int output_channels;
    // tile
    const float* source;            // source plane 0, moved on by the tile's first output vector
    float* output;                  // row 0 of copy 0 of output plane 0, moved on likewise
    const float* residual;          // home of residual plane 0, moved on likewise, or null
    float* partial;                 // scratch, output channel major
    const std::uint16_t* masks;     // of the tile's vectors
    int vectors;                    // valid output vectors of the tile
    std::size_t output_plane;       // floats
    std::size_t residual_plane;     // floats
    std::ptrdiff_t copy_step;       // floats
    int copies;
    int per_row;
    Activation activation;
};

using ConvKernel = void (*)(const ConvTask&);

struct ConvEntry {
    int vectors;  // V: output vectors of a tile
    Columns columns;
    int rows;     // R: output channels that share a nonzero's position
    ConvKernel run;       // reads offsets
    ConvKernel run_steps; // reads steps, or null
};

// activation(input * scale * factor + shift + addend) for every vector of one plane.
struct CombineTask {
    const float* input;   // home of the plane
    const float* addend;  // home of the plane, or null
    float* output;        // row 0 of copy 0
    const std::uint16_t* masks;
    float scale;
    float shift;
    int vectors;
    std::ptrdiff_t copy_step;
    int copies;
    Activation activation;
};

// row[o] = activation(bias[o] + sum of weights[o][i] * input[i]), dense or by compressed rows.
struct LinearTask {
    const float* input;
    const float* weights;
    const std::uint16_t* indices;       // null: dense
    const std::uint32_t* starts;        // of every compressed row, and the end
    const float* bias;
    float* output;
    int inputs;
    int first;
    int end;
    Activation activation;
};

// Rows of one plane taken from another plane: destination (y, x) is source (y * stride + top, x * stride + left)
// where that is a pixel, zero elsewhere.
struct PlaceTask {
    const float* source;  // pixel (0, 0)
    int source_height, source_width, source_pitch;
    int stride_y, stride_x, top, left;
    float* output;        // row 0 of copy 0
    int height, width, pitch;
    std::ptrdiff_t copy_step;
    int copies;
    float* row;           // scratch, one row
};

// Every second row and column of one plane, even and odd columns at once: even[y][x] = source[2y][2x], odd[y][x] =
// source[2y][2x + 1], zero where that is no pixel. Reads up to two vectors past a row.
struct HalveTask {
    const float* source;  // pixel (row of the first remainder, 0)
    int source_rows;      // rows from there to the end of the map
    int source_width, source_pitch;
    float* even;          // row 0 of copy 0, or null
    float* odd;
    int height, pitch;
    std::ptrdiff_t copy_step;
    int copies;
};

// Maximum or mean over windows of one plane.
struct PoolTask {
    const float* source;  // pixel (0, 0)
    int source_height, source_width, source_pitch;
    int kernel_y, kernel_x, stride_y, stride_x, top, left;
    bool maximum;
    bool count_padding;
    float* output;        // row 0 of copy 0
    int height, width, pitch;
    std::ptrdiff_t copy_step;
    int copies;
    float* row;           // scratch, one padded source row and one output row
};

struct Isa {
    const char* name;
    int lanes;
    const ConvEntry* convs;
    int conv_count;
    void (*combine)(const CombineTask&);
    void (*linear)(const LinearTask&);
    void (*place)(const PlaceTask&);
    void (*halve)(const HalveTask&);
    void (*pool)(const PoolTask&);
    float (*sum)(const float* vectors, int count);
};

#if defined(__x86_64__)
extern const Isa avx512_isa;
extern const Isa avx2_isa;
#endif
extern const Isa portable_isa;

}  // namespace downshift
