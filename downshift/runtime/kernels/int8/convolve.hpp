// The convolution kernels, over the vectors of one instruction set: compiled once for each.
//
// sum = exact int32 sums of u8 * s8; result = saturate_u8(round(fma(sum, scale, bias) [fma residual])). ReLU is the
// saturation at zero point 0.
#pragma once
#include "isa.hpp"
#include "vector.hpp"

namespace downshift::int8::DOWNSHIFT_ISA {

#define UNROLL _Pragma("GCC unroll 16")

// Output channel C of a group of four: its sums become bytes; the fourth one stores the finished vectors.
template <int H, int W, int C>
inline __attribute__((always_inline)) void finish(const ConvTask& task, int group, const Sums (&sums)[H * W],
                                                  Packer (&packers)[H * W], char* output) {
    const Floats scale = floats(task.scale[group * 4 + C]), bias = floats(task.bias[group * 4 + C]);
    UNROLL for (int v = 0; v < H * W; ++v) {
        const std::ptrdiff_t at = (v / W) * task.output_row + (v % W) * 64;
        Floats value = multiply_add(to_floats(sums[v]), scale, bias);
        if (task.residual) {
            const Sums bytes = load(task.residual + (output - task.output) + at);
            value = multiply_add(to_floats(byte_of<C>(bytes)), floats(task.residual_scale), value);
        }
        packers[v].template put<C>(value);
        if (C == 3) packers[v].store(output + at, task.valid ? task.valid[v] : 0xffff, task.outside);
    }
}

// Few vectors get several chains of sums each, so that the latency of a product does not hold them up.
template <int V>
constexpr int chains = V == 1 ? 4 : V == 2 ? 2 : 1;

template <int H, int W, int S>
inline __attribute__((always_inline)) void accumulate(Sums (&sums)[H * W], const std::int32_t* weights,
                                                      const std::uint32_t* offsets, std::uint32_t count,
                                                      const char* source, std::ptrdiff_t row) {
    constexpr int V = H * W, K = chains<V>;
    Sums parts[K][V];
    UNROLL for (int k = 0; k < K; ++k) UNROLL for (int v = 0; v < V; ++v) parts[k][v] = no_sums();
    const auto add = [&](Sums(&to)[V], std::int32_t weight, std::uint32_t offset) __attribute__((always_inline)) {
        const Sums four = broadcast(weight);
        const char* from = source + offset;
        UNROLL for (int v = 0; v < V; ++v) dot(to[v], load(from + (v / W) * row + (v % W) * S * 64), four);
    };
    std::uint32_t i = 0;
    for (; i + K <= count; i += K) UNROLL for (int k = 0; k < K; ++k) add(parts[k], weights[i + k], offsets[i + k]);
    for (; i < count; ++i) add(parts[0], weights[i], offsets[i]);
    UNROLL for (int v = 0; v < V; ++v) {
        sums[v] = parts[0][v];
        UNROLL for (int k = 1; k < K; ++k) sums[v] = added(sums[v], parts[k][v]);
    }
}

// Every output channel has positions of its own.
template <int H, int W, int S>
void unstructured(const ConvTask& task) {
    constexpr int V = H * W;
    const std::int32_t* weights = task.weights;
    const std::uint32_t *offsets = task.offsets, *counts = task.counts;
    char* output = task.output;
    const auto channel = [&](Sums(&sums)[V]) __attribute__((always_inline)) {
        const std::uint32_t count = *counts++;
        accumulate<H, W, S>(sums, weights, offsets, count, task.source, task.source_row * S);
        weights += count;
        offsets += count;
    };
    for (int group = 0; group < task.groups; ++group, output += task.output_group) {
        Sums sums[V];
        Packer packers[V];
        channel(sums), finish<H, W, 0>(task, group, sums, packers, output);
        channel(sums), finish<H, W, 1>(task, group, sums, packers, output);
        channel(sums), finish<H, W, 2>(task, group, sums, packers, output);
        channel(sums), finish<H, W, 3>(task, group, sums, packers, output);
    }
}

// Four output channels share their positions, so that every loaded vector serves four products: blocks of 4x4, and
// layers so dense that some products with zeros are cheaper than the loads.
template <int H, int W, int S>
void shared(const ConvTask& task) {
    constexpr int V = H * W, K = V == 1 ? 2 : 1;
    const std::int32_t* weights = task.weights;
    const std::uint32_t *offsets = task.offsets, *counts = task.counts;
    const std::ptrdiff_t row = task.source_row * S;
    char* output = task.output;
    for (int group = 0; group < task.groups; ++group, output += task.output_group) {
        Sums parts[K][4][V];
        UNROLL for (int k = 0; k < K; ++k) UNROLL for (int c = 0; c < 4; ++c) UNROLL for (int v = 0; v < V; ++v)
            parts[k][c][v] = no_sums();
        const auto add = [&](Sums(&to)[4][V]) __attribute__((always_inline)) {
            const char* from = task.source + *offsets++;
            Sums four[4];
            UNROLL for (int c = 0; c < 4; ++c) four[c] = broadcast(weights[c]);
            UNROLL for (int v = 0; v < V; ++v) {
                const Sums pixels = load(from + (v / W) * row + (v % W) * S * 64);
                UNROLL for (int c = 0; c < 4; ++c) dot(to[c][v], pixels, four[c]);
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

#undef UNROLL

}  // namespace downshift::int8::DOWNSHIFT_ISA
