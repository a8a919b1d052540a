#include <algorithm>

#include "packing.hpp"
#include "source.hpp"

namespace downshift::int8 {
namespace {

class Convolution final : public Step {
public:
    Convolution(const Target& target, const Conv& conv)
        : window_(conv.window),
          output_(target.tensor(conv.output).map),
          source_(target.isa, target.tensor(conv.input).map, target.tensor(conv.input).zero, output_, window_),
          packed_(pack(conv, target.tensor(conv.input).map, output_, source_.expansion())),
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
        tile(target.isa);
        const int tiles = int(tiles_.size());
        share_out(target.threads == 1 ? 1 : std::max(1, (4 * target.threads + tiles - 1) / tiles));
    }

    int items() const override { return int(tiles_.size() * parts_.size()); }

    std::size_t bytes() const override { return packed_.bytes() + (scale_.size() + bias_.size()) * 4; }

    ScratchNeed scratch() const override { return source_.scratch(); }

    void run(Workspace& space, int item, Scratch& scratch) const override {
        const Tile& tile = tiles_[std::size_t(item) / parts_.size()];
        const Part& part = parts_[std::size_t(item) % parts_.size()];
        const Expansion& expansion = source_.expansion();
        const int stride = expansion.stride();
        const int first = tile.y * stride, last = (tile.y + tile.entry->height - 1) * stride + window_.height - 1;
        const char* expanded = source_.rows(space.homes[std::size_t(from_)].data(), space.run, first, last, scratch);
        const std::size_t at = std::size_t(tile.y) * output_.row_bytes() + std::size_t(part.first) * output_.group_bytes() +
                               std::size_t(tile.x) * vector_bytes;
        ConvTask task;
        task.counts = packed_.counts.data() + part.count;
        task.weights = packed_.weights.data() + part.position * std::size_t(packed_.rows);
        task.offsets = packed_.offsets.data() + part.position;
        task.scale = scale_.data() + part.first * 4;
        task.bias = bias_.data() + part.first * 4;
        task.source = expanded + std::size_t(first) * expansion.row_bytes() + std::size_t(tile.x * stride) * vector_bytes;
        task.output = space.homes[std::size_t(to_)].data() + at;
        task.residual = residual_ < 0 ? nullptr : space.homes[std::size_t(residual_)].data() + at;
        task.residual_scale = residual_scale_;
        task.source_row = std::ptrdiff_t(expansion.row_bytes());
        task.output_row = std::ptrdiff_t(output_.row_bytes());
        task.output_group = std::ptrdiff_t(output_.group_bytes());
        task.groups = part.last - part.first;
        task.valid = masks_.empty() ? nullptr : masks_.data() + tile.mask;
        task.outside = outside_;
        tile.entry->run(task);
    }

private:
    // Output vectors that one kernel writes at a time.
    struct Tile {
        const ConvEntry* entry;
        int y, x;
        std::size_t mask;  // of its first vector
    };

    // Groups of output channels.
    struct Part {
        int first, last;
        std::size_t count, position;
    };

    const ConvEntry* entry(const Isa& isa, int height, int width) const {
        for (int e = 0; e < isa.conv_count; ++e) {
            const ConvEntry& one = isa.convs[e];
            if (one.rows == packed_.rows && one.stride == source_.expansion().stride() && one.height == height && one.width == width)
                return &one;
        }
        return nullptr;
    }

    // Two rows at a time or one, and each in the widest pieces there are kernels for.
    void tile(const Isa& isa) {
        const int width = output_.block_width(), most = packed_.rows == 1 ? 8 : 4;
        const int height = output_.block_height() % 2 == 0 && entry(isa, 2, width) ? 2 : 1;
        for (int y = 0; y < output_.block_height(); y += height) {
            for (int x = 0, piece; x < width; x += piece) {
                const int left = width - x, pieces = (left + most - 1) / most;
                piece = (left + pieces - 1) / pieces;
                while (!entry(isa, height, piece)) --piece;
                tiles_.push_back({entry(isa, height, piece), y, x, masks_.size()});
                if (output_.ragged())
                    for (int v = 0; v < height * piece; ++v) masks_.push_back(output_.valid(y + v / piece, x + v % piece));
            }
        }
    }

    // Parts of about equal work: positions, and finishing a group counted as twelve of them.
    void share_out(int wanted) {
        const auto work = [&](int group) {
            return packed_.begin[std::size_t(group)] * std::size_t(packed_.rows) + std::size_t(group) * 12;
        };
        const int groups = output_.groups();
        for (int part = 0, first = 0; first < groups; ++part) {
            int last = first + 1;
            while (last < groups && (part >= wanted - 1 || work(last + 1) * std::size_t(wanted) <= work(groups) * std::size_t(part + 1)))
                ++last;
            parts_.push_back({first, last, std::size_t(first) * std::size_t(4 / packed_.rows), packed_.begin[std::size_t(first)]});
            first = last;
        }
    }

    Window window_;
    Map output_;
    Source source_;
    PackedWeights packed_;
    int from_, to_, residual_;
    float residual_scale_;
    std::uint32_t outside_;
    std::vector<float> scale_, bias_;
    std::vector<Tile> tiles_;
    std::vector<Part> parts_;
    std::vector<std::uint16_t> masks_;
};

}  // namespace

std::unique_ptr<Step> make_convolution(const Target& target, const Conv& conv) {
    return std::make_unique<Convolution>(target, conv);
}

}  // namespace downshift::int8
