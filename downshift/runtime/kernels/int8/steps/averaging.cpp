// Averages that stay quantised: over windows, and over whole maps.
#include <algorithm>
#include <cmath>

#include "channel_sums.hpp"
#include "window_step.hpp"

namespace downshift::int8 {
namespace {

class AverageStep final : public WindowStep {
public:
    AverageStep(const Target& target, const AveragePool& pool)
        : WindowStep(target, pool.input, pool.output, pool.window, pool.count_padding ? target.tensor(pool.input).zero : 0) {
        const Map& input = target.tensor(pool.input).map;
        const Window& window = pool.window;
        // Pixels of a window along one axis that count.
        const auto count = [&](int at, int before, int kernel, int length) {
            if (pool.count_padding) return kernel;
            const int first = at * window.stride - before;
            return std::max(1, std::min(first + kernel, length) - std::max(first, 0));
        };
        for (int y = 0; y < output_.block_height(); ++y)
            for (int x = 0; x < output_.block_width(); ++x)
                for (int lane = 0; lane < lanes; ++lane) {
                    const int row = lane / side * output_.block_height() + y, column = lane % side * output_.block_width() + x;
                    const int rows = count(row, window.top, window.height, input.height);
                    shares_.push_back(1.0f / float(rows * count(column, window.left, window.width, input.width)));
                }
    }

    void run(Workspace& space, int y, Scratch& scratch) const override {
        each_vector(space, y, scratch, [&](std::size_t vector, const char* source, char* to) {
            isa_.average(source, taps_.data(), int(taps_.size()), shares_.data() + vector * lanes, valid_[vector], outside_, to);
        });
    }

private:
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
            const auto sums = channel_sums(isa_, map_, home, valid_, group);
            char* to = space.homes[std::size_t(to_)].data() + std::size_t(group) * vector_bytes;
            std::fill(to, to + vector_bytes, char(zero_));
            for (std::size_t c = 0; c < sums.size(); ++c)
                to[c] = char(std::uint8_t(std::clamp(std::nearbyint(std::fma(float(sums[c]), scale_, bias_)), 0.0f, 255.0f)));
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
