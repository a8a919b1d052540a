#include <algorithm>

#include "step.hpp"

namespace downshift::int8 {
namespace {

// Quantises the image into the first tensor, a row of vectors at a time.
class Load final : public Step {
public:
    explicit Load(const Target& target)
        : isa_(target.isa),
          map_(target.tensor(0).map),
          inverse_(1.0f / target.network.scale()),
          zero_(target.tensor(0).zero),
          buffer_(target.buffer(0)) {
        for (int y = 0; y < (map_.ragged() ? map_.block_height() : 1); ++y)
            for (int x = 0; x < map_.block_width(); ++x)
                for (int lane = 0; lane < lanes; ++lane) {
                    const int column = lane % side * map_.block_width() + x;
                    const bool inside = map_.valid(y, x) >> lane & 1;
                    table_.push_back(inside ? (lane / side * map_.width + column) * 4 : -1);
                }
    }

    int items() const override { return map_.block_height(); }

    ScratchNeed scratch() const override { return {std::size_t(side) * std::size_t(map_.width) * 4, 0}; }

    void run(Workspace& space, int y, Scratch& scratch) const override {
        const std::size_t plane = std::size_t(map_.height) * std::size_t(map_.width);
        auto* pixels = reinterpret_cast<std::uint32_t*>(scratch.rows.data());  // four rows, one from each block
        scratch.owner = nullptr;
        for (int group = 0; group < map_.groups(); ++group) {
            for (int a = 0; a < side; ++a) {
                const int row = a * map_.block_height() + y;
                if (row >= map_.height) continue;
                const float* planes[4] = {};
                const int channels = std::min(4, map_.channels - group * 4);
                for (int c = 0; c < channels; ++c)
                    planes[c] = space.image + std::size_t(group * 4 + c) * plane + std::size_t(row) * std::size_t(map_.width);
                isa_.quantize(planes, channels, map_.width, inverse_, zero_, pixels + a * map_.width);
            }
            char* to = space.homes[std::size_t(buffer_)].data() + std::size_t(y) * map_.row_bytes() +
                       std::size_t(group) * map_.group_bytes();
            const std::size_t row = map_.ragged() ? std::size_t(y) * std::size_t(map_.block_width()) * lanes : 0;
            isa_.gather(scratch.rows.data(), table_.data() + row, four_times(zero_), to, map_.block_width());
        }
    }

private:
    const Isa& isa_;
    Map map_;
    float inverse_;
    int zero_, buffer_;
    std::vector<std::int32_t> table_;  // of every lane, the byte among the four rows, or -1 outside; equal rows once
};

}  // namespace

std::unique_ptr<Step> make_load(const Target& target) { return std::make_unique<Load>(target); }

}  // namespace downshift::int8
