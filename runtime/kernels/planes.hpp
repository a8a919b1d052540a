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

static float sum(const float* vectors, int count) {
    Vec total = {};
    for (int v = 0; v < count; ++v) total += load(vectors + v * lanes);
    float result = 0;
    for (int lane = 0; lane < lanes; ++lane) result += total[lane];
    return result;
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
    const Vec folded = (total[0] + total[1]) + (total[2] + total[3]);
    float result = 0;
    for (int lane = 0; lane < lanes; ++lane) result += folded[lane];
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
    for (int copy = 0; copy < copies; ++copy)
        __builtin_memcpy(output + y * std::ptrdiff_t(pitch) + copy * copy_step, row, std::size_t(pitch) * 4);
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
            else if (task.stride_x == 2)
                for (int x = first; x < end; ++x) task.row[x] = source[2 * x];
            else
                for (int x = first; x < end; ++x) task.row[x] = source[x * task.stride_x];
        }
        store_row(task.output, y, task.pitch, task.copies, task.copy_step, task.row);
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
