#include "positions.hpp"

#include <algorithm>
#include <cstdlib>

namespace downshift::int8 {
namespace {

// Every word of one output channel, zeros included, by input group and tap.
void read_words(const Conv& conv, const Map& input, int channel, std::vector<std::uint32_t>& words) {
    const auto taps = std::size_t(conv.window.height * conv.window.width);
    words.assign(std::size_t(input.groups()) * taps, 0);
    const int inputs = input.channels / conv.groups, first = channel / (int(conv.scale.size()) / conv.groups) * inputs;
    const std::int8_t* weight = conv.weight.data() + std::size_t(channel) * std::size_t(inputs) * taps;
    for (int i = first; i < first + inputs; ++i)
        for (std::size_t tap = 0; tap < taps; ++tap)
            words[std::size_t(i / 4) * taps + tap] |= std::uint32_t(std::uint8_t(*weight++)) << (8 * (i % 4));
}

// Byte `i` of four weights.
int weight_of(std::uint32_t word, int i) { return std::int8_t(word >> (8 * i)); }

template <class Function>
std::uint32_t word_of(Function weight) {
    std::uint32_t word = 0;
    for (int i = 0; i < 4; ++i) word |= std::uint32_t(std::uint8_t(weight(i))) << (8 * i);
    return word;
}

bool fits_pairs(std::uint32_t word) {
    const auto sum = [&](int i) { return std::abs(weight_of(word, i)) + std::abs(weight_of(word, i + 1)); };
    return std::max(sum(0), sum(2)) * 255 <= 32767;
}

std::uint32_t half(std::uint32_t word) {
    return word_of([&](int i) { return weight_of(word, i) / 2; });
}

std::uint32_t other_half(std::uint32_t word) {
    return word_of([&](int i) { return weight_of(word, i) - weight_of(word, i) / 2; });
}

void append(Positions& positions, const std::vector<std::uint32_t> (&words)[4], int first, int taps, bool narrow) {
    for (std::size_t at = 0; at < words[0].size(); ++at) {
        bool any = false, fits = true;
        for (int r = 0; r < positions.rows; ++r) any |= words[first + r][at] != 0, fits &= fits_pairs(words[first + r][at]);
        if (!any) continue;
        const auto add = [&](auto part) {
            positions.places.push_back({int(at) / taps, int(at) % taps});
            for (int r = 0; r < positions.rows; ++r) positions.words.push_back(std::int32_t(part(words[first + r][at])));
        };
        if (narrow && !fits)
            add(half), add(other_half);
        else
            add([](std::uint32_t word) { return word; });
    }
}

Positions with_rows(const Conv& conv, const Map& input, const Map& output, int rows, bool narrow) {
    Positions positions;
    positions.rows = rows;
    positions.begin.push_back(0);
    std::vector<std::uint32_t> words[4];
    for (int group = 0; group < output.groups(); ++group) {
        for (int c = 0; c < 4; ++c) {
            if (group * 4 + c < output.channels)
                read_words(conv, input, group * 4 + c, words[c]);
            else
                words[c].assign(words[0].size(), 0);
        }
        for (int first = 0; first < 4; first += rows) {
            append(positions, words, first, conv.window.height * conv.window.width, narrow);
            positions.begin.push_back(positions.places.size());
        }
    }
    return positions;
}

}  // namespace

Positions find_positions(const Conv& conv, const Map& input, const Map& output, bool narrow) {
    Positions together = with_rows(conv, input, output, 4, narrow);
    std::size_t separate = 0;
    for (const std::int32_t word : together.words) separate += word != 0;
    // Measured: a shared product costs 5/6 of one on its own.
    if (4 * together.places.size() * 5 <= separate * 6) return together;
    return with_rows(conv, input, output, 1, narrow);
}

}  // namespace downshift::int8
