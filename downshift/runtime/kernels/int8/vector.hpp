// Vectors of 16 lanes for one instruction set: AVX-512 VNNI by intrinsics, any other by the compiler's vector extensions.
#pragma once
#include <cstddef>
#include <cstdint>

#include "isa.hpp"

#ifdef DOWNSHIFT_VNNI
#include <immintrin.h>
#endif

namespace downshift::int8::DOWNSHIFT_ISA {

#define ALWAYS inline __attribute__((always_inline))

#ifdef DOWNSHIFT_VNNI

using Sums = __m512i;
using Floats = __m512;

ALWAYS Sums no_sums() { return _mm512_setzero_si512(); }
ALWAYS Sums load(const char* from) { return _mm512_load_si512(from); }
ALWAYS Sums broadcast(std::int32_t value) { return _mm512_set1_epi32(value); }
ALWAYS Sums added(Sums a, Sums b) { return _mm512_add_epi32(a, b); }
ALWAYS Floats floats(float value) { return _mm512_set1_ps(value); }
ALWAYS Floats multiply_add(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
ALWAYS Floats to_floats(Sums sums) { return _mm512_cvtepi32_ps(sums); }
// In place: for the intrinsic, gcc 12 copies the accumulators to and fro.
ALWAYS void dot(Sums& sums, Sums pixels, Sums weights) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(pixels), "v"(weights));
}
template <int C>
ALWAYS Sums byte_of(Sums pixels) {
    const Sums moved = C == 0 ? pixels : _mm512_srli_epi32(pixels, 8 * C);
    return C == 3 ? moved : _mm512_and_si512(moved, _mm512_set1_epi32(255));
}

// Collects the four channels of a vector of pixels.
struct Packer {
    Sums even, low;
    template <int C>
    ALWAYS void put(Floats value) {
        const Sums rounded = _mm512_cvtps_epi32(value);
        if constexpr (C % 2 == 0) even = rounded;
        if constexpr (C == 1) low = _mm512_packs_epi32(even, rounded);
        if constexpr (C == 3) even = _mm512_packus_epi16(low, _mm512_packs_epi32(even, rounded));
    }
    ALWAYS void store(char* to, std::uint16_t valid, std::uint32_t outside) const {
        const Sums order = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
        const Sums bytes = _mm512_shuffle_epi8(even, order);
        _mm512_store_si512(to, _mm512_mask_mov_epi32(_mm512_set1_epi32(std::int32_t(outside)), valid, bytes));
    }
};

static void gather(const char* from, const std::int32_t* table, std::uint32_t outside, char* to, int count) {
    const Sums fill = _mm512_set1_epi32(std::int32_t(outside));
    for (int i = 0; i < count; ++i) {
        const Sums at = _mm512_loadu_si512(table + i * 16);
        const __mmask16 inside = _mm512_cmpge_epi32_mask(at, _mm512_setzero_si512());
        _mm512_store_si512(to + i * 64, _mm512_mask_i32gather_epi32(fill, inside, at, from, 1));
    }
}

template <int DY, int DX>
ALWAYS void shifted(const char* from, std::uint32_t outside, char* to, int count) {
    constexpr int step = DY * 4 + DX;
    constexpr __mmask16 rows = DY > 0 ? 0xfff0 : DY < 0 ? 0x0fff : 0xffff, columns = DX > 0 ? 0xeeee : DX < 0 ? 0x7777 : 0xffff;
    const Sums fill = _mm512_set1_epi32(std::int32_t(outside));
    for (int i = 0; i < count; ++i) {
        const Sums x = load(from + i * 64);
        _mm512_store_si512(to + i * 64, _mm512_mask_alignr_epi32(fill, rows & columns, x, x, (16 - step) % 16));
    }
}

static void shift(const char* from, int dy, int dx, std::uint32_t outside, char* to, int count) {
    using Move = void (*)(const char*, std::uint32_t, char*, int);
    static constexpr Move moves[] = {&shifted<-1, -1>, &shifted<-1, 0>, &shifted<-1, 1>, &shifted<0, -1>, &shifted<0, 0>,
                                     &shifted<0, 1>,   &shifted<1, -1>, &shifted<1, 0>,  &shifted<1, 1>};
    moves[(dy + 1) * 3 + dx + 1](from, outside, to, count);
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
    Sums total[4] = {no_sums(), no_sums(), no_sums(), no_sums()};
    for (int i = 0; i < count; ++i) {
        const Sums x = _mm512_maskz_mov_epi32(valid[i], load(from + i * stride));
        total[0] = _mm512_add_epi32(total[0], byte_of<0>(x));
        total[1] = _mm512_add_epi32(total[1], byte_of<1>(x));
        total[2] = _mm512_add_epi32(total[2], byte_of<2>(x));
        total[3] = _mm512_add_epi32(total[3], byte_of<3>(x));
    }
    for (int c = 0; c < 4; ++c) sums[c] += _mm512_reduce_add_epi32(total[c]);
}

#else

typedef std::int32_t Sums __attribute__((vector_size(64)));
typedef float Floats __attribute__((vector_size(64)));
typedef std::uint32_t Bits __attribute__((vector_size(64)));

ALWAYS Sums no_sums() { return Sums{}; }
ALWAYS Sums load(const char* from) { return *reinterpret_cast<const Sums*>(from); }
ALWAYS Sums broadcast(std::int32_t value) { return Sums{} + value; }
ALWAYS Sums added(Sums a, Sums b) { return a + b; }
ALWAYS Floats floats(float value) { return Floats{} + value; }
ALWAYS Floats multiply_add(Floats a, Floats b, Floats c) {
    Floats result;
    for (int lane = 0; lane < 16; ++lane) result[lane] = __builtin_fmaf(a[lane], b[lane], c[lane]);
    return result;
}
ALWAYS Floats to_floats(Sums sums) { return __builtin_convertvector(sums, Floats); }
template <int C>
ALWAYS Sums byte_of(Sums pixels) {
    return Sums((Bits(pixels) >> (8 * C)) & 255u);
}
ALWAYS void dot(Sums& sums, Sums pixels, Sums weights) {
    sums += byte_of<0>(pixels) * ((weights << 24) >> 24) + byte_of<1>(pixels) * ((weights << 16) >> 24) +
            byte_of<2>(pixels) * ((weights << 8) >> 24) + byte_of<3>(pixels) * (weights >> 24);
}

ALWAYS std::int32_t rounded(float value) {
    // Beyond a byte either way every value saturates alike, and inside it the conversion is defined.
    const float kept = !(value > -1.0f) ? -1.0f : value > 256.0f ? 256.0f : value;
    const std::int32_t whole = std::int32_t(__builtin_nearbyintf(kept));
    return whole < 0 ? 0 : whole > 255 ? 255 : whole;
}

struct Packer {
    Bits pixels = {};
    template <int C>
    ALWAYS void put(Floats value) {
        for (int lane = 0; lane < 16; ++lane) pixels[lane] |= std::uint32_t(rounded(value[lane])) << (8 * C);
    }
    ALWAYS void store(char* to, std::uint16_t valid, std::uint32_t outside) const {
        std::uint32_t* lanes = reinterpret_cast<std::uint32_t*>(to);
        for (int lane = 0; lane < 16; ++lane) lanes[lane] = valid >> lane & 1 ? pixels[lane] : outside;
    }
};

static void gather(const char* from, const std::int32_t* table, std::uint32_t outside, char* to, int count) {
    std::uint32_t* lanes = reinterpret_cast<std::uint32_t*>(to);
    for (int i = 0; i < count * 16; ++i)
        lanes[i] = table[i] < 0 ? outside : *reinterpret_cast<const std::uint32_t*>(from + table[i]);
}

static void shift(const char* from, int dy, int dx, std::uint32_t outside, char* to, int count) {
    const std::uint32_t* source = reinterpret_cast<const std::uint32_t*>(from);
    std::uint32_t* lanes = reinterpret_cast<std::uint32_t*>(to);
    for (int i = 0; i < count; ++i)
        for (int lane = 0; lane < 16; ++lane) {
            const int a = lane / 4 - dy, b = lane % 4 - dx;
            lanes[i * 16 + lane] = a < 0 || a > 3 || b < 0 || b > 3 ? outside : source[i * 16 + a * 4 + b];
        }
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
    for (int lane = 0; lane < 16; ++lane)
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
        for (int lane = 0; lane < 16; ++lane)
            for (int c = 0; c < 4; ++c)
                if (valid[i] >> lane & 1) sums[c] += std::uint8_t(from[i * stride + lane * 4 + c]);
}

#endif

#undef ALWAYS

}  // namespace downshift::int8::DOWNSHIFT_ISA
