// The seam between packing and int8 kernels: plain data in, vectors of one instruction set inside.
//
// A vector is 64 bytes: 16 lanes of one pixel each, 4 neighbouring channels a pixel. See layout.hpp for which pixels.
// Each instruction set is one translation unit compiled with its own flags; as for the float kernels, nothing here may be
// an inline function.
#pragma once
#include <cstddef>
#include <cstdint>

namespace downshift::int8 {

constexpr int lanes = 16;
constexpr int vector_bytes = lanes * 4;

// One tile of output vectors times one part of the output channels and one block of the input channels.
struct ConvTask {
    const std::uint32_t* counts;   // positions of every output channel (rows = 1) or of every group of four (rows = 4: one block)
    const std::int32_t* weights;   // `rows` for every position: the weights of four input channels, one a byte
    const std::uint16_t* offsets;  // of every position, from `source` in units of 8 bytes: an addressing mode
    const float* scale;            // of every output channel
    const float* bias;
    const char* source;            // group 0 of the expanded input, moved to the tile's first vector
    char* output;                  // group `first` of the output, likewise
    const char* residual;          // lies like the output, or null
    float residual_scale;
    const char* sums_from;         // sums of the input channels before, a tile for every output channel, or null: zeros
    char* sums_to;                 // where sums go while input channels are missing, or null: the output is finished
    std::ptrdiff_t source_row;     // bytes from one input row of vectors to the next
    std::ptrdiff_t output_row;
    std::ptrdiff_t output_group;
    int groups;                    // of four output channels
    const std::uint16_t* valid;    // lanes inside the map for every vector of the tile, or null when all are
    std::uint32_t outside;         // what the other lanes hold: the zero point four times
};

// A row of vectors of a map, copied or kept in place, and the vectors left and right of it; everything that is written is
// moved down by `down` blocks.
struct ExpandTask {
    const char* from;                    // the row's first vector in group 0
    char* to;                            // where that vector goes
    std::ptrdiff_t from_group, to_group;  // bytes from one group to the next
    int groups, width;                   // of the row
    int left, right;                     // vectors of halo, at most `width`
    bool inside;                         // whether the row itself is written
    int down;                            // -1, 0 or 1
    std::uint32_t outside;               // what enters from outside the map
};

// Group `quad` of the result is bytes 4 quad to 4 quad + 3 of all taps' three channels, one tap after the other.
struct QuadTask {
    const char* from;              // a row of vectors that hold three channels and a byte without meaning
    char* to;                      // likewise
    const std::uint32_t* offsets;  // bytes, of every tap
    int taps, count, width;        // count: of groups; width: vectors in a row of the result
    std::ptrdiff_t step;           // bytes from what one vector of the result needs to the next
    std::ptrdiff_t to_group;
};

// A row of vectors: fma(right, right_scale, fma(left, scale, bias)), saturated to a byte.
struct CombineTask {
    const char* left;
    const char* right;           // lies like the left, or null
    char* to;                    // likewise
    int groups, width;           // vectors in each group
    const float* scale;          // of every channel
    const float* bias;
    float right_scale;
    const std::uint16_t* valid;  // lanes inside the map for every vector of a group
    std::uint32_t outside;       // what the other lanes hold
};

// A row of vectors: table[byte].
struct LookupTask {
    const char* from;
    char* to;
    int groups, width;
    const std::uint8_t* table;
    const std::uint16_t* valid;
    std::uint32_t outside;
};

struct ConvEntry {
    int rows;    // output channels that share their positions: 1 or 4
    int height;  // of a tile, in vectors
    int width;
    int stride;
    void (*run)(const ConvTask&);
};

struct Isa {
    const char* name;
    const ConvEntry* convs;
    int conv_count;
    int most_vectors[2];  // of a tile whose sums fit the registers: rows = 1, rows = 4
    bool narrow;          // pairs of products are summed in 16 bits: see `find_positions`
    // to[i] = lane table[i] of `from` (bytes), or `outside` where the table is negative; `count` vectors.
    void (*gather)(const char* from, const std::int32_t* table, std::uint32_t outside, char* to, int count);
    // A row of a map with its halo.
    void (*expand)(const ExpandTask& task);
    void (*quads)(const QuadTask& task);
    // Pixels of 1 to 4 channel planes as quantised bytes: clip(rne(x * inverse + zero)); missing channels are `zero`.
    void (*quantize)(const float* const* planes, int channels, int count, float inverse, int zero, std::uint32_t* to);
    // The largest of `taps` vectors at offsets from `source`, byte by byte.
    void (*maximum)(const char* source, const std::uint32_t* offsets, int taps, std::uint16_t valid, std::uint32_t outside,
                    char* to);
    // Sums over lanes of `count` vectors, `stride` bytes apart, only lanes in `valid[i]`, added to four sums.
    void (*sum)(const char* from, std::ptrdiff_t stride, int count, const std::uint16_t* valid, std::int32_t sums[4]);
    float (*product)(const float* a, const float* b, int count);
    void (*combine)(const CombineTask& task);
    void (*lookup)(const LookupTask& task);
    // Sums of `taps` vectors at offsets from `source`, byte by byte, times 16 shares, saturated to bytes.
    void (*average)(const char* source, const std::uint32_t* offsets, int taps, const float* inverse, std::uint16_t valid,
                    std::uint32_t outside, char* to);
};

extern const Isa portable_isa;
extern const Isa avx2_isa;     // on x86
extern const Isa avxvnni_isa;  // where the assembler knows it
extern const Isa avx512vnni_isa;  // on x86

}  // namespace downshift::int8
