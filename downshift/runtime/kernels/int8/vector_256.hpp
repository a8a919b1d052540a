// Vectors of 16 lanes in two halves of 8: AVX2, and AVX-VNNI where DOWNSHIFT_VNNI.
//
// AVX2 sums pairs of products in 16 bits, which hold 255 * 128 but not more: `find_positions` splits weights so that no pair
// exceeds it, and nothing saturates.
#pragma once
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace downshift::int8::DOWNSHIFT_ISA {

struct Sums {
    __m256i low, high;
};
struct Floats {
    __m256 low, high;
};

inline ALWAYS Sums no_sums() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
inline ALWAYS Sums load(const char* from) {
    const auto* half = reinterpret_cast<const __m256i*>(from);
    return {_mm256_load_si256(half), _mm256_load_si256(half + 1)};
}
inline ALWAYS void store(char* to, Sums value) {
    auto* half = reinterpret_cast<__m256i*>(to);
    _mm256_store_si256(half, value.low);
    _mm256_store_si256(half + 1, value.high);
}
inline ALWAYS Sums broadcast(std::int32_t value) { return {_mm256_set1_epi32(value), _mm256_set1_epi32(value)}; }
// Weights of four positions, and the Kth of them in every lane.
using Four = __m256i;
inline ALWAYS Four four(const std::int32_t* weights) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(weights)));
}
template <int K>
inline ALWAYS Sums splat(Four weights) {
    const __m256i one = _mm256_shuffle_epi32(weights, K * 0x55);
    return {one, one};
}
inline ALWAYS Sums added(Sums a, Sums b) { return {_mm256_add_epi32(a.low, b.low), _mm256_add_epi32(a.high, b.high)}; }
template <int BITS>
inline ALWAYS Sums right(Sums a) { return {_mm256_srli_epi32(a.low, BITS), _mm256_srli_epi32(a.high, BITS)}; }
template <int BITS>
inline ALWAYS Sums left(Sums a) { return {_mm256_slli_epi32(a.low, BITS), _mm256_slli_epi32(a.high, BITS)}; }
// Bits of `a` where MASK has ones, or-ed with `b`.
template <std::uint32_t MASK>
inline ALWAYS Sums blended(Sums a, Sums b) {
    const __m256i mask = _mm256_set1_epi32(std::int32_t(MASK));
    return {_mm256_or_si256(_mm256_and_si256(a.low, mask), b.low), _mm256_or_si256(_mm256_and_si256(a.high, mask), b.high)};
}
inline ALWAYS Floats floats(float value) { return {_mm256_set1_ps(value), _mm256_set1_ps(value)}; }
inline ALWAYS Floats multiply_add(Floats a, Floats b, Floats c) {
    return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
inline ALWAYS Floats to_floats(Sums sums) { return {_mm256_cvtepi32_ps(sums.low), _mm256_cvtepi32_ps(sums.high)}; }

#if defined(DOWNSHIFT_EVEX)
#define DOWNSHIFT_DOT "vpdpbusd %2, %1, %0"
#else
#define DOWNSHIFT_DOT "%{vex%} vpdpbusd %2, %1, %0"
#endif
inline ALWAYS void dot_half(__m256i& sums, __m256i pixels, __m256i weights) {
#if defined(DOWNSHIFT_VNNI)
    asm(DOWNSHIFT_DOT : "+x"(sums) : "x"(pixels), "x"(weights));
#else
    const __m256i pairs = _mm256_maddubs_epi16(pixels, weights);
    sums = _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
#endif
}
#undef DOWNSHIFT_DOT

inline ALWAYS void dot(Sums& sums, Sums pixels, Sums weights) {
    dot_half(sums.low, pixels.low, weights.low);
    dot_half(sums.high, pixels.high, weights.high);
}

template <int C>
inline ALWAYS __m256i byte_of_half(__m256i pixels) {
    const __m256i moved = C == 0 ? pixels : _mm256_srli_epi32(pixels, 8 * C);
    return C == 3 ? moved : _mm256_and_si256(moved, _mm256_set1_epi32(255));
}
template <int C>
inline ALWAYS Sums byte_of(Sums pixels) {
    return {byte_of_half<C>(pixels.low), byte_of_half<C>(pixels.high)};
}

// Swaps the pixels and channels of four lanes: 4 x 4 bytes.
inline ALWAYS __m256i transposed(__m256i bytes) {
    const __m128i order = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return _mm256_shuffle_epi8(bytes, _mm256_broadcastsi128_si256(order));
}

// All bits of the lanes that are set in the low 8 bits of `valid`.
inline ALWAYS __m256i lanes_of(int valid) {
    const __m256i bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    return _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(valid), bits), bits);
}
inline ALWAYS Sums kept(Sums bytes, std::uint16_t valid, Sums outside) {
    return {_mm256_blendv_epi8(outside.low, bytes.low, lanes_of(valid)),
            _mm256_blendv_epi8(outside.high, bytes.high, lanes_of(valid >> 8))};
}

// Collects the four channels of a vector of pixels.
struct Packer {
    Sums even, low;
    template <int C>
    inline ALWAYS void put(Floats value) {
        const Sums rounded = {_mm256_cvtps_epi32(value.low), _mm256_cvtps_epi32(value.high)};
        if constexpr (C % 2 == 0) even = rounded;
        if constexpr (C == 1) low = words(even, rounded);
        if constexpr (C == 3) {
            const Sums high = words(even, rounded);
            even = {_mm256_packus_epi16(low.low, high.low), _mm256_packus_epi16(low.high, high.high)};
        }
    }
    inline ALWAYS void store(char* to, std::uint16_t valid, std::uint32_t outside) const {
        const Sums bytes = {transposed(even.low), transposed(even.high)};
        DOWNSHIFT_ISA::store(to, valid == 0xffff ? bytes : kept(bytes, valid, broadcast(std::int32_t(outside))));
    }

private:
    static inline ALWAYS Sums words(Sums a, Sums b) { return {_mm256_packs_epi32(a.low, b.low), _mm256_packs_epi32(a.high, b.high)}; }
};

static void gather(const char* from, const std::int32_t* table, std::uint32_t outside, char* to, int count) {
    const __m256i fill = _mm256_set1_epi32(std::int32_t(outside)), none = _mm256_set1_epi32(-1);
    for (int i = 0; i < count * 2; ++i) {
        const __m256i at = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(table) + i);
        const __m256i pixels = _mm256_mask_i32gather_epi32(fill, reinterpret_cast<const int*>(from), at, _mm256_cmpgt_epi32(at, none), 1);
        _mm256_store_si256(reinterpret_cast<__m256i*>(to) + i, pixels);
    }
}

template <int DX>
inline ALWAYS __m256i sideways(__m256i x, __m256i outside) {
    if constexpr (DX > 0) return _mm256_blend_epi32(_mm256_slli_si256(x, 4), outside, 0x11);
    if constexpr (DX < 0) return _mm256_blend_epi32(_mm256_srli_si256(x, 4), outside, 0x88);
    return x;
}

// Lanes moved down DY and right DX blocks, `outside` entering.
template <int DY, int DX>
inline ALWAYS Sums moved(Sums x, Sums outside) {
    if constexpr (DY > 0)
        x = {_mm256_permute2x128_si256(x.low, outside.low, 0x02), _mm256_permute2x128_si256(x.low, x.high, 0x21)};
    if constexpr (DY < 0)
        x = {_mm256_permute2x128_si256(x.low, x.high, 0x21), _mm256_permute2x128_si256(x.high, outside.high, 0x21)};
    return {sideways<DX>(x.low, outside.low), sideways<DX>(x.high, outside.high)};
}

static void quantize(const float* const* planes, int channels, int count, float inverse, int zero, std::uint32_t* to) {
    const __m256 factor = _mm256_set1_ps(inverse), shift_by = _mm256_set1_ps(float(zero));
    for (int i = 0; i < count; i += 8) {
        const int left = count - i < 8 ? count - i : 8;
        __m256i pixel = _mm256_setzero_si256();
        for (int c = 0; c < 4; ++c) {
            __m256i value = _mm256_set1_epi32(zero);
            if (c < channels) {
                float row[8] = {};
                __builtin_memcpy(row, planes[c] + i, std::size_t(left) * 4);
                const __m256 near = _mm256_min_ps(_mm256_fmadd_ps(_mm256_loadu_ps(row), factor, shift_by), _mm256_set1_ps(255.0f));
                value = _mm256_max_epi32(_mm256_cvtps_epi32(near), _mm256_setzero_si256());
            }
            pixel = _mm256_or_si256(pixel, _mm256_slli_epi32(value, 8 * c));
        }
        std::uint32_t pixels[8];
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(pixels), pixel);
        __builtin_memcpy(to + i, pixels, std::size_t(left) * 4);
    }
}

static void maximum(const char* source, const std::uint32_t* offsets, int taps, std::uint16_t valid, std::uint32_t outside,
                    char* to) {
    Sums best = load(source + offsets[0]);
    for (int tap = 1; tap < taps; ++tap) {
        const Sums pixels = load(source + offsets[tap]);
        best = {_mm256_max_epu8(best.low, pixels.low), _mm256_max_epu8(best.high, pixels.high)};
    }
    store(to, kept(best, valid, broadcast(std::int32_t(outside))));
}

static void sum(const char* from, std::ptrdiff_t stride, int count, const std::uint16_t* valid, std::int32_t sums[4]) {
    const __m256i ones = _mm256_set1_epi8(1);
    __m256i total = _mm256_setzero_si256();  // lane 4 a + c: channel c of four pixels
    for (int i = 0; i < count; ++i) {
        const Sums pixels = kept(load(from + i * stride), valid[i], no_sums());
        dot_half(total, transposed(pixels.low), ones);
        dot_half(total, transposed(pixels.high), ones);
    }
    auto* to = reinterpret_cast<__m128i*>(sums);
    const __m128i quarter = _mm_add_epi32(_mm256_castsi256_si128(total), _mm256_extracti128_si256(total, 1));
    _mm_storeu_si128(to, _mm_add_epi32(_mm_loadu_si128(to), quarter));
}

static float product(const float* a, const float* b, int count) {
    __m256 total = _mm256_setzero_ps();
    int i = 0;
    for (; i + 8 <= count; i += 8) total = _mm256_fmadd_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i), total);
    float sums[8], result = 0.0f;
    _mm256_storeu_ps(sums, total);
    for (; i < count; ++i) result += a[i] * b[i];
    for (const float sum : sums) result += sum;
    return result;
}

}  // namespace downshift::int8::DOWNSHIFT_ISA
