// The sparse convolution: for each kernel column accumulate every nonzero's weight times V aligned vectors of its source
// plane, then shift the column's sum horizontally once. With R > 1, output channels share the nonzeros' positions.
#pragma once
#include "isa.hpp"
#include "vector.hpp"

namespace downshift::DOWNSHIFT_ISA {

#define DOWNSHIFT_UNROLL _Pragma("GCC unroll 16")

// Where the nonzeros of one column after the other read their vectors.
class Offsets {
public:
    __attribute__((always_inline)) explicit Offsets(const ConvTask& task) : next_(task.offsets) {}
    __attribute__((always_inline)) void begin(const char* base) { base_ = base; }
    __attribute__((always_inline)) const float* take() {
        return reinterpret_cast<const float*>(base_ + std::size_t(*next_++) * 8);
    }

private:
    const std::uint16_t* next_;
    const char* base_ = nullptr;
};

class Steps {
public:
    __attribute__((always_inline)) explicit Steps(const ConvTask& task) : next_(task.steps) {}
    __attribute__((always_inline)) void begin(const char* base) { at_ = base; }
    __attribute__((always_inline)) const float* take() {
        at_ += std::size_t(*next_++) * vector_bytes;
        return reinterpret_cast<const float*>(at_);
    }

private:
    const std::uint8_t* next_;
    const char* at_ = nullptr;
};

template <int V>
DOWNSHIFT_INLINE void add_scaled(Vec (&sum)[V], Vec weight, const float* source) {
    DOWNSHIFT_UNROLL
    for (int v = 0; v < V; ++v) sum[v] += weight * load(source + v * lanes);
}

// One output channel. With few vectors, several accumulators each: a single one would be bound by the FMA latency.
template <int V, class Places>
DOWNSHIFT_INLINE void accumulate(Vec (&sum)[1][V], const float* weights, Places& places, int count) {
    constexpr int sums = V == 1 ? 4 : V == 2 ? 2 : 1;
    Vec more[sums][V];
    DOWNSHIFT_UNROLL
    for (int s = 0; s < sums; ++s)
        DOWNSHIFT_UNROLL
        for (int v = 0; v < V; ++v) more[s][v] = s == 0 ? sum[0][v] : Vec{};
    int i = 0;
    for (; i + 4 <= count; i += 4) {
        const Quad quad = Quad::at(weights + i);
        add_scaled<V>(more[0], quad.weight<0>(), places.take());
        add_scaled<V>(more[1 % sums], quad.weight<1>(), places.take());
        add_scaled<V>(more[2 % sums], quad.weight<2>(), places.take());
        add_scaled<V>(more[3 % sums], quad.weight<3>(), places.take());
    }
    if (count & 2) {
        add_scaled<V>(more[0], splat(weights[i]), places.take());
        add_scaled<V>(more[1 % sums], splat(weights[i + 1]), places.take());
        i += 2;
    }
    if (count & 1) add_scaled<V>(more[0], splat(weights[i]), places.take());
    DOWNSHIFT_UNROLL
    for (int v = 0; v < V; ++v) {
        sum[0][v] = more[0][v];
        DOWNSHIFT_UNROLL
        for (int s = 1; s < sums; ++s) sum[0][v] += more[s][v];
    }
}

// R output channels with the same positions: register blocking, every loaded vector is used R times.
template <int V, int R, class Places>
DOWNSHIFT_INLINE void accumulate(Vec (&sum)[R][V], const float* weights, Places& places, int count) {
    for (int i = 0; i < count; ++i) {
        const float* at = places.take();
        Vec weight[R];
        DOWNSHIFT_UNROLL
        for (int r = 0; r < R; ++r) weight[r] = splat(weights[i * R + r]);
        DOWNSHIFT_UNROLL
        for (int v = 0; v < V; ++v) {
            const Vec x = load(at + v * lanes);
            DOWNSHIFT_UNROLL
            for (int r = 0; r < R; ++r) sum[r][v] += weight[r] * x;
        }
    }
}

constexpr int pitch_of(Columns columns) { return columns == Columns::pitch4 ? 4 : 8; }
constexpr int per_row_of(Columns columns) {
    return columns == Columns::row1 ? 1 : columns == Columns::row2 ? 2 : columns == Columns::row4 ? 4 : 0;
}

// sum += value read DX columns further right.
template <int V, Columns C, int DX>
DOWNSHIFT_INLINE void add_moved(Vec (&sum)[V], const Vec (&value)[V], [[maybe_unused]] int per_row) {
    if constexpr (C == Columns::pitch4 || C == Columns::pitch8) {
        DOWNSHIFT_UNROLL
        for (int v = 0; v < V; ++v) sum[v] += moved_in_rows<pitch_of(C), DX>(value[v], Lanes{});
    } else if constexpr (C == Columns::rows) {
        int until_edge = DX < 0 ? 0 : per_row - 1;  // vectors to the edge from which zeros come
        DOWNSHIFT_UNROLL
        for (int v = 0; v < V; ++v) {
            const bool edge = until_edge == 0;
            if constexpr (DX < 0)
                sum[v] += concatenated<lanes + DX>(edge ? Vec{} : value[v > 0 ? v - 1 : 0], value[v], Lanes{});
            else
                sum[v] += concatenated<DX>(value[v], edge ? Vec{} : value[v + 1 < V ? v + 1 : v], Lanes{});
            until_edge = edge ? per_row - 1 : until_edge - 1;
        }
    } else {
        constexpr int width = per_row_of(C);
        DOWNSHIFT_UNROLL
        for (int v = 0; v < V; ++v) {
            if constexpr (DX < 0)
                sum[v] += concatenated<lanes + DX>(v % width ? value[v > 0 ? v - 1 : 0] : Vec{}, value[v], Lanes{});
            else
                sum[v] += concatenated<DX>(value[v], (v + 1) % width ? value[v + 1 < V ? v + 1 : v] : Vec{}, Lanes{});
        }
    }
}

template <int V, Columns C>
DOWNSHIFT_INLINE void add_moved(Vec (&sum)[V], const Vec (&value)[V], int dx, int per_row) {
    switch (dx) {
        case -3: return add_moved<V, C, -3>(sum, value, per_row);
        case -2: return add_moved<V, C, -2>(sum, value, per_row);
        case -1: return add_moved<V, C, -1>(sum, value, per_row);
        case 1: return add_moved<V, C, 1>(sum, value, per_row);
        case 2: return add_moved<V, C, 2>(sum, value, per_row);
        case 3: return add_moved<V, C, 3>(sum, value, per_row);
        default: __builtin_unreachable();
    }
}

template <int V, int R>
DOWNSHIFT_INLINE void open_sums(const ConvTask& task, int channel, Vec (&sum)[R][V]) {
    DOWNSHIFT_UNROLL
    for (int r = 0; r < R; ++r) {
        const Vec bias = splat(task.bias[channel + r]);
        if (task.residual && channel + r < task.output_channels) {
            const float* residual = task.residual + std::size_t(channel + r) * task.residual_plane;
            DOWNSHIFT_UNROLL
            for (int v = 0; v < V; ++v) sum[r][v] = bias + load(residual + v * lanes);
        } else {
            DOWNSHIFT_UNROLL
            for (int v = 0; v < V; ++v) sum[r][v] = bias;
        }
    }
}

template <int V, int R>
DOWNSHIFT_INLINE void load_partial(const float* partial, Vec (&sum)[R][V]) {
    DOWNSHIFT_UNROLL
    for (int r = 0; r < R; ++r)
        DOWNSHIFT_UNROLL
        for (int v = 0; v < V; ++v) sum[r][v] = load(partial + (r * V + v) * lanes);
}

template <int V, int R>
DOWNSHIFT_INLINE void store_partial(float* partial, const Vec (&sum)[R][V]) {
    DOWNSHIFT_UNROLL
    for (int r = 0; r < R; ++r)
        DOWNSHIFT_UNROLL
        for (int v = 0; v < V; ++v) store(partial + (r * V + v) * lanes, sum[r][v]);
}

template <int V>
DOWNSHIFT_INLINE void close_sums(const ConvTask& task, int channel, Vec (&sum)[V]) {
    if (task.activation == Activation::relu) {
        DOWNSHIFT_UNROLL
        for (int v = 0; v < V; ++v) sum[v] = larger(sum[v], Vec{});
    } else if (task.activation != Activation::none) {
        // The loop that is not unrolled indexes a copy, so that the accumulators themselves stay in registers.
        Vec value[V];
        DOWNSHIFT_UNROLL
        for (int v = 0; v < V; ++v) value[v] = sum[v];
        for (int v = 0; v < V; ++v) value[v] = activated(value[v], task.activation);
        DOWNSHIFT_UNROLL
        for (int v = 0; v < V; ++v) sum[v] = value[v];
    }
    float* output = task.output + std::size_t(channel) * task.output_plane;
    if (task.vectors >= V) {
        DOWNSHIFT_UNROLL
        for (int v = 0; v < V; ++v) {
            sum[v] = masked(sum[v], task.masks[v]);
            store_loose(output + v * lanes, sum[v]);
        }
        for (int copy = 1; copy < task.copies; ++copy)
            DOWNSHIFT_UNROLL
            for (int v = 0; v < V; ++v) store_loose(output + v * lanes + copy * task.copy_step, sum[v]);
    } else {
        DOWNSHIFT_UNROLL
        for (int v = 0; v < V; ++v) {
            if (v >= task.vectors) return;
            const Vec value = masked(sum[v], task.masks[v]);
            for (int copy = 0; copy < task.copies; ++copy)
                store_loose(output + v * lanes + copy * task.copy_step, value);
        }
    }
}

template <int V, Columns C, int R, class Places>
void convolve(const ConvTask& task) {
    const std::uint16_t* channels = task.channels;
    const std::uint16_t* counts = task.counts;
    Places places(task);
    const float* weights = task.weights;
    for (int s = 0; s < task.section_count; ++s) {
        const Section section = task.sections[s];
        const char* source = reinterpret_cast<const char*>(task.source + std::size_t(section.base) * lanes);
        for (std::uint32_t unit = 0; unit < section.units; ++unit) {
            const int channel = *channels++;
            float* partial = task.partial + std::size_t(channel) * V * lanes;
            Vec sum[R][V];
            if (section.opens)
                open_sums<V, R>(task, channel, sum);
            else
                load_partial<V, R>(partial, sum);
            for (int column = section.first_column; column < section.end_column; ++column) {
                const int count = *counts++;
                if (count == 0) continue;
                places.begin(source);
                if (C == Columns::none || task.shifts[column] == 0) {
                    accumulate(sum, weights, places, count);
                } else {
                    Vec moving[R][V] = {};
                    accumulate(moving, weights, places, count);
                    if constexpr (C != Columns::none) {
                        DOWNSHIFT_UNROLL
                        for (int r = 0; r < R; ++r)
                            add_moved<V, C>(sum[r], moving[r], task.shifts[column], task.per_row);
                    }
                }
                weights += std::size_t(count) * R;
            }
            if (section.closes) {
                DOWNSHIFT_UNROLL
                for (int r = 0; r < R; ++r)
                    if (channel + r < task.output_channels) close_sums<V>(task, channel + r, sum[r]);
            } else {
                store_partial<V, R>(partial, sum);
            }
        }
    }
}

// The same with steps, for the maps whose planes are small enough that steps fit a byte.
template <int V, Columns C, int R>
constexpr ConvKernel by_steps() {
    if constexpr (R == 1 && V <= 8 && (C == Columns::pitch4 || C == Columns::pitch8 || C == Columns::row1))
        return &convolve<V, C, R, Steps>;
    else
        return nullptr;
}

}  // namespace downshift::DOWNSHIFT_ISA
