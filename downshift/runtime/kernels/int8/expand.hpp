// Rows of a map with their halo, over the vectors of one instruction set.
#pragma once
#include "isa.hpp"
#include "vector.hpp"

namespace downshift::int8::DOWNSHIFT_ISA {

template <int DY>
static void expand_down(const ExpandTask& task) {
    const Sums outside = broadcast(std::int32_t(task.outside));
    const char* from = task.from;
    char* to = task.to;
    for (int group = 0; group < task.groups; ++group, from += task.from_group, to += task.to_group) {
        for (int x = -task.left; x < 0; ++x) store(to + x * vector_bytes, moved<DY, 1>(load(from + (task.width + x) * vector_bytes), outside));
        if (task.inside)
            for (int x = 0; x < task.width; ++x) store(to + x * vector_bytes, moved<DY, 0>(load(from + x * vector_bytes), outside));
        for (int x = 0; x < task.right; ++x) store(to + (task.width + x) * vector_bytes, moved<DY, -1>(load(from + x * vector_bytes), outside));
    }
}

static void expand(const ExpandTask& task) {
    if (task.down > 0) return expand_down<1>(task);
    if (task.down < 0) return expand_down<-1>(task);
    expand_down<0>(task);
}

}  // namespace downshift::int8::DOWNSHIFT_ISA
