#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "network.hpp"

namespace downshift::int8 {

std::vector<const Isa*> supported_isas() {
    std::vector<const Isa*> found;
#if defined(DOWNSHIFT_X86)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq"))
        found.push_back(&avx512vnni_isa);
#endif
    found.push_back(&portable_isa);
    return found;
}

namespace {

std::uint32_t four_times(int zero) { return std::uint32_t(zero) * 0x01010101u; }

}  // namespace

// What one example needs while it walks through the network.
struct Program::Workspace {
    const float* image = nullptr;
    float* logits = nullptr;
    std::vector<Aligned<char>> homes;          // by buffer
    std::vector<std::vector<float>> vectors;   // by tensor
    std::uint64_t run = 0;                     // changes with every example
};

// A thread's own memory: the expanded rows it needs, and which step and example they belong to.
struct Scratch {
    Aligned<char> rows;
    std::vector<std::uint64_t> made;
    const void* owner = nullptr;
    std::uint64_t run = 0;
};

struct Program::Step {
    virtual ~Step() = default;
    virtual int items() const = 0;
    virtual void run(Workspace& space, int item, Scratch& scratch) const = 0;
    virtual std::size_t bytes() const { return 0; }
};

namespace {

// The expanded input of a step, row by row as they are asked for.
class Source {
public:
    Source(const Isa& isa, const Map& map, int zero, const Map& output, const Window& window)
        : isa_(isa), map_(map), outside_(four_times(zero)), expansion_(map, output, window) {}

    const Expansion& expansion() const { return expansion_; }

    // The expanded map, of which rows [first, last] are there.
    const char* rows(const char* home, std::uint64_t run, int first, int last, Scratch& scratch) const {
        if (scratch.owner != this || scratch.run != run) {
            scratch.owner = this;
            scratch.run = run;
            std::fill(scratch.made.begin(), scratch.made.end(), 0);
        }
        for (int row = first; row <= last; ++row)
            if (!scratch.made[std::size_t(row)]) {
                scratch.made[std::size_t(row)] = 1;
                make(home, row, scratch.rows.data() + std::size_t(row) * expansion_.row_bytes());
            }
        return scratch.rows.data();
    }

private:
    void make(const char* home, int row, char* to) const {
        const int columns = expansion_.columns();
        if (!expansion_.aligned()) {
            const std::int32_t* table = expansion_.table(row);
            for (int group = 0; group < map_.groups(); ++group, to += std::size_t(columns) * vector_bytes)
                isa_.gather(home + std::size_t(group) * map_.group_bytes(), table, outside_, to, columns);
            return;
        }
        const int width = map_.block_width(), left = expansion_.left(), right = columns - left - width;
        const int down = expansion_.down(row);
        const char* from = home + std::size_t(expansion_.home_row(row)) * map_.row_bytes();
        for (int group = 0; group < map_.groups(); ++group, from += map_.group_bytes()) {
            isa_.shift(from + std::size_t(width - left) * vector_bytes, down, 1, outside_, to, left);
            to += std::size_t(left) * vector_bytes;
            isa_.shift(from, down, 0, outside_, to, width);
            to += std::size_t(width) * vector_bytes;
            isa_.shift(from, down, -1, outside_, to, right);
            to += std::size_t(right) * vector_bytes;
        }
    }

    const Isa& isa_;
    Map map_;
    std::uint32_t outside_;
    Expansion expansion_;
};

}  // namespace

// Quantises the image into the first tensor, a row of vectors at a time.
struct Program::LoadStep final : Program::Step {
    LoadStep(const Isa& isa, const Map& map, float scale, int zero, int buffer)
        : isa(isa), map(map), inverse(1.0f / scale), zero(zero), buffer(buffer) {}

    int items() const override { return map.block_height(); }

    void run(Workspace& space, int y, Scratch& scratch) const override {
        const std::size_t plane = std::size_t(map.height) * std::size_t(map.width);
        auto* pixels = reinterpret_cast<std::uint32_t*>(scratch.rows.data());  // four rows, one from each block
        scratch.owner = nullptr;
        for (int group = 0; group < map.groups(); ++group) {
            for (int a = 0; a < side; ++a) {
                const int row = a * map.block_height() + y;
                if (row >= map.height) continue;
                const float* planes[4] = {};
                const int channels = std::min(4, map.channels - group * 4);
                for (int c = 0; c < channels; ++c)
                    planes[c] = space.image + std::size_t(group * 4 + c) * plane + std::size_t(row) * std::size_t(map.width);
                isa.quantize(planes, channels, map.width, inverse, zero, pixels + a * map.width);
            }
            char* to = space.homes[std::size_t(buffer)].data() + std::size_t(y) * map.row_bytes() +
                       std::size_t(group) * map.group_bytes();
            for (int x = 0; x < map.block_width(); ++x)
                for (int lane = 0; lane < lanes; ++lane) {
                    const int row = lane / side * map.block_height() + y, column = lane % side * map.block_width() + x;
                    const bool inside = row < map.height && column < map.width;
                    const std::uint32_t pixel = inside ? pixels[lane / side * map.width + column] : four_times(zero);
                    std::memcpy(to + std::size_t(x) * vector_bytes + std::size_t(lane) * 4, &pixel, 4);
                }
        }
    }

    const Isa& isa;
    Map map;
    float inverse;
    int zero, buffer;
};

struct Program::ConvStep final : Program::Step {
    struct Part {
        int first, last;  // groups of output channels
        std::size_t count, position;
    };

    ConvStep(const Isa& isa, const Network& network, const Conv& conv, const std::vector<int>& buffers, int threads)
        : input(network.tensors()[std::size_t(conv.input)].map),
          output(network.tensors()[std::size_t(conv.output)].map),
          window(conv.window),
          source(isa, input, network.tensors()[std::size_t(conv.input)].zero, output, window),
          from(buffers[std::size_t(conv.input)]),
          to(buffers[std::size_t(conv.output)]),
          residual(conv.residual < 0 ? -1 : buffers[std::size_t(conv.residual)]),
          residual_scale(conv.residual_scale),
          outside(four_times(network.tensors()[std::size_t(conv.output)].zero)),
          scale(conv.scale),
          bias(conv.bias) {
        const int padded = output.groups() * 4;
        scale.resize(std::size_t(padded), 0.0f);
        bias.resize(std::size_t(padded), float(network.tensors()[std::size_t(conv.output)].zero));
        const int rows = worth_sharing(conv) ? 4 : 1;
        entry = choose(isa, rows);
        tiles_x = output.block_width() / entry->width;
        tiles = tiles_x * (output.block_height() / entry->height);
        pack(conv, rows, threads == 1 ? 1 : std::max(1, (4 * threads + tiles - 1) / tiles));
        if (output.ragged())
            for (int tile = 0; tile < tiles; ++tile)
                for (int v = 0; v < entry->height * entry->width; ++v)
                    masks.push_back(output.valid(tile / tiles_x * entry->height + v / entry->width,
                                                 tile % tiles_x * entry->width + v % entry->width));
    }

    int items() const override { return tiles * int(parts.size()); }

    std::size_t bytes() const override {
        return weights.size() * 4 + offsets.size() * 4 + counts.size() * 4 + (scale.size() + bias.size()) * 4;
    }

    void run(Workspace& space, int item, Scratch& scratch) const override {
        const int tile = item / int(parts.size());
        const Part& part = parts[std::size_t(item) % parts.size()];
        const int y = tile / tiles_x * entry->height, x = tile % tiles_x * entry->width;
        const Expansion& expansion = source.expansion();
        const int first = expansion.row_of(y), last = expansion.row_of(y + entry->height - 1) + window.height - 1;
        const char* expanded = source.rows(space.homes[std::size_t(from)].data(), space.run, first, last, scratch);
        const std::size_t at = std::size_t(y) * output.row_bytes() + std::size_t(part.first) * output.group_bytes() +
                               std::size_t(x) * vector_bytes;
        ConvTask task;
        task.counts = counts.data() + part.count;
        task.weights = weights.data() + part.position * std::size_t(entry->rows);
        task.offsets = offsets.data() + part.position;
        task.scale = scale.data() + part.first * 4;
        task.bias = bias.data() + part.first * 4;
        task.source = expanded + std::size_t(first) * expansion.row_bytes() + std::size_t(x * window.stride) * vector_bytes;
        task.output = space.homes[std::size_t(to)].data() + at;
        task.residual = residual < 0 ? nullptr : space.homes[std::size_t(residual)].data() + at;
        task.residual_scale = residual_scale;
        task.source_row = std::ptrdiff_t(expansion.row_bytes());
        task.output_row = std::ptrdiff_t(output.row_bytes());
        task.output_group = std::ptrdiff_t(output.group_bytes());
        task.groups = part.last - part.first;
        task.valid = masks.empty() ? nullptr : masks.data() + std::size_t(tile * entry->height * entry->width);
        task.outside = outside;
        entry->run(task);
    }

    const Source& reads() const { return source; }

private:
    // The weights of four input channels at one tap of one output channel, a byte each; 0 when all are.
    std::int32_t block(const Conv& conv, int channel, int group, int tap) const {
        std::uint32_t word = 0;
        const int taps = window.height * window.width;
        for (int i = 0; i < 4 && channel < output.channels && group * 4 + i < input.channels; ++i) {
            const std::size_t at = (std::size_t(channel) * std::size_t(input.channels) + std::size_t(group * 4 + i)) * std::size_t(taps) + std::size_t(tap);
            word |= std::uint32_t(std::uint8_t(conv.weight[at])) << (8 * i);
        }
        return std::int32_t(word);
    }

    // Whether four output channels together need fewer loads than each for itself by enough to pay for added zeros.
    bool worth_sharing(const Conv& conv) const {
        std::size_t separate = 0, together = 0;
        for (int unit = 0; unit < output.groups(); ++unit)
            for (int group = 0; group < input.groups(); ++group)
                for (int tap = 0; tap < window.height * window.width; ++tap) {
                    int kept = 0;
                    for (int c = 0; c < 4; ++c) kept += block(conv, unit * 4 + c, group, tap) != 0;
                    separate += std::size_t(kept);
                    together += kept > 0;
                }
        return 4 * together * 5 <= separate * 6;  // measured: a shared product costs 5/6 of one on its own
    }

    const ConvEntry* choose(const Isa& isa, int rows) const {
        const ConvEntry* best = nullptr;
        for (int e = 0; e < isa.conv_count; ++e) {
            const ConvEntry& candidate = isa.convs[e];
            if (candidate.rows != rows || candidate.stride != window.stride || output.block_height() % candidate.height ||
                output.block_width() % candidate.width)
                continue;
            if (!best || candidate.height * candidate.width > best->height * best->width) best = &candidate;
        }
        return best;  // tiles of one vector fit every map
    }

    void pack(const Conv& conv, int rows, int wanted) {
        const Expansion& expansion = source.expansion();
        std::vector<std::size_t> begin;
        for (int unit = 0; unit < output.groups(); ++unit) {
            begin.push_back(offsets.size());
            for (int first = 0; first < 4; first += rows) {
                const std::size_t before = offsets.size();
                for (int group = 0; group < input.groups(); ++group)
                    for (int tap = 0; tap < window.height * window.width; ++tap) {
                        std::int32_t words[4];
                        bool any = false;
                        for (int r = 0; r < rows; ++r) any |= (words[r] = block(conv, unit * 4 + first + r, group, tap)) != 0;
                        if (!any) continue;
                        offsets.push_back(expansion.offset(group, tap / window.width, tap % window.width));
                        weights.insert(weights.end(), words, words + rows);
                    }
                counts.push_back(std::uint32_t(offsets.size() - before));
            }
        }
        begin.push_back(offsets.size());
        share_out(begin, rows, wanted);
    }

    // Parts of about equal work: positions, and finishing a group counted as twelve of them.
    void share_out(const std::vector<std::size_t>& begin, int rows, int wanted) {
        const auto work = [&](int group) { return begin[std::size_t(group)] * std::size_t(rows) + std::size_t(group) * 12; };
        const int groups = output.groups();
        for (int part = 0, first = 0; first < groups; ++part) {
            int last = first + 1;
            while (last < groups && (part >= wanted - 1 || work(last + 1) * std::size_t(wanted) <= work(groups) * std::size_t(part + 1))) ++last;
            parts.push_back({first, last, std::size_t(first) * std::size_t(4 / rows), begin[std::size_t(first)]});
            first = last;
        }
    }

    Map input, output;
    Window window;
    Source source;
    int from, to, residual;
    float residual_scale;
    std::uint32_t outside;
    std::vector<float> scale, bias;
    const ConvEntry* entry = nullptr;
    int tiles_x = 0, tiles = 0;
    std::vector<Part> parts;
    std::vector<std::uint32_t> counts, offsets;
    std::vector<std::int32_t> weights;
    std::vector<std::uint16_t> masks;
};

struct Program::PoolStep final : Program::Step {
    PoolStep(const Isa& isa, const Network& network, const MaxPool& pool, const std::vector<int>& buffers)
        : isa(isa),
          output(network.tensors()[std::size_t(pool.output)].map),
          window(pool.window),
          source(isa, network.tensors()[std::size_t(pool.input)].map, 0, output, window),
          from(buffers[std::size_t(pool.input)]),
          to(buffers[std::size_t(pool.output)]),
          outside(four_times(network.tensors()[std::size_t(pool.output)].zero)) {
        for (int tap = 0; tap < window.height * window.width; ++tap)
            taps.push_back(source.expansion().offset(0, tap / window.width, tap % window.width));
    }

    int items() const override { return output.block_height(); }

    void run(Workspace& space, int y, Scratch& scratch) const override {
        const Expansion& expansion = source.expansion();
        const int first = expansion.row_of(y);
        const char* expanded = source.rows(space.homes[std::size_t(from)].data(), space.run, first, first + window.height - 1, scratch);
        for (int group = 0; group < output.groups(); ++group)
            for (int x = 0; x < output.block_width(); ++x)
                isa.maximum(expanded + std::size_t(first) * expansion.row_bytes() + expansion.offset(group, 0, x * window.stride),
                            taps.data(), int(taps.size()), output.valid(y, x), outside,
                            space.homes[std::size_t(to)].data() + std::size_t(y) * output.row_bytes() +
                                std::size_t(group) * output.group_bytes() + std::size_t(x) * vector_bytes);
    }

    const Source& reads() const { return source; }

    const Isa& isa;
    Map output;
    Window window;
    Source source;
    int from, to;
    std::uint32_t outside;
    std::vector<std::uint32_t> taps;
};

// What comes after the last map: small, in float32, by one thread.
struct Program::FloatStep final : Program::Step {
    FloatStep(const Isa& isa, const Network& network, Operation operation, const std::vector<int>& buffers, bool last)
        : isa(isa), tensors(network.tensors()), operation(std::move(operation)), buffers(buffers), last(last) {
        if (const auto* mean = std::get_if<Mean>(&this->operation)) {
            const Map& map = tensors[std::size_t(mean->input)].map;
            for (int y = 0; y < map.block_height(); ++y)
                for (int x = 0; x < map.block_width(); ++x) valid.push_back(map.valid(y, x));
        }
    }

    int items() const override { return 1; }

    std::size_t bytes() const override {
        const auto* linear = std::get_if<Linear>(&operation);
        return linear ? (linear->weight.size() + linear->bias.size()) * 4 : 0;
    }

    void run(Workspace& space, int, Scratch&) const override {
        if (const auto* mean = std::get_if<Mean>(&operation)) average(*mean, space);
        if (const auto* flat = std::get_if<Dequantize>(&operation)) flatten(*flat, space);
        if (const auto* linear = std::get_if<Linear>(&operation)) multiply(*linear, space);
    }

private:
    float* target(Workspace& space, int tensor) const {
        return last ? space.logits : space.vectors[std::size_t(tensor)].data();
    }

    void average(const Mean& mean, Workspace& space) const {
        const Network::Tensor& tensor = tensors[std::size_t(mean.input)];
        const Map& map = tensor.map;
        const char* home = space.homes[std::size_t(buffers[std::size_t(mean.input)])].data();
        float* to = target(space, mean.output);
        for (int group = 0; group < map.groups(); ++group) {
            std::int32_t sums[4] = {};
            for (int y = 0; y < map.block_height(); ++y)
                isa.sum(home + std::size_t(y) * map.row_bytes() + std::size_t(group) * map.group_bytes(), vector_bytes,
                        map.block_width(), valid.data() + y * map.block_width(), sums);
            for (int c = 0; c < 4 && group * 4 + c < map.channels; ++c)
                to[group * 4 + c] = float(sums[c] - map.height * map.width * tensor.zero) * mean.scale;
        }
    }

    void flatten(const Dequantize& flat, Workspace& space) const {
        const Network::Tensor& tensor = tensors[std::size_t(flat.input)];
        const Map& map = tensor.map;
        const char* home = space.homes[std::size_t(buffers[std::size_t(flat.input)])].data();
        float* to = target(space, flat.output);
        for (int c = 0; c < map.channels; ++c)
            for (int row = 0; row < map.height; ++row)
                for (int column = 0; column < map.width; ++column) {
                    const int a = row / map.block_height(), b = column / map.block_width();
                    const std::size_t at = std::size_t(row % map.block_height()) * map.row_bytes() +
                                           std::size_t(c / 4) * map.group_bytes() +
                                           std::size_t(column % map.block_width()) * vector_bytes +
                                           std::size_t((a * side + b) * 4 + c % 4);
                    *to++ = float(int(std::uint8_t(home[at])) - tensor.zero) * flat.scale;
                }
    }

    void multiply(const Linear& linear, Workspace& space) const {
        const std::vector<float>& from = space.vectors[std::size_t(linear.input)];
        float* to = target(space, linear.output);
        for (std::size_t o = 0; o < linear.bias.size(); ++o) {
            const float* row = linear.weight.data() + o * from.size();
            float sums[16] = {};
            std::size_t i = 0;
            for (; i + 16 <= from.size(); i += 16)
                for (std::size_t lane = 0; lane < 16; ++lane) sums[lane] += row[i + lane] * from[i + lane];
            float total = linear.bias[o];
            for (; i < from.size(); ++i) total += row[i] * from[i];
            for (const float sum : sums) total += sum;
            to[o] = linear.relu ? std::max(0.0f, total) : total;
        }
    }

    const Isa& isa;
    const std::vector<Network::Tensor>& tensors;
    Operation operation;
    std::vector<int> buffers;
    bool last;
    std::vector<std::uint16_t> valid;
};

namespace {

// The tensors an operation reads.
std::vector<int> inputs_of(const Operation& operation) {
    return std::visit(
        [](const auto& one) {
            std::vector<int> inputs = {one.input};
            if constexpr (std::is_same_v<std::decay_t<decltype(one)>, Conv>)
                if (one.residual >= 0) inputs.push_back(one.residual);
            return inputs;
        },
        operation);
}

}  // namespace

Program::Program(const Network& network, const Isa& isa, std::shared_ptr<Workers> workers)
    : network_(network), isa_(isa), workers_(std::move(workers)) {
    const auto& tensors = network_.tensors();
    const auto& operations = network_.operations();
    if (operations.empty() || !tensors.back().floats) throw std::invalid_argument("network: its last tensor is no vector of floats");
    // A tensor's buffer is free again once its last reader is done.
    std::vector<int> last_read(tensors.size(), -1);
    for (int step = 0; step < int(operations.size()); ++step)
        for (const int tensor : inputs_of(operations[std::size_t(step)])) last_read[std::size_t(tensor)] = step;
    buffer_of_.assign(tensors.size(), -1);
    std::vector<int> free_from;  // of every buffer: the step from which it may be written again
    const auto claim = [&](int tensor, int step) {
        const std::size_t bytes = tensors[std::size_t(tensor)].map.bytes();
        int found = -1;
        for (int b = 0; b < int(free_from.size()) && found < 0; ++b)
            if (free_from[std::size_t(b)] <= step) found = b;
        if (found < 0) {
            found = int(free_from.size());
            free_from.push_back(0);
            buffer_bytes_.push_back(0);
        }
        free_from[std::size_t(found)] = std::max(last_read[std::size_t(tensor)], step) + 1;
        buffer_bytes_[std::size_t(found)] = std::max(buffer_bytes_[std::size_t(found)], bytes);
        buffer_of_[std::size_t(tensor)] = found;
    };
    claim(0, 0);
    const int threads = workers_->threads();
    int most_rows = 1;
    scratch_bytes_ = std::size_t(side) * std::size_t(tensors[0].map.width) * 4;
    const auto need = [&](const Source& source) {
        scratch_bytes_ = std::max(scratch_bytes_, source.expansion().bytes());
        most_rows = std::max(most_rows, source.expansion().rows());
    };
    steps_.push_back(std::make_unique<LoadStep>(isa_, tensors[0].map, network_.scale(), tensors[0].zero, buffer_of_[0]));
    for (int step = 0; step < int(operations.size()); ++step) {
        const Operation& operation = operations[std::size_t(step)];
        const int output = std::visit([](const auto& one) { return one.output; }, operation);
        if (!tensors[std::size_t(output)].floats) claim(output, step);
        if (const auto* conv = std::get_if<Conv>(&operation)) {
            auto made = std::make_unique<ConvStep>(isa_, network_, *conv, buffer_of_, threads);
            need(made->reads());
            steps_.push_back(std::move(made));
        } else if (const auto* pool = std::get_if<MaxPool>(&operation)) {
            auto made = std::make_unique<PoolStep>(isa_, network_, *pool, buffer_of_);
            need(made->reads());
            steps_.push_back(std::move(made));
        } else {
            const bool last = step + 1 == int(operations.size());
            steps_.push_back(std::make_unique<FloatStep>(isa_, network_, operation, buffer_of_, last));
        }
    }
    for (int thread = 0; thread < threads; ++thread) {
        scratch_.push_back(std::make_unique<Scratch>());
        scratch_.back()->rows = Aligned<char>(scratch_bytes_);
        scratch_.back()->made.assign(std::size_t(most_rows), 0);
        workspaces_.push_back(nullptr);
    }
}

Program::~Program() = default;

const Map& Program::input() const { return network_.tensors()[0].map; }

int Program::classes() const { return network_.tensors().back().floats; }

std::size_t Program::stream_bytes() const {
    std::size_t bytes = 0;
    for (const auto& step : steps_) bytes += step->bytes();
    return bytes;
}

Program::Workspace& Program::workspace(int thread) {
    auto& space = workspaces_[std::size_t(thread)];
    if (!space) {
        space = std::make_unique<Workspace>();
        for (const std::size_t bytes : buffer_bytes_) space->homes.emplace_back(bytes);
        for (const auto& tensor : network_.tensors()) space->vectors.emplace_back(std::size_t(tensor.floats));
    }
    return *space;
}

void Program::run_together(Workspace& space) {
    for (const auto& step : steps_)
        workers_->run(step->items(), [&](int item, int thread) { step->run(space, item, *scratch_[std::size_t(thread)]); });
}

void Program::run_alone(Workspace& space, int thread) {
    for (const auto& step : steps_)
        for (int item = 0; item < step->items(); ++item) step->run(space, item, *scratch_[std::size_t(thread)]);
}

void Program::run(const float* images, float* logits, int examples) {
    constexpr int most_at_once = 1 << 12;
    const Map& map = input();
    const std::size_t pixels = std::size_t(map.channels) * std::size_t(map.height) * std::size_t(map.width);
    const std::lock_guard lock(workers_->exclusive);
    const std::uint64_t first_run = runs_ + 1;
    runs_ += std::uint64_t(examples);
    const auto aim = [&](Workspace& space, int example) -> Workspace& {
        space.image = images + std::size_t(example) * pixels;
        space.logits = logits + std::size_t(example) * std::size_t(classes());
        space.run = first_run + std::uint64_t(example);
        return space;
    };
    const int threads = workers_->threads();
    int done = 0;
    if (threads > 1 && examples >= threads) {
        for (int thread = 0; thread < threads; ++thread) workspace(thread);
        const int even = examples / threads * threads;
        for (; done < even; done += std::min(most_at_once, even - done))
            workers_->run(std::min(most_at_once, even - done), [&, first = done](int item, int thread) {
                run_alone(aim(*workspaces_[std::size_t(thread)], first + item), thread);
            });
    }
    for (; done < examples; ++done) run_together(aim(workspace(0), done));
}

}  // namespace downshift::int8
