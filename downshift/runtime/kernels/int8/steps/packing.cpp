#include "packing.hpp"

#include <stdexcept>

namespace downshift::int8 {
namespace {

constexpr std::size_t finishing = 12;  // what finishing four output channels costs, in products

std::vector<Part> share_out(const Positions& positions, int wanted) {
    const int units = 4 / positions.rows, groups = int(positions.begin.size() - 1) / units;
    const auto work = [&](int group) {
        return positions.begin[std::size_t(group * units)] * std::size_t(positions.rows) + std::size_t(group) * finishing;
    };
    std::vector<Part> parts;
    for (int first = 0; first < groups; first = parts.back().last) {
        int last = first + 1;
        const std::size_t part = parts.size() + 1;
        while (last < groups &&
               (int(part) >= wanted || work(last + 1) * std::size_t(wanted) <= work(groups) * part))
            ++last;
        parts.push_back({first, last, {}});
    }
    return parts;
}

}  // namespace

PackedWeights pack(const Positions& positions, const Expansion& expansion, const Map& input, const Window& window, int parts,
                   int blocks) {
    if (!expansion.fits_offsets()) throw std::logic_error("convolution: its offsets exceed 16 bits");
    PackedWeights packed;
    packed.parts = share_out(positions, parts);
    packed.offsets.reserve(positions.places.size());
    packed.weights.reserve(positions.words.size());
    const int units = 4 / positions.rows;
    std::vector<std::size_t> next(positions.begin.begin(), positions.begin.end() - 1);  // of every unit: what is to be packed
    for (Part& part : packed.parts)
        for (int block = 0; block < blocks; ++block) {
            const int end = input.groups() * (block + 1) / blocks;
            part.starts.push_back({packed.counts.size(), packed.offsets.size()});
            for (auto unit = std::size_t(part.first * units); unit < std::size_t(part.last * units); ++unit) {
                const std::size_t before = packed.offsets.size();
                for (std::size_t& at = next[unit]; at < positions.begin[unit + 1] && positions.places[at].group < end; ++at) {
                    const Positions::Place& place = positions.places[at];
                    packed.offsets.push_back(std::uint16_t(
                        expansion.offset(place.group, place.tap / window.width, place.tap % window.width) / offset_unit));
                    for (int r = 0; r < positions.rows; ++r)
                        packed.weights.push_back(positions.words[at * std::size_t(positions.rows) + std::size_t(r)]);
                }
                packed.counts.push_back(std::uint32_t(packed.offsets.size() - before));
            }
        }
    return packed;
}

}  // namespace downshift::int8
