#include <algorithm>

#include "../../cache.hpp"
#include "packing.hpp"
#include "quads.hpp"

namespace downshift::int8 {
namespace {

// How a convolution is cut: tiles of at most `height` x `width` vectors, blocks of input channels.
struct Plan {
    int height, width, blocks;
};

const ConvEntry* find_entry(const Isa& isa, int rows, int stride, int height, int width) {
    for (int e = 0; e < isa.conv_count; ++e) {
        const ConvEntry& one = isa.convs[e];
        if (one.rows == rows && one.stride == stride && one.height == height && one.width == width) return &one;
    }
    return nullptr;
}

// What may be fastest, the likeliest first. A tile whose pixels do not fit the L1 cache can go by blocks of input channels
// that do, at the price of storing sums between them. `many_rows`: whether a tile may have two.
std::vector<Plan> plans(const Isa& isa, const Conv& conv, const Map& input, const Map& output, int rows, int stride, bool many_rows) {
    std::vector<Plan> found;
    const int width = output.block_width(), most = isa.most_vectors[rows == 4];
    const auto add = [&](int height, int columns) {
        found.push_back({height, columns, 1});
        const std::size_t pixels = std::size_t((height - 1) * stride + conv.window.height) *
                                   std::size_t((columns - 1) * stride + conv.window.width) * std::size_t(input.groups()) * vector_bytes;
        const int blocks = int(std::min<std::size_t>((pixels + l1_pixel_bytes() - 1) / l1_pixel_bytes(), std::size_t(input.groups())));
        if (rows == 1 && blocks > 1) found.push_back({height, columns, blocks});
    };
    constexpr int narrow = 4;  // vectors of a tile that takes its weights by fours
    if (width > narrow || most <= narrow) {
        const int pieces = (width + most - 1) / most;
        add(1, (width + pieces - 1) / pieces);
    }
    if (rows == 1 && most > narrow) add(1, std::min(width, narrow));
    if (many_rows && output.block_height() % 2 == 0 && 2 * width <= most && find_entry(isa, rows, stride, 2, width)) add(2, width);
    return found;
}

// Pixels: Source or Quads, and `conv` is over the map that it is or makes.
template <class Pixels>
class Convolution final : public Step {
public:
    Convolution(const Target& target, const Conv& conv, const Map& input, const Pixels& source, const Positions& positions, const Plan& plan)
        : isa_(target.isa),
          window_(conv.window),
          output_(target.tensor(conv.output).map),
          source_(source),
          rows_(positions.rows),
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
        cut(plan);
        constexpr int items_each = 4;  // at least, for every thread
        const int tiles = int(tiles_.size());
        const int parts = target.threads == 1 ? 1 : std::max(1, (items_each * target.threads + tiles - 1) / tiles);
        packed_ = pack(positions, source_.expansion(), input, window_, parts, plan.blocks);
    }

    int items() const override { return int(tiles_.size() * packed_.parts.size()); }

    std::size_t bytes() const override { return packed_.bytes() + (scale_.size() + bias_.size()) * 4; }

    ScratchNeed scratch() const override {
        ScratchNeed need = source_.scratch();
        need.sums = rows_ == 1 ? std::size_t(output_.groups()) * 4 * most_vectors * vector_bytes : 0;
        return need;
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
        return find_entry(isa_, rows_, source_.expansion().stride(), height, width);
    }

    void cut(const Plan& plan) {
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

    const Isa& isa_;
    Window window_;
    Map output_;
    Pixels source_;
    int rows_;
    int from_, to_, residual_;
    float residual_scale_;
    std::uint32_t outside_;
    std::vector<float> scale_, bias_;
    std::vector<Tile> tiles_;
    PackedWeights packed_;
    std::vector<std::uint16_t> masks_;
};

template <class Pixels>
std::vector<std::unique_ptr<Step>> in_every_plan(const Target& target, const Conv& conv, const Map& input, const Pixels& source) {
    const Map& output = target.tensor(conv.output).map;
    const Positions positions = find_positions(conv, input, output, target.isa.narrow);
    std::vector<std::unique_ptr<Step>> steps;
    for (const Plan& plan : plans(target.isa, conv, input, output, positions.rows, source.expansion().stride(), Pixels::many_rows))
        steps.push_back(std::make_unique<Convolution<Pixels>>(target, conv, input, source, positions, plan));
    return steps;
}

}  // namespace

std::vector<std::unique_ptr<Step>> make_convolutions(const Target& target, const Conv& conv) {
    const Network::Tensor& input = target.tensor(conv.input);
    const Map& output = target.tensor(conv.output).map;
    if (conv.groups == 1 && Quads::suit(input.map, output, conv.window)) {
        const Quads quads(target.isa, input.map, input.zero, output, conv.window);
        return in_every_plan(target, Quads::over_quads(conv), quads.map(), quads);
    }
    return in_every_plan(target, conv, input.map, Source(target.isa, input.map, input.zero, input.zero, output, conv.window));
}

}  // namespace downshift::int8
