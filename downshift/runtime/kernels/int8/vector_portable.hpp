// Vectors of 16 lanes: the compiler's vector extensions.
#pragma once
#include <cstddef>
#include <cstdint>

namespace downshift::int8::DOWNSHIFT_ISA {

typedef std::int32_t Sums __attribute__((vector_size(vector_bytes)));
typedef float Floats __attribute__((vector_size(vector_bytes)));
typedef std::uint32_t Bits __attribute__((vector_size(vector_bytes)));

inline ALWAYS Sums no_sums() { return Sums{}; }
inline ALWAYS Sums load(const char* from) { return *reinterpret_cast<const Sums*>(from); }
inline ALWAYS void store(char* to, Sums value) { *reinterpret_cast<Sums*>(to) = value; }
inline ALWAYS Sums broadcast(std::int32_t value) { return Sums{} + value; }
struct Four {
    const std::int32_t* weights;
};
inline ALWAYS Four four(const std::int32_t* weights) { return {weights}; }
template <int K>
inline ALWAYS Sums splat(Four weights) { return broadcast(weights.weights[K]); }
inline ALWAYS Sums added(Sums a, Sums b) { return a + b; }
template <int BITS>
inline ALWAYS Sums right(Sums a) { return Sums(Bits(a) >> BITS); }
template <int BITS>
inline ALWAYS Sums left(Sums a) { return Sums(Bits(a) << BITS); }
template <std::uint32_t MASK>
inline ALWAYS Sums blended(Sums a, Sums b) { return Sums((Bits(a) & MASK) | Bits(b)); }
inline ALWAYS Floats floats(float value) { return Floats{} + value; }
inline ALWAYS Floats multiply_add(Floats a, Floats b, Floats c) {
    Floats result;
    for (int lane = 0; lane < lanes; ++lane) result[lane] = __builtin_fmaf(a[lane], b[lane], c[lane]);
    return result;
}
inline ALWAYS Floats to_floats(Sums sums) { return __builtin_convertvector(sums, Floats); }
template <int C>
inline ALWAYS Sums byte_of(Sums pixels) {
    return Sums((Bits(pixels) >> (8 * C)) & 255u);
}
inline ALWAYS void dot(Sums& sums, Sums pixels, Sums weights) {
    sums += byte_of<0>(pixels) * ((weights << 24) >> 24) + byte_of<1>(pixels) * ((weights << 16) >> 24) +
            byte_of<2>(pixels) * ((weights << 8) >> 24) + byte_of<3>(pixels) * (weights >> 24);
}

inline ALWAYS std::int32_t rounded(float value) {
    // Beyond a byte either way every value saturates alike, and inside it the conversion is defined. NaN, which only an
    // image can hold, counts as large: so does the minimum with 255 of the other instruction sets.
    const float kept = !(value < 256.0f) ? 256.0f : value < -1.0f ? -1.0f : value;
    const std::int32_t whole = std::int32_t(__builtin_nearbyintf(kept));
    return whole < 0 ? 0 : whole > 255 ? 255 : whole;
}

struct Packer {
    Bits pixels = {};
    template <int C>
    inline ALWAYS void put(Floats value) {
        for (int lane = 0; lane < lanes; ++lane) pixels[lane] |= std::uint32_t(rounded(value[lane])) << (8 * C);
    }
    inline ALWAYS void store(char* to, std::uint16_t valid, std::uint32_t outside) const {
        std::uint32_t* pixels_to = reinterpret_cast<std::uint32_t*>(to);
        for (int lane = 0; lane < lanes; ++lane) pixels_to[lane] = valid >> lane & 1 ? pixels[lane] : outside;
    }
};

static void gather(const char* from, const std::int32_t* table, std::uint32_t outside, char* to, int count) {
    std::uint32_t* pixels_to = reinterpret_cast<std::uint32_t*>(to);
    for (int i = 0; i < count * lanes; ++i)
        pixels_to[i] = table[i] < 0 ? outside : *reinterpret_cast<const std::uint32_t*>(from + table[i]);
}

template <int DY, int DX>
inline ALWAYS Sums moved(Sums x, Sums outside) {
    Sums result;
    for (int lane = 0; lane < lanes; ++lane) {
        const int a = lane / 4 - DY, b = lane % 4 - DX;
        result[lane] = a < 0 || a > 3 || b < 0 || b > 3 ? outside[lane] : x[a * 4 + b];
    }
    return result;
}

static void quantize(const float* const* planes, int channels, int count, float inverse, int zero, std::uint32_t* to) {
    for (int i = 0; i < count; ++i) {
        std::uint32_t pixel = 0;
        for (int c = 0; c < 4; ++c) {
            const std::int32_t value = c < channels ? rounded(__builtin_fmaf(planes[c][i], inverse, float(zero))) : zero;
            pixel |= std::uint32_t(value) << (8 * c);
        }
        to[i] = pixel;
    }
}

static void maximum(const char* source, const std::uint32_t* offsets, int taps, std::uint16_t valid, std::uint32_t outside,
                    char* to) {
    for (int lane = 0; lane < lanes; ++lane)
        for (int c = 0; c < 4; ++c) {
            std::uint8_t best = 0;
            for (int tap = 0; tap < taps; ++tap) {
                const std::uint8_t value = std::uint8_t(source[offsets[tap] + std::uint32_t(lane * 4 + c)]);
                best = value > best ? value : best;
            }
            to[lane * 4 + c] = char(valid >> lane & 1 ? best : outside >> (8 * c) & 255);
        }
}

static void sum(const char* from, std::ptrdiff_t stride, int count, const std::uint16_t* valid, std::int32_t sums[4]) {
    for (int i = 0; i < count; ++i)
        for (int lane = 0; lane < lanes; ++lane)
            for (int c = 0; c < 4; ++c)
                if (valid[i] >> lane & 1) sums[c] += std::uint8_t(from[i * stride + lane * 4 + c]);
}

static float product(const float* a, const float* b, int count) {
    float sums[lanes] = {}, total = 0.0f;
    int i = 0;
    for (; i + lanes <= count; i += lanes)
        for (int lane = 0; lane < lanes; ++lane) sums[lane] += a[i + lane] * b[i + lane];
    for (; i < count; ++i) total += a[i] * b[i];
    for (const float sum : sums) total += sum;
    return total;
}

}  // namespace downshift::int8::DOWNSHIFT_ISA
