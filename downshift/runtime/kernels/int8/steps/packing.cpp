#include "packing.hpp"

namespace downshift::int8 {
namespace {

constexpr std::size_t offset_unit = 8;

// Blocks of four input channels by output channel, input group and tap.
class Blocks {
public:
    Blocks(const Conv& conv, const Map& input, const Map& output)
        : conv_(conv), inputs_(input.channels), outputs_(output.channels), taps_(conv.window.height * conv.window.width) {}

    int taps() const { return taps_; }

    // The four weights, a byte each; 0 when all are.
    std::int32_t at(int channel, int group, int tap) const {
        std::uint32_t word = 0;
        for (int i = 0; i < 4 && channel < outputs_ && group * 4 + i < inputs_; ++i) {
            const std::size_t at = (std::size_t(channel) * std::size_t(inputs_) + std::size_t(group * 4 + i)) * std::size_t(taps_) +
                                   std::size_t(tap);
            word |= std::uint32_t(std::uint8_t(conv_.weight[at])) << (8 * i);
        }
        return std::int32_t(word);
    }

private:
    const Conv& conv_;
    int inputs_, outputs_, taps_;
};

bool worth_sharing(const Blocks& blocks, const Map& input, const Map& output) {
    std::size_t separate = 0, together = 0;
    for (int unit = 0; unit < output.groups(); ++unit)
        for (int group = 0; group < input.groups(); ++group)
            for (int tap = 0; tap < blocks.taps(); ++tap) {
                int kept = 0;
                for (int c = 0; c < 4; ++c) kept += blocks.at(unit * 4 + c, group, tap) != 0;
                separate += std::size_t(kept);
                together += kept > 0;
            }
    return 4 * together * 5 <= separate * 6;  // measured: a shared product costs 5/6 of one on its own
}

}  // namespace

bool fits_offsets(const Expansion& expansion, const Map& input, const Window& window) {
    return expansion.offset(input.groups() - 1, window.height - 1, window.width - 1) / offset_unit < 1 << 16;
}

PackedWeights pack(const Conv& conv, const Map& input, const Map& output, const Expansion& expansion) {
    const Blocks blocks(conv, input, output);
    PackedWeights packed;
    packed.rows = worth_sharing(blocks, input, output) ? 4 : 1;
    for (int unit = 0; unit < output.groups(); ++unit) {
        packed.begin.push_back(packed.offsets.size());
        for (int first = 0; first < 4; first += packed.rows) {
            const std::size_t before = packed.offsets.size();
            for (int group = 0; group < input.groups(); ++group)
                for (int tap = 0; tap < blocks.taps(); ++tap) {
                    std::int32_t words[4];
                    bool any = false;
                    for (int r = 0; r < packed.rows; ++r) any |= (words[r] = blocks.at(unit * 4 + first + r, group, tap)) != 0;
                    if (!any) continue;
                    packed.offsets.push_back(
                        std::uint16_t(expansion.offset(group, tap / conv.window.width, tap % conv.window.width) / offset_unit));
                    packed.weights.insert(packed.weights.end(), words, words + packed.rows);
                }
            packed.counts.push_back(std::uint32_t(packed.offsets.size() - before));
        }
    }
    packed.begin.push_back(packed.offsets.size());
    return packed;
}

}  // namespace downshift::int8
