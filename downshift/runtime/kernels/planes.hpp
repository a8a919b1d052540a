// The kernels around the convolutions, one plane or one row at a time. What the compiler vectorises well by itself
// is written plainly.
#pragma once
#include "isa.hpp"
#include "vector.hpp"

namespace downshift::DOWNSHIFT_ISA {

static void combine(const CombineTask& task) {
    for (int v = 0; v < task.vectors; ++v) {
        Vec value = load(task.input + v * lanes) * splat(task.scale) + splat(task.shift);
        if (task.addend) value += load(task.addend + v * lanes);
        value = masked(activated(value, task.activation), task.masks[v]);
        for (int copy = 0; copy < task.copies; ++copy)
            store_loose(task.output + v * lanes + copy * task.copy_step, value);
    }
}

DOWNSHIFT_INLINE float sum_of_lanes(Vec value) {
    if constexpr (lanes >= 16) value += concatenated<8>(value, value, Lanes{});
    if constexpr (lanes >= 8) value += concatenated<4>(value, value, Lanes{});
    value += concatenated<2>(value, value, Lanes{});
    return value[0] + value[1];
}

static float sum(const float* vectors, int count) {
    Vec total = {};
    for (int v = 0; v < count; ++v) total += load(vectors + v * lanes);
    return sum_of_lanes(total);
}

static float activated_scalar(float value, Activation activation) {
    return activated(splat(value), activation)[0];
}

static float dot(const float* a, const float* b, int count) {
    Vec total[4] = {};
    int i = 0;
    for (; i + 4 * lanes <= count; i += 4 * lanes)
        for (int k = 0; k < 4; ++k) {
            const LooseVec left = *reinterpret_cast<const LooseVec*>(a + i + k * lanes);
            total[k] += left * load(b + i + k * lanes);
        }
    float result = sum_of_lanes((total[0] + total[1]) + (total[2] + total[3]));
    for (; i < count; ++i) result += a[i] * b[i];
    return result;
}

static float dot_at(const float* weights, const std::uint16_t* indices, std::uint32_t count, const float* input) {
    float total[4] = {};
    std::uint32_t i = 0;
    for (; i + 4 <= count; i += 4)
        for (int k = 0; k < 4; ++k) total[k] += weights[i + std::uint32_t(k)] * input[indices[i + std::uint32_t(k)]];
    for (; i < count; ++i) total[0] += weights[i] * input[indices[i]];
    return (total[0] + total[1]) + (total[2] + total[3]);
}

static void linear(const LinearTask& task) {
    for (int o = task.first; o < task.end; ++o) {
        float value = task.bias[o];
        if (task.indices) {
            const std::uint32_t start = task.starts[o];
            value += dot_at(task.weights + start, task.indices + start, task.starts[o + 1] - start, task.input);
        } else {
            value += dot(task.weights + std::size_t(o) * std::size_t(task.inputs), task.input, task.inputs);
        }
        task.output[o] = activated_scalar(value, task.activation);
    }
}

// Writes one row of `pitch` floats to every copy whose rows include it; `y` may lie in a copy's guard.
static void store_row(float* output, int y, int pitch, int copies, std::ptrdiff_t copy_step, const float* row) {
    output += y * std::ptrdiff_t(pitch);
    for (int copy = 0; copy < copies; ++copy, output += copy_step) {
        if (pitch == 4)
            __builtin_memcpy(output, row, 16);
        else if (pitch == 8)
            __builtin_memcpy(output, row, 32);
        else
            for (int x = 0; x < pitch; x += lanes) store_loose(output + x, *reinterpret_cast<const LooseVec*>(row + x));
    }
}

// The x for which x * stride + left lies in [0, width): [first, end) within [0, limit].
static int first_inside(int left, int stride) { return left >= 0 ? 0 : (-left + stride - 1) / stride; }
static int end_inside(int left, int stride, int width, int limit) {
    if (width <= left) return 0;
    const int end = (width - left + stride - 1) / stride;
    return end < limit ? end : limit;
}

static void place(const PlaceTask& task) {
    const int first = first_inside(task.left, task.stride_x);
    const int end = end_inside(task.left, task.stride_x, task.source_width, task.width);
    for (int x = 0; x < task.pitch; ++x) task.row[x] = 0;
    for (int y = 0; y < task.height; ++y) {
        const int from = y * task.stride_y + task.top;
        if (from < 0 || from >= task.source_height) {
            for (int x = first; x < end; ++x) task.row[x] = 0;
        } else {
            const float* source = task.source + std::ptrdiff_t(from) * task.source_pitch + task.left;
            if (task.stride_x == 1)
                for (int x = first; x < end; ++x) task.row[x] = source[x];
            else
                for (int x = first; x < end; ++x) task.row[x] = source[x * task.stride_x];
        }
        store_row(task.output, y, task.pitch, task.copies, task.copy_step, task.row);
    }
}

DOWNSHIFT_INLINE Vec load_loose(const float* at) { return *reinterpret_cast<const LooseVec*>(at); }

template <int ODD, int... I>
DOWNSHIFT_INLINE Vec every_second(Vec low, Vec high, Indices<I...>) {
    return __builtin_shufflevector(low, high, (2 * I + ODD)...);
}

// The first halves of both.
template <int... I>
DOWNSHIFT_INLINE Vec first_halves(Vec low, Vec high, Indices<I...>) {
    return __builtin_shufflevector(low, high, (I < lanes / 2 ? I : I + lanes / 2)...);
}

// The bits of the lanes that hold pixels when `rows` rows of `pitch` lanes hold `columns` pixels each.
DOWNSHIFT_INLINE std::uint16_t pixels(int rows, int columns, int pitch) {
    if (columns <= 0) return 0;
    const std::uint32_t row = columns >= pitch ? (1u << pitch) - 1 : (1u << columns) - 1;
    std::uint32_t bits = 0;
    for (int r = 0; r < rows && r * pitch < lanes; ++r) bits |= row << (r * pitch);
    return std::uint16_t(bits);
}

static void halve(const HalveTask& task) {
    const int together = task.pitch < lanes ? lanes / task.pitch : 1;  // output rows of a vector
    const int columns[2] = {(task.source_width + 1) / 2, task.source_width / 2};
    float* const outputs[2] = {task.even, task.odd};
    const bool row_holds_all = 2 * task.pitch <= task.source_pitch;  // else a load reaches into the next row
    const std::ptrdiff_t down = 2 * std::ptrdiff_t(task.source_pitch);
    for (int y = 0; y < task.height; y += together) {
        const float* row = task.source + y * down;
        const int rows = (task.source_rows + 1) / 2 - y;  // of this and the following output rows, those with pixels
        for (int x = 0; x < task.pitch; x += lanes) {
            Vec low = {}, high = {};
            if (rows > 0 && together == 1) {
                low = load_loose(row + 2 * x);
                high = load_loose(row + 2 * x + lanes);
            } else if (rows > 0 && together == 2) {
                low = load_loose(row);
                if (rows > 1) high = load_loose(row + down);
            } else if (rows > 0) {
                low = first_halves(load_loose(row), rows > 1 ? load_loose(row + down) : Vec{}, Lanes{});
                if (rows > 2)
                    high = first_halves(load_loose(row + 2 * down), rows > 3 ? load_loose(row + 3 * down) : Vec{}, Lanes{});
            }
            const Vec halves[2] = {every_second<0>(low, high, Lanes{}), every_second<1>(low, high, Lanes{})};
            for (int odd = 0; odd < 2; ++odd) {
                if (!outputs[odd]) continue;
                const int pitch = together == 1 ? lanes : task.pitch;
                const Vec value = row_holds_all && rows >= together
                                      ? halves[odd]
                                      : masked(halves[odd], pixels(rows, columns[odd] - x, pitch));
                float* output = outputs[odd] + y * std::ptrdiff_t(task.pitch) + x;
                for (int copy = 0; copy < task.copies; ++copy, output += task.copy_step) store_loose(output, value);
            }
        }
    }
}

static void pool(const PoolTask& task) {
    const int margin = task.left;  // padding columns before the map
    const int padded = (task.width - 1) * task.stride_x + task.kernel_x;
    const float outside = task.maximum ? -__builtin_huge_valf() : 0.0f;
    float* column = task.row;           // the window's rows folded into one, with its padding
    float* result = task.row + (padded > margin + task.source_width ? padded : margin + task.source_width);
    for (int x = 0; x < task.pitch; ++x) result[x] = 0;
    for (int y = 0; y < task.height; ++y) {
        const int top = y * task.stride_y - task.top;
        const int low = top < 0 ? 0 : top;
        const int high = top + task.kernel_y < task.source_height ? top + task.kernel_y : task.source_height;
        for (int x = 0; x < padded; ++x) column[x] = outside;
        float* inside = column + margin;
        for (int x = 0; x < task.source_width; ++x) inside[x] = outside;
        for (int from = low; from < high; ++from) {
            const float* source = task.source + std::ptrdiff_t(from) * task.source_pitch;
            if (task.maximum)
                for (int x = 0; x < task.source_width; ++x) inside[x] = inside[x] > source[x] ? inside[x] : source[x];
            else
                for (int x = 0; x < task.source_width; ++x) inside[x] += source[x];
        }
        for (int x = 0; x < task.width; ++x) {
            const float* window = column + x * task.stride_x;
            float value = window[0];
            for (int k = 1; k < task.kernel_x; ++k) {
                if (task.maximum)
                    value = value > window[k] ? value : window[k];
                else
                    value += window[k];
            }
            if (!task.maximum) {
                const int left = x * task.stride_x - margin;
                const int from_x = left < 0 ? 0 : left;
                const int to_x = left + task.kernel_x < task.source_width ? left + task.kernel_x : task.source_width;
                const int pixels =
                    task.count_padding ? task.kernel_y * task.kernel_x : (high - low) * (to_x - from_x);
                value /= float(pixels);
            }
            result[x] = value;
        }
        store_row(task.output, y, task.pitch, task.copies, task.copy_step, result);
    }
}

}  // namespace downshift::DOWNSHIFT_ISA
