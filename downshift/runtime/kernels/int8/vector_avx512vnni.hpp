// Vectors of 16 lanes: AVX-512 VNNI.
#pragma once
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace downshift::int8::DOWNSHIFT_ISA {

using Sums = __m512i;
using Floats = __m512;

inline ALWAYS Sums no_sums() { return _mm512_setzero_si512(); }
inline ALWAYS Sums load(const char* from) { return _mm512_load_si512(from); }
inline ALWAYS void store(char* to, Sums value) { _mm512_store_si512(to, value); }
inline ALWAYS Sums broadcast(std::int32_t value) { return _mm512_set1_epi32(value); }
// Weights of four positions, and the Kth of them in every lane.
using Four = Sums;
inline ALWAYS Four four(const std::int32_t* weights) { return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(weights))); }
template <int K>
inline ALWAYS Sums splat(Four weights) { return _mm512_shuffle_epi32(weights, _MM_PERM_ENUM(K * 0x55)); }
inline ALWAYS Sums added(Sums a, Sums b) { return _mm512_add_epi32(a, b); }
template <int BITS>
inline ALWAYS Sums right(Sums a) { return _mm512_srli_epi32(a, BITS); }
template <int BITS>
inline ALWAYS Sums left(Sums a) { return _mm512_slli_epi32(a, BITS); }
// Bits of `a` where MASK has ones, or-ed with `b`.
template <std::uint32_t MASK>
inline ALWAYS Sums blended(Sums a, Sums b) { return _mm512_ternarylogic_epi32(a, _mm512_set1_epi32(std::int32_t(MASK)), b, 0xea); }
inline ALWAYS Floats floats(float value) { return _mm512_set1_ps(value); }
inline ALWAYS Floats multiply_add(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
inline ALWAYS Floats to_floats(Sums sums) { return _mm512_cvtepi32_ps(sums); }
// In place: for the intrinsic, gcc 12 copies the accumulators to and fro.
inline ALWAYS void dot(Sums& sums, Sums pixels, Sums weights) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(pixels), "v"(weights));
}
template <int C>
inline ALWAYS Sums byte_of(Sums pixels) {
    const Sums moved = C == 0 ? pixels : _mm512_srli_epi32(pixels, 8 * C);
    return C == 3 ? moved : _mm512_and_si512(moved, _mm512_set1_epi32(255));
}

// Swaps the pixels and channels of four lanes: 4 x 4 bytes.
inline ALWAYS Sums transposed() {
    return _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
}

// Collects the four channels of a vector of pixels.
struct Packer {
    Sums even, low;
    template <int C>
    inline ALWAYS void put(Floats value) {
        const Sums rounded = _mm512_cvtps_epi32(value);
        if constexpr (C % 2 == 0) even = rounded;
        if constexpr (C == 1) low = _mm512_packs_epi32(even, rounded);
        if constexpr (C == 3) even = _mm512_packus_epi16(low, _mm512_packs_epi32(even, rounded));
    }
    inline ALWAYS void store(char* to, std::uint16_t valid, std::uint32_t outside) const {
        const Sums bytes = _mm512_shuffle_epi8(even, transposed());
        _mm512_store_si512(to, _mm512_mask_mov_epi32(_mm512_set1_epi32(std::int32_t(outside)), valid, bytes));
    }
};

static void gather(const char* from, const std::int32_t* table, std::uint32_t outside, char* to, int count) {
    const Sums fill = _mm512_set1_epi32(std::int32_t(outside));
    for (int i = 0; i < count; ++i) {
        const Sums at = _mm512_loadu_si512(table + i * lanes);
        const __mmask16 inside = _mm512_cmpge_epi32_mask(at, _mm512_setzero_si512());
        _mm512_store_si512(to + i * vector_bytes, _mm512_mask_i32gather_epi32(fill, inside, at, from, 1));
    }
}

// Lanes moved down DY and right DX blocks, `outside` entering.
template <int DY, int DX>
inline ALWAYS Sums moved(Sums x, Sums outside) {
    constexpr int step = DY * 4 + DX;
    constexpr __mmask16 rows = DY > 0 ? 0xfff0 : DY < 0 ? 0x0fff : 0xffff, columns = DX > 0 ? 0xeeee : DX < 0 ? 0x7777 : 0xffff;
    return step == 0 ? x : _mm512_mask_alignr_epi32(outside, rows & columns, x, x, (16 - step) % 16);
}

static void quantize(const float* const* planes, int channels, int count, float inverse, int zero, std::uint32_t* to) {
    const Floats factor = floats(inverse), shift_by = floats(float(zero));
    for (int i = 0; i < count; i += 16) {
        const __mmask16 lanes = count - i >= 16 ? 0xffff : __mmask16((1 << (count - i)) - 1);
        Sums pixel = no_sums();
        for (int c = 0; c < 4; ++c) {
            Sums value = broadcast(zero);
            if (c < channels) {
                const Floats x = _mm512_maskz_loadu_ps(lanes, planes[c] + i);
                const Floats near = _mm512_min_ps(_mm512_fmadd_ps(x, factor, shift_by), floats(255.0f));
                value = _mm512_max_epi32(_mm512_cvtps_epi32(near), no_sums());
            }
            pixel = _mm512_or_si512(pixel, _mm512_slli_epi32(value, unsigned(8 * c)));
        }
        _mm512_mask_storeu_epi32(to + i, lanes, pixel);
    }
}

static void maximum(const char* source, const std::uint32_t* offsets, int taps, std::uint16_t valid, std::uint32_t outside,
                    char* to) {
    Sums best = load(source + offsets[0]);
    for (int tap = 1; tap < taps; ++tap) best = _mm512_max_epu8(best, load(source + offsets[tap]));
    _mm512_store_si512(to, _mm512_mask_mov_epi32(_mm512_set1_epi32(std::int32_t(outside)), valid, best));
}

static void sum(const char* from, std::ptrdiff_t stride, int count, const std::uint16_t* valid, std::int32_t sums[4]) {
    const Sums ones = _mm512_set1_epi8(1);
    Sums total = no_sums();  // lane 4 a + c: channel c of four pixels
    for (int i = 0; i < count; ++i)
        dot(total, _mm512_shuffle_epi8(_mm512_maskz_mov_epi32(valid[i], load(from + i * stride)), transposed()), ones);
    const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(total), _mm512_extracti64x4_epi64(total, 1));
    auto* to = reinterpret_cast<__m128i*>(sums);
    const __m128i quarter = _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    _mm_storeu_si128(to, _mm_add_epi32(_mm_loadu_si128(to), quarter));
}

static float product(const float* a, const float* b, int count) {
    Floats total = floats(0.0f);
    for (int i = 0; i < count; i += 16) {
        const __mmask16 lanes = count - i >= 16 ? 0xffff : __mmask16((1 << (count - i)) - 1);
        total = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(lanes, a + i), _mm512_maskz_loadu_ps(lanes, b + i), total);
    }
    return _mm512_reduce_add_ps(total);
}

}  // namespace downshift::int8::DOWNSHIFT_ISA
