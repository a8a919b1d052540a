// The convolution kernels, over the vectors of one instruction set: compiled once for each.
//
// sum = exact int32 sums of u8 * s8; result = saturate_u8(round(fma(sum, scale, bias) [fma residual])). ReLU is the
// saturation at zero point 0. Kernels of stride S move S vectors to the next pixel.
#pragma once
#include "isa.hpp"
#include "vector.hpp"

namespace downshift::int8::DOWNSHIFT_ISA {

#define UNROLL _Pragma("GCC unroll 20")

template <bool V>
struct Flag {
    static constexpr bool value = V;
};

// Output channel C of a group of four: its sums become bytes; the fourth one stores the finished vectors.
template <int H, int W, int C>
inline ALWAYS void finish(const ConvTask& task, int group, const Sums (&sums)[H * W], Packer (&packers)[H * W], char* output) {
    const Floats scale = floats(task.scale[group * 4 + C]), bias = floats(task.bias[group * 4 + C]);
    const auto each = [&](auto with_residual) ALWAYS {
        UNROLL for (int v = 0; v < H * W; ++v) {
            const std::ptrdiff_t at = (v / W) * task.output_row + (v % W) * vector_bytes;
            Floats value = multiply_add(to_floats(sums[v]), scale, bias);
            if constexpr (with_residual.value) {
                const Sums bytes = load(task.residual + (output - task.output) + at);
                value = multiply_add(to_floats(byte_of<C>(bytes)), floats(task.residual_scale), value);
            }
            packers[v].template put<C>(value);
            if constexpr (C == 3) packers[v].store(output + at, task.valid ? task.valid[v] : 0xffff, task.outside);
        }
    };
    if (task.residual)
        each(Flag<true>());
    else
        each(Flag<false>());
}

// One output channel: every position loads a tile of vectors. Few vectors get several chains of sums each, so that the
// latency of a product does not hold them up, and take their weights by fours: a broadcast for each would cost too much.
template <int H, int W, int S>
inline ALWAYS void accumulate(Sums (&sums)[H * W], const std::int32_t* weights, const std::uint16_t* offsets,
                              std::uint32_t count, const char* source, std::ptrdiff_t row, const char* from_sums) {
    constexpr int V = H * W, K = V == 1 ? 4 : V == 2 ? 2 : 1;
    Sums chains[K][V];
    UNROLL for (int k = 0; k < K; ++k) UNROLL for (int v = 0; v < V; ++v) chains[k][v] = no_sums();
    if (from_sums) UNROLL for (int v = 0; v < V; ++v) chains[0][v] = load(from_sums + v * vector_bytes);
    const auto add = [&](Sums(&to)[V], Sums weight, std::size_t offset) ALWAYS {
        const char* from = source + offset * 8;
        UNROLL for (int v = 0; v < V; ++v) dot(to[v], load(from + (v / W) * row + (v % W) * S * vector_bytes), weight);
    };
    std::uint32_t i = 0;
    if constexpr (V <= 4) {
        for (; i + 4 <= count; i += 4) {
            const Four weight = four(weights + i);
            add(chains[0], splat<0>(weight), offsets[i]);
            add(chains[1 % K], splat<1>(weight), offsets[i + 1]);
            add(chains[2 % K], splat<2>(weight), offsets[i + 2]);
            add(chains[3 % K], splat<3>(weight), offsets[i + 3]);
        }
        if (count & 2) {
            add(chains[0], broadcast(weights[i]), offsets[i]);
            add(chains[1 % K], broadcast(weights[i + 1]), offsets[i + 1]);
            i += 2;
        }
        if (count & 1) add(chains[0], broadcast(weights[i]), offsets[i]);
    } else {
        for (; i < count; ++i) add(chains[0], broadcast(weights[i]), offsets[i]);
    }
    UNROLL for (int v = 0; v < V; ++v) {
        sums[v] = chains[0][v];
        UNROLL for (int k = 1; k < K; ++k) sums[v] = added(sums[v], chains[k][v]);
    }
}

// ROWS 1: every output channel has positions of its own.
template <int H, int W, int S>
void separate(const ConvTask& task) {
    constexpr int V = H * W;
    const std::int32_t* weights = task.weights;
    const std::uint16_t* offsets = task.offsets;
    const std::uint32_t* counts = task.counts;
    char* output = task.output;
    const char* from_sums = task.sums_from;
    char* to_sums = task.sums_to;
    const auto accumulated = [&](Sums(&sums)[V]) ALWAYS {
        const std::uint32_t count = *counts++;
        accumulate<H, W, S>(sums, weights, offsets, count, task.source, task.source_row * S, from_sums);
        weights += count;
        offsets += count;
        if (from_sums) from_sums += V * vector_bytes;
    };
    if (to_sums) {
        for (int channel = 0; channel < task.groups * 4; ++channel, to_sums += V * vector_bytes) {
            Sums sums[V];
            accumulated(sums);
            UNROLL for (int v = 0; v < V; ++v) store(to_sums + v * vector_bytes, sums[v]);
        }
        return;
    }
    for (int group = 0; group < task.groups; ++group, output += task.output_group) {
        Sums sums[V];
        Packer packers[V];
        accumulated(sums), finish<H, W, 0>(task, group, sums, packers, output);
        accumulated(sums), finish<H, W, 1>(task, group, sums, packers, output);
        accumulated(sums), finish<H, W, 2>(task, group, sums, packers, output);
        accumulated(sums), finish<H, W, 3>(task, group, sums, packers, output);
    }
}

// ROWS 4: four output channels share their positions, so that every loaded vector serves four products: blocks of 4x4,
// and layers so dense that some products with zeros are cheaper than the loads.
template <int H, int W, int S>
void shared(const ConvTask& task) {
    constexpr int V = H * W, K = V == 1 ? 2 : 1;
    const std::int32_t* weights = task.weights;
    const std::uint16_t* offsets = task.offsets;
    const std::uint32_t* counts = task.counts;
    const std::ptrdiff_t row = task.source_row * S;
    char* output = task.output;
    for (int group = 0; group < task.groups; ++group, output += task.output_group) {
        Sums parts[K][4][V];
        UNROLL for (int k = 0; k < K; ++k) UNROLL for (int c = 0; c < 4; ++c) UNROLL for (int v = 0; v < V; ++v)
            parts[k][c][v] = no_sums();
        const auto add = [&](Sums(&to)[4][V]) ALWAYS {
            const char* from = task.source + std::size_t(*offsets++) * 8;
            Sums weight[4];
            UNROLL for (int c = 0; c < 4; ++c) weight[c] = broadcast(weights[c]);
            UNROLL for (int v = 0; v < V; ++v) {
                const Sums pixels = load(from + (v / W) * row + (v % W) * S * vector_bytes);
                UNROLL for (int c = 0; c < 4; ++c) dot(to[c][v], pixels, weight[c]);
            }
            weights += 4;
        };
        std::uint32_t count = *counts++;
        for (; count >= std::uint32_t(K); count -= K) UNROLL for (int k = 0; k < K; ++k) add(parts[k]);
        for (; count > 0; --count) add(parts[0]);
        UNROLL for (int k = 1; k < K; ++k) UNROLL for (int c = 0; c < 4; ++c) UNROLL for (int v = 0; v < V; ++v)
            parts[0][c][v] = added(parts[0][c][v], parts[k][c][v]);
        Packer packers[V];
        finish<H, W, 0>(task, group, parts[0][0], packers, output);
        finish<H, W, 1>(task, group, parts[0][1], packers, output);
        finish<H, W, 2>(task, group, parts[0][2], packers, output);
        finish<H, W, 3>(task, group, parts[0][3], packers, output);
    }
}

template <int ROWS, int H, int W, int S>
void convolve(const ConvTask& task) {
    if constexpr (ROWS == 1) separate<H, W, S>(task);
    if constexpr (ROWS == 4) shared<H, W, S>(task);
}

#undef UNROLL

}  // namespace downshift::int8::DOWNSHIFT_ISA
