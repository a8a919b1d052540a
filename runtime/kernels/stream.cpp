#include "stream.hpp"

#include <algorithm>
#include <numeric>

namespace downshift {

namespace {

struct Nonzero {
    std::uint16_t offset;
    int tap;      // within the weights of one output channel
};

struct Range {
    int begin, end;
};

// Output channels [0, units * rows) cut into runs of units with about the same work each.
std::vector<Range> balanced(const std::vector<double>& work, int parts) {
    std::vector<Range> ranges;
    const double total = std::accumulate(work.begin(), work.end(), 0.0);
    double passed = 0;
    int begin = 0;
    const int units = int(work.size());
    for (int part = 0; part < parts; ++part) {
        int end = begin;
        while (end < units && (part + 1 == parts || passed + work[std::size_t(end)] / 2 < total * (part + 1) / parts))
            passed += work[std::size_t(end++)];
        ranges.push_back({begin, end});
        begin = end;
    }
    return ranges;
}

class Packer {
public:
    Packer(const Conv& conv, int input_channels, const SourceMap& source, const Tiling& tiling, int lanes)
        : conv_(conv),
          source_(source),
          tiling_(tiling),
          outputs_(int(conv.bias.size())),
          group_inputs_(input_channels / conv.groups),
          group_outputs_(outputs_ / conv.groups),
          taps_(int(source.taps.size())) {
        const int reach = std::max_element(source.taps.begin(), source.taps.end(), [](auto& a, auto& b) {
                              return a.shift < b.shift;
                          })->shift;
        offset_unit_ = lanes * 4 / 8;
        const int span = (1 << 16) / offset_unit_;  // vectors that 16-bit offsets reach
        most_planes_ = std::max(1, (span - reach - 1) / source.plane + 1);
    }

    Stream run() {
        const int rows = tiling_.rows;
        const int units = (outputs_ + rows - 1) / rows;
        std::vector<double> work(std::size_t(units), 0.0);
        const std::size_t per_output = std::size_t(group_inputs_) * std::size_t(taps_);
        for (int unit = 0; unit < units; ++unit) {
            const float* first = conv_.weights.data() + std::size_t(unit) * std::size_t(rows) * per_output;
            const int channels = std::min(rows, outputs_ - unit * rows);
            const auto zeros = std::count(first, first + std::size_t(channels) * per_output, 0.0f);
            work[std::size_t(unit)] = 4.0 + double(std::size_t(channels) * per_output) - double(zeros);
        }
        for (const Range part : balanced(work, tiling_.parts)) add_part(part);
        stream_.weights = Aligned<float>(weights_);
        stream_.offsets = Aligned<std::uint16_t>(offsets_);
        std::vector<float> bias = conv_.bias;
        bias.resize(std::size_t(units * rows), 0.0f);
        stream_.bias = Aligned<float>(bias);
        stream_.shifts = source_.shifts;
        stream_.nonzeros = offsets_.size();
        stream_.channels.shrink_to_fit();
        stream_.counts.shrink_to_fit();
        return std::move(stream_);
    }

private:
    // Groups whose planes one base can reach go together; a group too large for that is cut into blocks.
    void add_part(Range units) {
        stream_.parts.push_back({std::uint32_t(stream_.sections.size()), 0, stream_.channels.size(),
                                 stream_.counts.size(), offsets_.size()});
        const int rows = tiling_.rows;
        int first = units.begin * rows;
        const int end = std::min(outputs_, units.end * rows);
        const int group_planes = group_inputs_ * source_.phases;
        const int together = std::max(1, most_planes_ / group_planes);
        while (first < end) {
            const int group = first / group_outputs_;
            const int group_end = std::min(conv_.groups, group + together);
            const int stop = std::min(end, group_end * group_outputs_);
            const int planes_begin = group * group_planes, planes_end = group_end * group_planes;
            const bool whole = conv_.groups > 1 && planes_end - planes_begin <= most_planes_;
            const int block = whole ? planes_end - planes_begin : std::min(most_planes_, std::max(1, tiling_.block));
            add_blocks({first, stop}, {planes_begin, planes_end}, block);
            first = stop;
        }
        stream_.parts.back().section_end = std::uint32_t(stream_.sections.size());
    }

    void add_blocks(Range channels, Range planes, int block) {
        const int columns = int(source_.shifts.size());
        for (int begin = planes.begin; begin < planes.end; begin += block) {
            const Range range = {begin, std::min(planes.end, begin + block)};
            const bool first = begin == planes.begin, last = range.end == planes.end;
            if (!tiling_.split) {
                add_section(channels, range, {0, columns}, first, last);
                continue;
            }
            for (int column = 0; column < columns; ++column)
                add_section(channels, range, {column, column + 1}, first && column == 0, last && column + 1 == columns);
        }
    }

    void add_section(Range channels, Range planes, Range columns, bool opens, bool closes) {
        struct Unit {
            int channel;
            std::vector<std::vector<Nonzero>> columns;
            std::size_t size = 0;
        };
        std::vector<Unit> units;
        for (int channel = channels.begin; channel < channels.end; channel += tiling_.rows) {
            Unit unit{channel, nonzeros(channel, planes, columns)};
            for (const auto& column : unit.columns) unit.size += column.size();
            if (unit.size || opens || closes) units.push_back(std::move(unit));
        }
        // Units of one length after another: the end of the kernel's inner loop becomes predictable.
        if (columns.end - columns.begin == 1)
            std::stable_sort(units.begin(), units.end(), [](const Unit& a, const Unit& b) { return a.size > b.size; });
        for (const Unit& unit : units) {
            stream_.channels.push_back(std::uint16_t(unit.channel));
            for (const auto& column : unit.columns) {
                stream_.counts.push_back(std::uint16_t(column.size()));
                for (const Nonzero& nonzero : column) add_nonzero(unit.channel, nonzero);
            }
        }
        stream_.sections.push_back({std::uint32_t(planes.begin) * std::uint32_t(source_.plane),
                                    std::uint32_t(units.size()), std::uint16_t(columns.begin),
                                    std::uint16_t(columns.end), opens, closes});
    }

    void add_nonzero(int channel, const Nonzero& nonzero) {
        offsets_.push_back(nonzero.offset);
        for (int row = 0; row < tiling_.rows; ++row)
            weights_.push_back(channel + row < outputs_ ? weight(channel + row, nonzero.tap) : 0.0f);
    }

    float weight(int channel, int tap) const {
        return conv_.weights[std::size_t(channel) * std::size_t(group_inputs_) * std::size_t(taps_) + std::size_t(tap)];
    }

    std::vector<std::vector<Nonzero>> nonzeros(int channel, Range planes, Range columns) const {
        std::vector<std::vector<Nonzero>> found(std::size_t(columns.end - columns.begin));
        const int group_plane = channel / group_outputs_ * group_inputs_ * source_.phases;
        const int first_input = std::max(0, (planes.begin - group_plane) / source_.phases);
        const int end_input =
            std::min(group_inputs_, (planes.end - group_plane + source_.phases - 1) / source_.phases);
        const int end_channel = std::min(outputs_, channel + tiling_.rows);
        for (int input = first_input; input < end_input; ++input)
            for (int t = 0; t < taps_; ++t) {
                const SourceMap::Tap& tap = source_.taps[std::size_t(t)];
                const int plane = group_plane + input * source_.phases + tap.phase;
                if (plane < planes.begin || plane >= planes.end) continue;
                if (tap.column < columns.begin || tap.column >= columns.end) continue;
                bool zero = true;
                for (int row = channel; row < end_channel; ++row) zero &= weight(row, input * taps_ + t) == 0.0f;
                if (zero) continue;
                const int vectors = (plane - planes.begin) * source_.plane + tap.shift;
                found[std::size_t(tap.column - columns.begin)].push_back(
                    {std::uint16_t(vectors * offset_unit_), input * taps_ + t});
            }
        return found;
    }

    const Conv& conv_;
    const SourceMap& source_;
    const Tiling& tiling_;
    int outputs_, group_inputs_, group_outputs_, taps_;
    int offset_unit_, most_planes_;
    Stream stream_;
    std::vector<float> weights_;
    std::vector<std::uint16_t> offsets_;
};

}  // namespace

std::size_t Stream::bytes() const {
    return weights.bytes() + offsets.bytes() + bias.bytes() + channels.size() * 2 + counts.size() * 2 +
           sections.size() * sizeof(Section) + parts.size() * sizeof(Part);
}

Stream pack(const Conv& conv, int input_channels, const SourceMap& source, const Tiling& tiling, int lanes) {
    return Packer(conv, input_channels, source, tiling, lanes).run();
}

double wasted(const Conv& conv, int input_channels, int rows) {
    const std::size_t outputs = conv.bias.size();
    const std::size_t taps = std::size_t(conv.window.kernel_y) * std::size_t(conv.window.kernel_x);
    const std::size_t per_output = std::size_t(input_channels / conv.groups) * taps;
    std::size_t positions = 0, nonzeros = 0;
    for (std::size_t first = 0; first < outputs; first += std::size_t(rows))
        for (std::size_t at = 0; at < per_output; ++at) {
            std::size_t here = 0;
            for (std::size_t row = first; row < std::min(outputs, first + std::size_t(rows)); ++row)
                here += conv.weights[row * per_output + at] != 0.0f;
            nonzeros += here;
            positions += here > 0;
        }
    return positions ? 1.0 - double(nonzeros) / double(positions * std::size_t(rows)) : 0.0;
}

}  // namespace downshift
