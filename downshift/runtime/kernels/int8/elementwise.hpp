// What is done to bytes one by one, over the vectors of one instruction set.
#pragma once
#include "isa.hpp"
#include "vector.hpp"

namespace downshift::int8::DOWNSHIFT_ISA {

template <int C>
inline ALWAYS void combine_channel(const CombineTask& task, int group, Sums left, const char* right, Packer& packer) {
    const float scale = task.scale[group * 4 + C], bias = task.bias[group * 4 + C];
    Floats value = multiply_add(to_floats(byte_of<C>(left)), floats(scale), floats(bias));
    if (right) value = multiply_add(to_floats(byte_of<C>(load(right))), floats(task.right_scale), value);
    packer.template put<C>(value);
}

static void combine(const CombineTask& task) {
    std::ptrdiff_t at = 0;
    for (int group = 0; group < task.groups; ++group)
        for (int x = 0; x < task.width; ++x, at += vector_bytes) {
            const Sums left = load(task.left + at);
            const char* right = task.right ? task.right + at : nullptr;
            Packer packer;
            combine_channel<0>(task, group, left, right, packer);
            combine_channel<1>(task, group, left, right, packer);
            combine_channel<2>(task, group, left, right, packer);
            combine_channel<3>(task, group, left, right, packer);
            packer.store(task.to + at, task.valid[x], task.outside);
        }
}

static void average(const char* source, const std::uint32_t* offsets, int taps, const float* inverse, std::uint16_t valid,
                    std::uint32_t outside, char* to) {
    Sums sums[4] = {no_sums(), no_sums(), no_sums(), no_sums()};
    for (int tap = 0; tap < taps; ++tap) {
        const Sums pixels = load(source + offsets[tap]);
        sums[0] = added(sums[0], byte_of<0>(pixels));
        sums[1] = added(sums[1], byte_of<1>(pixels));
        sums[2] = added(sums[2], byte_of<2>(pixels));
        sums[3] = added(sums[3], byte_of<3>(pixels));
    }
    Floats share;
    __builtin_memcpy(&share, inverse, sizeof share);
    Packer packer;
    packer.template put<0>(multiply_add(to_floats(sums[0]), share, floats(0.0f)));
    packer.template put<1>(multiply_add(to_floats(sums[1]), share, floats(0.0f)));
    packer.template put<2>(multiply_add(to_floats(sums[2]), share, floats(0.0f)));
    packer.template put<3>(multiply_add(to_floats(sums[3]), share, floats(0.0f)));
    packer.store(to, valid, outside);
}

#if defined(DOWNSHIFT_VNNI) && !defined(DOWNSHIFT_256)
// Ice Lake and Zen 4 look 128 bytes up at once.
__attribute__((target("avx512vbmi"))) static void lookup_vbmi(const LookupTask& task) {
    __m512i table[4];
    for (int i = 0; i < 4; ++i) table[i] = _mm512_loadu_si512(task.table + i * vector_bytes);
    const __m512i outside = _mm512_set1_epi32(std::int32_t(task.outside));
    const char* from = task.from;
    char* to = task.to;
    for (int group = 0; group < task.groups; ++group)
        for (int x = 0; x < task.width; ++x, from += vector_bytes, to += vector_bytes) {
            const __m512i at = _mm512_load_si512(from);
            const __m512i low = _mm512_permutex2var_epi8(table[0], at, table[1]), high = _mm512_permutex2var_epi8(table[2], at, table[3]);
            const __m512i bytes = _mm512_mask_mov_epi8(low, _mm512_movepi8_mask(at), high);
            _mm512_store_si512(to, _mm512_mask_mov_epi32(outside, task.valid[x], bytes));
        }
}
#endif

static void lookup(const LookupTask& task) {
#if defined(DOWNSHIFT_VNNI) && !defined(DOWNSHIFT_256)
    if (__builtin_cpu_supports("avx512vbmi")) return lookup_vbmi(task);
#endif
    const auto* from = reinterpret_cast<const std::uint8_t*>(task.from);
    char* to = task.to;
    for (int group = 0; group < task.groups; ++group)
        for (int x = 0; x < task.width; ++x, from += vector_bytes, to += vector_bytes) {
            for (int i = 0; i < vector_bytes; ++i) to[i] = char(task.table[from[i]]);
            if (task.valid[x] == 0xffff) continue;
            for (int lane = 0; lane < lanes; ++lane)
                if (!(task.valid[x] >> lane & 1)) __builtin_memcpy(to + lane * 4, &task.outside, 4);
        }
}

}  // namespace downshift::int8::DOWNSHIFT_ISA
