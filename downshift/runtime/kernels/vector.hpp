// Vectors of one instruction set: arithmetic comes from the compiler's vector extension, and only what it writes
// badly is spelled out. Included once per instruction set, inside its own namespace.
#pragma once
#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace downshift::DOWNSHIFT_ISA {

constexpr int lanes = DOWNSHIFT_LANES;
constexpr int vector_bytes = lanes * 4;

typedef float Vec __attribute__((vector_size(vector_bytes), may_alias));
typedef float LooseVec __attribute__((vector_size(vector_bytes), aligned(4), may_alias));
typedef std::int32_t IntVec __attribute__((vector_size(vector_bytes), may_alias));

#define DOWNSHIFT_INLINE static inline __attribute__((always_inline))

DOWNSHIFT_INLINE Vec splat(float value) { return value - Vec{}; }
DOWNSHIFT_INLINE Vec load(const float* at) { return *reinterpret_cast<const Vec*>(at); }
DOWNSHIFT_INLINE void store(float* at, Vec value) { *reinterpret_cast<Vec*>(at) = value; }
DOWNSHIFT_INLINE void store_loose(float* at, Vec value) { *reinterpret_cast<LooseVec*>(at) = value; }
DOWNSHIFT_INLINE Vec larger(Vec a, Vec b) { return a > b ? a : b; }
DOWNSHIFT_INLINE Vec smaller(Vec a, Vec b) { return a < b ? a : b; }

template <int... I>
struct Indices {};
template <int N, int... I>
struct IndicesTo : IndicesTo<N - 1, N - 1, I...> {};
template <int... I>
struct IndicesTo<0, I...> {
    using type = Indices<I...>;
};
using Lanes = IndicesTo<lanes>::type;

// Lanes DX .. DX + lanes - 1 of `low` followed by `high`, 0 <= DX <= lanes.
template <int DX, int... I>
DOWNSHIFT_INLINE Vec concatenated(Vec low, Vec high, Indices<I...>) {
    return __builtin_shufflevector(low, high, (I + DX)...);
}

// Every row of PITCH lanes moved DX columns to the left, zeros shifted in.
template <int PITCH, int DX, int... I>
DOWNSHIFT_INLINE Vec moved_in_rows(Vec value, Indices<I...>) {
    return __builtin_shufflevector(
        value, Vec{}, (I % PITCH + DX >= 0 && I % PITCH + DX < PITCH ? I + DX : lanes + I)...);
}

#if defined(__AVX512F__)

DOWNSHIFT_INLINE Vec masked(Vec value, std::uint16_t mask) { return _mm512_maskz_mov_ps(mask, value); }

// Four neighbouring weights; weight<K>() in every lane.
struct Quad {
    __m512 four;
    DOWNSHIFT_INLINE Quad at(const float* weights) {
        return {_mm512_broadcast_f32x4(_mm_loadu_ps(weights))};
    }
    template <int K>
    __attribute__((always_inline)) Vec weight() const {
        return _mm512_permute_ps(four, K * 0x55);
    }
};

#else

template <int... I>
DOWNSHIFT_INLINE IntVec lane_bits(Indices<I...>) {
    return IntVec{(1 << I)...};
}

DOWNSHIFT_INLINE Vec masked(Vec value, std::uint16_t mask) {
    const IntVec kept = (lane_bits(Lanes{}) & std::int32_t(mask)) != 0;
    return reinterpret_cast<Vec>(reinterpret_cast<IntVec>(value) & kept);
}

#if defined(__AVX2__)

struct Quad {
    __m256 four;
    DOWNSHIFT_INLINE Quad at(const float* weights) {
        return {_mm256_broadcast_ps(reinterpret_cast<const __m128*>(weights))};
    }
    template <int K>
    __attribute__((always_inline)) Vec weight() const {
        return _mm256_permute_ps(four, K * 0x55);
    }
};

#else

struct Quad {
    const float* four;
    DOWNSHIFT_INLINE Quad at(const float* weights) { return {weights}; }
    template <int K>
    __attribute__((always_inline)) Vec weight() const {
        return splat(four[K]);
    }
};

#endif
#endif

DOWNSHIFT_INLINE Vec clamped(Vec x, float low, float high) { return smaller(larger(x, splat(low)), splat(high)); }

// e^x to 2 units in the last place for x in [-87, 88], clamped outside: 2^n times a polynomial on [-ln2/2, ln2/2].
DOWNSHIFT_INLINE Vec exponential(Vec x) {
    x = clamped(x, -87.0f, 88.0f);
    const Vec round = splat(12582912.0f);  // 1.5 * 2^23: adding and subtracting it rounds to an integer
    const Vec shifted = x * splat(1.44269504f) + round;
    const Vec n = shifted - round;
    const Vec r = x - n * splat(0.693359375f) + n * splat(2.12194440e-4f);
    Vec p = splat(1.0f / 5040) * r + splat(1.0f / 720);
    p = p * r + splat(1.0f / 120);
    p = p * r + splat(1.0f / 24);
    p = p * r + splat(1.0f / 6);
    p = p * r + splat(0.5f);
    p = p * r + splat(1.0f);
    p = p * r + splat(1.0f);
    const IntVec exponent = reinterpret_cast<IntVec>(shifted) << 23;  // the low bits of `shifted` hold n
    return reinterpret_cast<Vec>(reinterpret_cast<IntVec>(p) + exponent);
}

DOWNSHIFT_INLINE Vec sigmoid(Vec x) { return splat(1.0f) / (splat(1.0f) + exponential(-x)); }
DOWNSHIFT_INLINE Vec hard_sigmoid(Vec x) { return clamped(x * splat(1.0f / 6) + splat(0.5f), 0.0f, 1.0f); }

DOWNSHIFT_INLINE Vec activated(Vec x, Activation activation) {
    switch (activation) {
        case Activation::none: return x;
        case Activation::relu: return larger(x, Vec{});
        case Activation::relu6: return clamped(x, 0.0f, 6.0f);
        case Activation::silu: return x * sigmoid(x);
        case Activation::hard_swish: return x * hard_sigmoid(x);
        case Activation::hard_sigmoid: return hard_sigmoid(x);
        case Activation::sigmoid: return sigmoid(x);
    }
    return x;
}

}  // namespace downshift::DOWNSHIFT_ISA
