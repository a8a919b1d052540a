#include "planner.hpp"

#include <algorithm>
#include <map>
#include <stdexcept>
#include <tuple>

#include "cache.hpp"
#include "steps.hpp"

namespace downshift {

namespace {

constexpr int farthest_column = 3;          // largest horizontal shift of a kernel, in columns
constexpr int slack_vectors = 32;           // over-read of a tile that ends outside the map: up to V vectors
constexpr double most_waste = 0.35;         // fill-in: largest share of stored zeros at which row blocking pays

int floor_divide(int value, int divisor) {
    return value >= 0 ? value / divisor : -((-value + divisor - 1) / divisor);
}

// The source layout of a convolution.
//   direct      the input's own planes
//   phases      polyphase decomposition for strides: a plane of every stride-th row and column per remainder in use
//   expanded    im2col: one shifted plane per tap; works for any window, at the highest memory traffic
enum class Access { direct, phases, expanded };

struct Reach {
    Access access;
    Layout output;                // of the computation: equals the output tensor's but for its halo
    std::vector<int> dy, dx;      // of every kernel row and column, in source pixels
    std::vector<int> py, px;      // remainders
    int halo = 0;                 // rows the source needs above and below
    int height = 0;               // rows of the source
};

// Whether 16-bit offsets reach every row of a plane that a kernel may need, whatever halo it ends up with.
bool offsets_reach(const Layout& output, int input_height) {
    const int span = (1 << 16) / (output.lanes * 4 / 8);
    const int rows = 2 * largest_kernel;
    if (output.rows == 1) return rows * output.per_row < span;
    return output.rows * (std::max(output.shape.height, input_height) / output.rows + rows + 2) < span;
}

Reach reach_of(const Conv& conv, const Shape& input, const Shape& output, int lanes) {
    const Window& w = conv.window;
    Reach reach;
    reach.output = Layout::of(output, 0, lanes);
    const int pitch = reach.output.pitch;
    bool fits = offsets_reach(reach.output, input.height);
    for (int ky = 0; ky < w.kernel_y; ++ky) {
        reach.dy.push_back(floor_divide(ky - w.top, w.stride_y));
        reach.py.push_back(ky - w.top - reach.dy.back() * w.stride_y);
    }
    for (int kx = 0; kx < w.kernel_x; ++kx) {
        const int dx = floor_divide(kx - w.left, w.stride_x), px = kx - w.left - dx * w.stride_x;
        const int columns = (input.width - px + w.stride_x - 1) / w.stride_x;
        fits &= std::abs(dx) <= farthest_column && std::min(output.width - 1 + dx, columns - 1) < pitch;
        reach.dx.push_back(dx);
        reach.px.push_back(px);
    }
    const bool moves = std::any_of(reach.dx.begin(), reach.dx.end(), [](int dx) { return dx != 0; });
    if (moves && reach.output.per_row > 16) fits = false;
    const int below = std::max(0, reach.dy.back()), above = std::max(0, -reach.dy.front());
    reach.halo = std::max(above, below);
    if (!fits) {
        reach.access = Access::expanded;
        reach.halo = 0;
        reach.height = output.height;
    } else if (w.stride_y == 1 && w.stride_x == 1 && Layout::of(input, 0, lanes).pitch == pitch) {
        reach.access = Access::direct;
        reach.halo = std::max(reach.halo, output.height + below - input.height);
        reach.height = input.height;
    } else {
        reach.access = Access::phases;
        reach.height = output.height + below;
    }
    return reach;
}

Columns columns_of(const Reach& reach) {
    const bool moves = std::any_of(reach.dx.begin(), reach.dx.end(), [](int dx) { return dx != 0; });
    if (!moves || reach.access == Access::expanded) return Columns::none;
    if (reach.output.rows > 1) return reach.output.pitch == 4 ? Columns::pitch4 : Columns::pitch8;
    switch (reach.output.per_row) {
        case 1: return Columns::row1;
        case 2: return Columns::row2;
        case 4: return Columns::row4;
        default: return Columns::rows;
    }
}

bool usable(const ConvEntry& kernel, Columns columns, const Layout& output) {
    return kernel.columns == columns && (columns == Columns::none || kernel.vectors % output.per_row == 0);
}

const ConvEntry* kernel_for(const Isa& isa, Columns columns, const Layout& output, const Tiling& tiling) {
    for (int k = 0; k < isa.conv_count; ++k) {
        const ConvEntry& kernel = isa.convs[k];
        if (kernel.vectors == tiling.vectors && kernel.rows == tiling.rows && usable(kernel, columns, output))
            return &kernel;
    }
    return nullptr;
}

bool rows_fit(const Conv& conv, int rows) {
    return rows == 1 || conv.groups == 1 || int(conv.bias.size()) / conv.groups % rows == 0;
}

// The nonzeros of a convolution for each number of rows, collected when first asked for.
class NonzerosOfRows {
public:
    NonzerosOfRows(const Conv& conv, int input_channels, SourceMap source)
        : conv_(conv), input_channels_(input_channels), source_(std::move(source)) {}

    const Nonzeros& of(int rows) {
        return known_.try_emplace(rows, conv_, input_channels_, source_, rows).first->second;
    }

private:
    const Conv& conv_;
    int input_channels_;
    SourceMap source_;
    std::map<int, Nonzeros> known_;
};

// A source of pixels that several convolutions with the same strides share.
using PhaseKey = std::tuple<int, int, int, int>;  // tensor, strides, pitch

struct PhaseGroup {
    std::vector<std::pair<int, int>> phases;  // remainders (y, x), ascending
    int halo = 0;
    int height = 0;
    int uses = 0;
    Value value;
};

class Planner {
public:
    Planner(const Network& network, const Isa& isa, int threads)
        : network_(network), isa_(isa), threads_(threads), values_(std::size_t(network.tensors())),
          uses_(std::size_t(network.tensors()), 0), halos_(std::size_t(network.tensors()), 0) {
        for (const Operation& operation : network_.operations()) {
            for (int input : inputs_of(operation)) ++uses_[std::size_t(input)];
            if (const Conv* conv = std::get_if<Conv>(&operation)) survey(*conv);
        }
        ++uses_[std::size_t(network_.output())];
        for (int tensor = 0; tensor < network_.tensors(); ++tensor)
            values_[std::size_t(tensor)].layout =
                Layout::of(network_.tensor(tensor).shape, halos_[std::size_t(tensor)], isa.lanes);
    }

    Plan plan(std::vector<Tiling> tilings) {
        if (!tilings.empty() && tilings.size() != reaches_.size())
            throw std::invalid_argument(std::to_string(tilings.size()) + " tilings for " +
                                        std::to_string(reaches_.size()) + " convolutions");
        tilings_ = std::move(tilings);
        value(0).buffer = allocate(value(0).layout);
        add(load_step(isa_, value(0)));
        for (const Operation& operation : network_.operations()) {
            std::visit([&](const auto& op) { add_operation(op); }, operation);
            for (int input : inputs_of(operation)) release(input);
            if (uses_[std::size_t(output_of(operation))] == 0) free_.push_back(value(output_of(operation)));
        }
        add(store_step(value(network_.output())));
        for (std::size_t& floats : plan_.buffer_floats) floats += std::size_t(slack_vectors * isa_.lanes);
        return std::move(plan_);
    }

private:
    Value& value(int tensor) { return values_[std::size_t(tensor)]; }
    void add(std::unique_ptr<Step> step) { plan_.steps.push_back(std::move(step)); }

    PhaseKey key(const Conv& conv, const Reach& reach) const {
        return {conv.input, conv.window.stride_y, conv.window.stride_x, reach.output.pitch};
    }

    // Learns what every convolution needs of its source before any layout is fixed.
    void survey(const Conv& conv) {
        const Reach reach = reach_of(conv, network_.tensor(conv.input).shape, network_.tensor(conv.output).shape, isa_.lanes);
        if (reach.access == Access::direct) {
            int& halo = halos_[std::size_t(conv.input)];
            halo = std::max(halo, reach.halo);
        } else if (reach.access == Access::phases) {
            PhaseGroup& group = groups_[key(conv, reach)];
            for (int py : reach.py)
                for (int px : reach.px) group.phases.emplace_back(py, px);
            std::sort(group.phases.begin(), group.phases.end());
            group.phases.erase(std::unique(group.phases.begin(), group.phases.end()), group.phases.end());
            group.halo = std::max(group.halo, reach.halo);
            group.height = std::max(group.height, reach.height);
            ++group.uses;
        }
        reaches_.push_back(reach);
    }

    // A free buffer in which this map's zeros already are zero, else a new one.
    int allocate(const Layout& layout) {
        for (auto free = free_.begin(); free != free_.end(); ++free)
            if (free->layout.same_map(layout)) {
                const int buffer = free->buffer;
                free_.erase(free);
                grow(buffer, layout);
                return buffer;
            }
        plan_.buffer_floats.push_back(0);
        const int buffer = int(plan_.buffer_floats.size()) - 1;
        grow(buffer, layout);
        return buffer;
    }

    void grow(int buffer, const Layout& layout) {
        std::size_t& floats = plan_.buffer_floats[std::size_t(buffer)];
        floats = std::max(floats, layout.floats());
    }

    void release(int tensor) {
        if (--uses_[std::size_t(tensor)] == 0 && value(tensor).buffer >= 0) free_.push_back(value(tensor));
    }

    // Buffer reuse by liveness: the output takes over a buffer at its last use, or gets a new one.
    void place_output(int output, int dying) {
        if (dying >= 0 && uses_[std::size_t(dying)] == 1 && value(dying).layout.same_map(value(output).layout)) {
            value(output).buffer = value(dying).buffer;
            value(dying).buffer = -1;
        } else {
            value(output).buffer = allocate(value(output).layout);
        }
    }

    SourceMap source_map(const Conv& conv, const Reach& reach, const Layout& source,
                         const std::vector<std::pair<int, int>>& phases) const {
        SourceMap map;
        map.plane = source.plane;
        map.phases = int(phases.size());
        const int taps = conv.window.kernel_y * conv.window.kernel_x;
        if (reach.access == Access::expanded) {
            map.shifts = {0};
            for (int tap = 0; tap < taps; ++tap) map.taps.push_back({tap, source.home(), 0});
            return map;
        }
        for (int dx : reach.dx) map.shifts.push_back(std::int8_t(dx));
        std::sort(map.shifts.begin(), map.shifts.end(), [](int a, int b) { return std::make_pair(a != 0, a) < std::make_pair(b != 0, b); });
        map.shifts.erase(std::unique(map.shifts.begin(), map.shifts.end()), map.shifts.end());
        for (int tap = 0; tap < taps; ++tap) {
            const auto ky = std::size_t(tap / conv.window.kernel_x), kx = std::size_t(tap % conv.window.kernel_x);
            const auto phase = std::find(phases.begin(), phases.end(), std::make_pair(reach.py[ky], reach.px[kx]));
            const auto column = std::find(map.shifts.begin(), map.shifts.end(), reach.dx[kx]);
            map.taps.push_back({int(phase - phases.begin()), source.row_shift(reach.dy[ky]), int(column - map.shifts.begin())});
        }
        return map;
    }

    Value expand(const Conv& conv, const Reach& reach) {
        const Window& w = conv.window;
        std::vector<Phase> taps;
        for (int ky = 0; ky < w.kernel_y; ++ky)
            for (int kx = 0; kx < w.kernel_x; ++kx) taps.push_back({ky - w.top, kx - w.left});
        Shape shape = reach.output.shape;
        shape.channels = network_.tensor(conv.input).shape.channels * int(taps.size());
        Value source{Layout::of(shape, 0, isa_.lanes), -1};
        source.buffer = allocate(source.layout);
        add(rearrange_step(isa_, value(conv.input), source, w.stride_y, w.stride_x, std::move(taps)));
        return source;
    }

    Value& split_phases(const Conv& conv, PhaseGroup& group, const Reach& reach) {
        if (group.value.buffer >= 0) return group.value;
        std::vector<Phase> phases;
        for (auto [py, px] : group.phases) phases.push_back({py, px});
        const int channels = network_.tensor(conv.input).shape.channels * int(phases.size());
        group.value.layout = Layout::of({channels, group.height, reach.output.pitch}, group.halo, isa_.lanes);
        group.value.buffer = allocate(group.value.layout);
        add(rearrange_step(isa_, value(conv.input), group.value, conv.window.stride_y, conv.window.stride_x,
                           std::move(phases)));
        return group.value;
    }

    void add_operation(const Conv& conv) {
        const Reach& reach = reaches_[plan_.convs.size()];
        Value source;
        std::vector<std::pair<int, int>> phases = {{0, 0}};
        PhaseGroup* group = nullptr;
        switch (reach.access) {
            case Access::direct: source = value(conv.input); break;
            case Access::expanded:
                source = expand(conv, reach);
                phases.resize(std::size_t(conv.window.kernel_y) * std::size_t(conv.window.kernel_x));
                break;
            case Access::phases:
                group = &groups_.at(key(conv, reach));
                source = split_phases(conv, *group, reach);
                phases = group->phases;
                break;
        }
        const auto nonzeros = std::make_shared<NonzerosOfRows>(conv, network_.tensor(conv.input).shape.channels,
                                                               source_map(conv, reach, source.layout, phases));
        const Value residual = conv.residual >= 0 ? value(conv.residual) : Value{};
        place_output(conv.output, conv.residual == conv.input ? -1 : conv.residual);
        ConvSite site;
        site.step = plan_.steps.size();
        site.planes = source.layout.shape.channels;
        site.vectors = reach.output.vectors;
        site.moves = columns_of(reach) != Columns::none;
        site.kernels = usual_tilings(conv, reach, site.planes, *nonzeros);
        site.tiling = tilings_.empty() ? site.kernels.front() : tilings_[plan_.convs.size()];
        site.make = [this_isa = &isa_, &conv, nonzeros, source, residual, reach, output = value(conv.output),
                     number = plan_.convs.size()](const Tiling& tiling) {
            const ConvEntry* kernel = kernel_for(*this_isa, columns_of(reach), reach.output, tiling);
            if (!kernel || tiling.block < 1 || tiling.parts < 1 || tiling.parts > 64 || !rows_fit(conv, tiling.rows))
                throw std::invalid_argument("tiling: convolution " + std::to_string(number) + " has no " +
                                            this_isa->name + " kernel for " + std::to_string(tiling.vectors) +
                                            " vectors and " + std::to_string(tiling.rows) + " rows");
            return conv_step(*kernel, pack(nonzeros->of(tiling.rows), tiling, this_isa->lanes, kernel->run_steps), tiling, source, output,
                             conv.residual >= 0 ? &residual : nullptr, int(conv.bias.size()), conv.activation);
        };
        add(site.make(site.tiling));
        plan_.convs.push_back(std::move(site));
        if (reach.access == Access::expanded || (group && --group->uses == 0)) free_.push_back(source);
    }

    void add_operation(const Linear& op) {
        place_output(op.output, -1);
        add(linear_step(isa_, op, value(op.input), value(op.output), threads_));
    }

    void add_operation(const struct Pool& op) {
        place_output(op.output, -1);
        add(pool_step(isa_, op, value(op.input), value(op.output)));
    }

    void add_operation(const GlobalAverage& op) {
        place_output(op.output, -1);
        add(global_average_step(isa_, value(op.input), value(op.output)));
    }

    void add_operation(const Combine& op) {
        const Value input = value(op.input);
        const Value addend = op.addend >= 0 ? value(op.addend) : Value{};
        const Value factor = op.factor >= 0 ? value(op.factor) : Value{};
        place_output(op.output, op.factor == op.input ? -1 : op.input);
        add(combine_step(isa_, op, input, op.addend >= 0 ? &addend : nullptr, op.factor >= 0 ? &factor : nullptr,
                         value(op.output)));
    }

    void add_operation(const Place& op) {
        place_output(op.output, -1);
        std::vector<Value> inputs;
        for (const Piece& piece : op.pieces) inputs.push_back(value(piece.input));
        add(place_step(isa_, op, std::move(inputs), value(op.output)));
    }

    void add_operation(const Flatten& op) {
        place_output(op.output, -1);
        add(flatten_step(value(op.input), value(op.output)));
    }

    // Cost model: cycles per multiply-add of a vector when V vectors share a weight (measured in L1), times the padding
    // of the last tile.
    static double cost(int vectors, const Layout& output) {
        const double cycles = 0.6 + 0.7 / vectors;
        const int tiles = (output.vectors + vectors - 1) / vectors;
        return cycles * tiles * vectors / output.vectors;
    }

    int block_for(const Reach& reach, int planes, int vectors) const {
        const int rows_between = reach.dy.back() - reach.dy.front();
        const int touched = reach.output.rows > 1 ? vectors * std::min(reach.output.rows, rows_between + 1)
                                                  : vectors + rows_between * reach.output.per_row;
        const int most = std::max(1, int(l1_pixel_bytes()) / (touched * isa_.lanes * 4));
        const int blocks = (planes + most - 1) / most;
        return (planes + blocks - 1) / blocks;
    }

    int parts_for(const Reach& reach, int vectors) const {
        const int tiles = (reach.output.vectors + vectors - 1) / vectors;
        if (threads_ == 1) return 1;
        return std::clamp((2 * threads_ + tiles - 1) / tiles, 1, 16);
    }

    Tiling usual_tiling(const Reach& reach, int planes, int vectors, int rows) const {
        Tiling tiling;
        tiling.vectors = vectors;
        tiling.rows = rows;
        tiling.block = block_for(reach, planes, vectors);
        tiling.split = vectors == 1 && columns_of(reach) != Columns::none;
        tiling.parts = parts_for(reach, vectors);
        return tiling;
    }

    // One for every kernel that fits, most promising first.
    std::vector<Tiling> usual_tilings(const Conv& conv, const Reach& reach, int planes, NonzerosOfRows& nonzeros) const {
        const bool several = rows_fit(conv, 4) && conv.bias.size() >= 4 && nonzeros.of(4).wasted() < most_waste;
        const auto expected = [&](const ConvEntry& kernel) {
            const bool spills = kernel.vectors * (kernel.rows == 1 ? 1 : 2) > (isa_.lanes == 16 ? 8 : 4);
            return cost(kernel.vectors, reach.output) * (spills ? 1.5 : 1.0) * (kernel.rows == 1 && several ? 2.0 : 1.0);
        };
        std::vector<const ConvEntry*> kernels;
        for (int k = 0; k < isa_.conv_count; ++k)
            if (usable(isa_.convs[k], columns_of(reach), reach.output) && (isa_.convs[k].rows == 1 || several))
                kernels.push_back(&isa_.convs[k]);
        if (kernels.empty())
            throw std::invalid_argument("convolution: no kernel for rows of " + std::to_string(reach.output.per_row) +
                                        " vectors");
        std::stable_sort(kernels.begin(), kernels.end(), [&](const ConvEntry* a, const ConvEntry* b) {
            return expected(*a) < expected(*b);
        });
        std::vector<Tiling> tilings;
        for (const ConvEntry* kernel : kernels)
            tilings.push_back(usual_tiling(reach, planes, kernel->vectors, kernel->rows));
        return tilings;
    }

    const Network& network_;
    const Isa& isa_;
    int threads_;
    std::vector<Value> values_;
    std::vector<int> uses_;
    std::vector<int> halos_;
    std::vector<Reach> reaches_;  // of every convolution
    std::map<PhaseKey, PhaseGroup> groups_;
    std::vector<Value> free_;
    std::vector<Tiling> tilings_;
    Plan plan_;
};

}  // namespace

Plan make_plan(const Network& network, const Isa& isa, int threads, std::vector<Tiling> tilings) {
    return Planner(network, isa, threads).plan(std::move(tilings));
}

}  // namespace downshift
