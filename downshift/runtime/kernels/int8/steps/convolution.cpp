#include <algorithm>
#include <chrono>
#include <limits>

#include "../../cache.hpp"
#include "packing.hpp"
#include "quads.hpp"

namespace downshift::int8 {
namespace {

// How a convolution is cut: tiles of at most `height` x `width` vectors, blocks of input channels.
struct Plan {
    int height, width, blocks;
};

// Pixels: Source or Quads, and `conv` is over the map that it is or makes.
template <class Pixels>
class Convolution final : public Step {
public:
    Convolution(const Target& target, const Conv& conv, const Map& input, Pixels source)
        : isa_(target.isa),
          threads_(target.threads),
          window_(conv.window),
          input_(input),
          output_(target.tensor(conv.output).map),
          source_(std::move(source)),
          positions_(find_positions(conv, input_, output_, target.isa.narrow)),
          rows_(positions_.rows),
          from_(target.buffer(conv.input)),
          to_(target.buffer(conv.output)),
          residual_(conv.residual < 0 ? -1 : target.buffer(conv.residual)),
          residual_scale_(conv.residual_scale),
          outside_(four_times(target.tensor(conv.output).zero)),
          scale_(conv.scale),
          bias_(conv.bias) {
        const auto padded = std::size_t(output_.groups()) * 4;
        scale_.resize(padded, 0.0f);
        bias_.resize(padded, float(target.tensor(conv.output).zero));
        use(plans().front());
    }

    int items() const override { return int(tiles_.size() * packed_.parts.size()); }

    std::size_t bytes() const override { return packed_.bytes() + (scale_.size() + bias_.size()) * 4; }

    ScratchNeed scratch() const override {
        ScratchNeed need = source_.scratch();
        need.sums = rows_ == 1 ? std::size_t(output_.groups()) * 4 * most_vectors * vector_bytes : 0;
        return need;
    }

    void use_plan(int number) override {
        const std::vector<Plan> all = plans();
        use(all[std::size_t(number) % all.size()]);
        positions_ = {};
    }

    // Keeps the fastest plan: the rounds of all plans alternate, and a plan counts by its fastest one.
    void tune(Workspace& space, Scratch& scratch) override {
        constexpr int rounds = 5;
        constexpr double enough = 0.02;  // seconds
        const std::vector<Plan> all = plans();
        if (all.size() > 1) {
            std::vector<double> fastest(all.size(), std::numeric_limits<double>::infinity());
            double spent = 0;
            for (int round = 0; round < rounds && spent < enough; ++round)
                for (std::size_t plan = 0; plan < all.size(); ++plan) {
                    use(all[plan]);
                    for (int again = 0; again < 3; ++again) {
                        const double seconds = timed(space, scratch);
                        fastest[plan] = std::min(fastest[plan], seconds);
                        spent += seconds;
                    }
                }
    use(all[std::size_t(std::min_element(fastest.begin(), fastest.end()) - fastest.begin())]);
        }
        positions_ = {};
    }

    void run(Workspace& space, int item, Scratch& scratch) const override {
        const Tile& tile = tiles_[std::size_t(item) / packed_.parts.size()];
        const Part& part = packed_.parts[std::size_t(item) % packed_.parts.size()];
        const Expansion& expansion = source_.expansion();
        const int stride = expansion.stride();
        const int first = tile.y * stride, last = (tile.y + tile.entry->height - 1) * stride + window_.height - 1;
        const char* row = source_.row(space.homes[std::size_t(from_)].data(), space.run, first, last, scratch);
        const std::size_t at = std::size_t(tile.y) * output_.row_bytes() + std::size_t(part.first) * output_.group_bytes() +
                               std::size_t(tile.x) * vector_bytes;
        ConvTask task;
        task.scale = scale_.data() + part.first * 4;
        task.bias = bias_.data() + part.first * 4;
        task.source = row + std::size_t(tile.x * stride) * vector_bytes;
        task.output = space.homes[std::size_t(to_)].data() + at;
        task.residual = residual_ < 0 ? nullptr : space.homes[std::size_t(residual_)].data() + at;
        task.residual_scale = residual_scale_;
        task.source_row = std::ptrdiff_t(expansion.row_bytes());
        task.output_row = std::ptrdiff_t(output_.row_bytes());
        task.output_group = std::ptrdiff_t(output_.group_bytes());
        task.groups = part.last - part.first;
        task.valid = masks_.empty() ? nullptr : masks_.data() + tile.mask;
        task.outside = outside_;
        for (const Part::Start& start : part.starts) {
            task.counts = packed_.counts.data() + start.unit;
            task.weights = packed_.weights.data() + start.position * std::size_t(rows_);
            task.offsets = packed_.offsets.data() + start.position;
            task.sums_from = &start == &part.starts.front() ? nullptr : scratch.sums.data();
            task.sums_to = &start == &part.starts.back() ? nullptr : scratch.sums.data();
            tile.entry->run(task);
        }
    }

private:
    static constexpr int most_vectors = 8;  // of a tile

    // Output vectors that one kernel writes at a time.
    struct Tile {
        const ConvEntry* entry;
        int y, x;
        std::size_t mask;  // of its first vector
    };

    const ConvEntry* entry(int height, int width) const {
        for (int e = 0; e < isa_.conv_count; ++e) {
            const ConvEntry& one = isa_.convs[e];
            if (one.rows == rows_ && one.stride == source_.expansion().stride() && one.height == height && one.width == width)
                return &one;
        }
        return nullptr;
    }

    // What may be fastest, the likeliest first. A tile whose pixels do not fit the L1 cache can go by blocks of input
    // channels that do, at the price of storing sums between them.
    std::vector<Plan> plans() const {
        std::vector<Plan> found;
        const int width = output_.block_width(), most = isa_.most_vectors[rows_ == 4];
        const auto add = [&](int height, int columns) {
            found.push_back({height, columns, 1});
            const int stride = source_.expansion().stride();
            const std::size_t pixels = std::size_t((height - 1) * stride + window_.height) *
                                       std::size_t((columns - 1) * stride + window_.width) * std::size_t(input_.groups()) * vector_bytes;
            const int blocks = int(std::min<std::size_t>((pixels + room() - 1) / room(), std::size_t(input_.groups())));
            if (rows_ == 1 && blocks > 1) found.push_back({height, columns, blocks});
        };
        if (width > 4 || most <= 4) {
            const int pieces = (width + most - 1) / most;
            add(1, (width + pieces - 1) / pieces);
        }
        if (rows_ == 1 && most > 4) add(1, std::min(width, 4));
        if (Pixels::many_rows && output_.block_height() % 2 == 0 && 2 * width <= most && entry(2, width)) add(2, width);
        return found;
    }

    // Bytes of the L1 cache for pixels; the rest is for weights and sums.
    static std::size_t room() { return l1_data_bytes() * 3 / 4; }

    void use(const Plan& plan) {
        cut(plan);
        const int tiles = int(tiles_.size());
        const int parts = threads_ == 1 ? 1 : std::max(1, (4 * threads_ + tiles - 1) / tiles);
        packed_ = pack(positions_, source_.expansion(), input_, window_, parts, plan.blocks);
    }

    void cut(const Plan& plan) {
        tiles_.clear();
        masks_.clear();
        const int width = output_.block_width();
        for (int y = 0; y < output_.block_height(); y += plan.height)
            for (int x = 0, piece; x < width; x += piece) {
                const int left = width - x, pieces = (left + plan.width - 1) / plan.width;
                piece = (left + pieces - 1) / pieces;
                while (!entry(plan.height, piece)) --piece;
                tiles_.push_back({entry(plan.height, piece), y, x, masks_.size()});
                if (output_.ragged())
                    for (int v = 0; v < plan.height * piece; ++v) masks_.push_back(output_.valid(y + v / piece, x + v % piece));
            }
    }

    double timed(Workspace& space, Scratch& scratch) const {
        const auto begin = std::chrono::steady_clock::now();
        scratch.owner = scratch.quads_owner = nullptr;
        for (int item = 0; item < items(); ++item) run(space, item, scratch);
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    }

    const Isa& isa_;
    int threads_;
    Window window_;
    Map input_, output_;
    Pixels source_;
    Positions positions_;  // until the plan is final
    int rows_;
    int from_, to_, residual_;
    float residual_scale_;
    std::uint32_t outside_;
    std::vector<float> scale_, bias_;
    std::vector<Tile> tiles_;
    PackedWeights packed_;
    std::vector<std::uint16_t> masks_;
};

}  // namespace

std::unique_ptr<Step> make_convolution(const Target& target, const Conv& conv) {
    const Network::Tensor& input = target.tensor(conv.input);
    const Map& output = target.tensor(conv.output).map;
    if (conv.groups == 1 && Quads::suit(input.map, output, conv.window)) {
        Quads quads(target.isa, input.map, input.zero, output, conv.window);
        const Map map = quads.map();
        return std::make_unique<Convolution<Quads>>(target, Quads::over_quads(conv), map, std::move(quads));
    }
    return std::make_unique<Convolution<Source>>(target, conv, input.map,
                                                 Source(target.isa, input.map, input.zero, input.zero, output, conv.window));
}

}  // namespace downshift::int8
