// Taps of a map of three channels packed into groups of four bytes, over the vectors of one instruction set.
#pragma once
#include "isa.hpp"
#include "vector.hpp"

namespace downshift::int8::DOWNSHIFT_ISA {

// Bytes R, R + 1, .. 2 of the pixels in `first`, then the first ones of those in `second`.
template <int R>
inline ALWAYS Sums joined(Sums first, Sums second) {
    return blended<(0xffffffu >> (8 * R))>(right<8 * R>(first), left<8 * (3 - R)>(second));
}

template <int R>
static void join(const char* first, const char* second, int count, std::ptrdiff_t step, char* to) {
    for (int x = 0; x < count; ++x) store(to + x * vector_bytes, joined<R>(load(first + x * step), load(second + x * step)));
}

static void quads(const QuadTask& task) {
    static constexpr decltype(&join<0>) joins[] = {&join<0>, &join<1>, &join<2>};
    for (int quad = 0; quad < task.count; ++quad) {
        const int tap = quad * 4 / 3, next = tap + 1 < task.taps ? tap + 1 : tap;  // past the last tap, any bytes do
        joins[quad % 3](task.from + task.offsets[tap], task.from + task.offsets[next], task.width, task.step,
                        task.to + quad * task.to_group);
    }
}

}  // namespace downshift::int8::DOWNSHIFT_ISA
