// Averages that stay quantised: over windows, and over whole maps.
#include <algorithm>
#include <cmath>

#include "source.hpp"

namespace downshift::int8 {
namespace {

class AverageStep final : public Step {
public:
    AverageStep(const Target& target, const AveragePool& pool)
        : isa_(target.isa),
          output_(target.tensor(pool.output).map),
          window_(pool.window),
          source_(isa_, target.tensor(pool.input).map, target.tensor(pool.input).zero,
                  pool.count_padding ? target.tensor(pool.input).zero : 0, output_, window_),
          from_(target.buffer(pool.input)),
          to_(target.buffer(pool.output)),
          outside_(four_times(target.tensor(pool.output).zero)),
          valid_(target.valid(pool.output)) {
        for (int tap = 0; tap < window_.height * window_.width; ++tap)
            taps_.push_back(std::uint32_t(source_.expansion().offset(0, tap / window_.width, tap % window_.width)));
        const Map& input = target.tensor(pool.input).map;
        // Pixels of a window along one axis that count.
        const auto count = [&](int at, int before, int kernel, int length) {
            if (pool.count_padding) return kernel;
            const int first = at * window_.stride - before;
            return std::max(1, std::min(first + kernel, length) - std::max(first, 0));
        };
        for (int y = 0; y < output_.block_height(); ++y)
            for (int x = 0; x < output_.block_width(); ++x)
                for (int lane = 0; lane < lanes; ++lane) {
                    const int row = lane / side * output_.block_height() + y, column = lane % side * output_.block_width() + x;
                    const int rows = count(row, window_.top, window_.height, input.height);
                    shares_.push_back(1.0f / float(rows * count(column, window_.left, window_.width, input.width)));
                }
    }

    int items() const override { return output_.block_height(); }

    ScratchNeed scratch() const override { return source_.scratch(); }

    void run(Workspace& space, int y, Scratch& scratch) const override {
        const Expansion& expansion = source_.expansion();
        const int first = y * expansion.stride();
        const char* expanded = source_.rows(space.homes[std::size_t(from_)].data(), space.run, first, first + window_.height - 1, scratch);
        for (int group = 0; group < output_.groups(); ++group)
            for (int x = 0; x < output_.block_width(); ++x) {
                const std::size_t vector = std::size_t(y * output_.block_width() + x);
                isa_.average(expanded + std::size_t(first) * expansion.row_bytes() + expansion.offset(group, 0, x * expansion.stride()),
                             taps_.data(), int(taps_.size()), shares_.data() + vector * lanes, valid_[vector], outside_,
                             space.homes[std::size_t(to_)].data() + std::size_t(y) * output_.row_bytes() +
                                 std::size_t(group) * output_.group_bytes() + std::size_t(x) * vector_bytes);
            }
    }

private:
    const Isa& isa_;
    Map output_;
    Window window_;
    Source source_;
    int from_, to_;
    std::uint32_t outside_;
    std::vector<std::uint16_t> valid_;
    std::vector<std::uint32_t> taps_;
    std::vector<float> shares_;  // of every output vector's lanes
};

class MeanMapStep final : public Step {
public:
    MeanMapStep(const Target& target, const MeanMap& mean)
        : isa_(target.isa),
          map_(target.tensor(mean.input).map),
          from_(target.buffer(mean.input)),
          to_(target.buffer(mean.output)),
          zero_(target.tensor(mean.output).zero),
          scale_(mean.scale),
          bias_(mean.bias),
          valid_(target.valid(mean.input)) {}

    int items() const override { return (map_.groups() + groups_each - 1) / groups_each; }

    void run(Workspace& space, int item, Scratch&) const override {
        const char* home = space.homes[std::size_t(from_)].data();
        for (int group = item * groups_each; group < std::min(map_.groups(), (item + 1) * groups_each); ++group) {
            std::int32_t sums[4] = {};
            for (int y = 0; y < map_.block_height(); ++y)
                isa_.sum(home + std::size_t(y) * map_.row_bytes() + std::size_t(group) * map_.group_bytes(), vector_bytes,
                         map_.block_width(), valid_.data() + y * map_.block_width(), sums);
            char* to = space.homes[std::size_t(to_)].data() + std::size_t(group) * vector_bytes;
            std::fill(to, to + vector_bytes, char(zero_));
            for (int c = 0; c < 4; ++c) to[c] = char(std::uint8_t(std::clamp(std::nearbyint(std::fma(float(sums[c]), scale_, bias_)), 0.0f, 255.0f)));
        }
    }

private:
    static constexpr int groups_each = 8;

    const Isa& isa_;
    Map map_;
    int from_, to_, zero_;
    float scale_, bias_;
    std::vector<std::uint16_t> valid_;
};

}  // namespace

std::unique_ptr<Step> make_average(const Target& target, const AveragePool& pool) { return std::make_unique<AverageStep>(target, pool); }

std::unique_ptr<Step> make_mean_map(const Target& target, const MeanMap& mean) { return std::make_unique<MeanMapStep>(target, mean); }

}  // namespace downshift::int8
