#include "stream.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

namespace downshift {

namespace {

struct Range {
    int begin, end;
};

// Load balancing: units partitioned into consecutive ranges of about equal work.
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
    Packer(const Nonzeros& nonzeros, const Tiling& tiling, int lanes, bool may_step)
        : nonzeros_(nonzeros),
          conv_(*nonzeros.conv),
          source_(nonzeros.source),
          tiling_(tiling),
          units_(int(nonzeros.starts.size()) - 1),
          group_planes_(nonzeros.input_channels / conv_.groups * source_.phases),
          offset_unit_(lanes * 4 / 8),
          steps_fit_(may_step),
          cursors_(nonzeros.starts.begin(), nonzeros.starts.end() - 1) {
        int reach = 0;
        for (const SourceMap::Tap& tap : source_.taps) reach = std::max(reach, tap.shift);
        const int span = (1 << 16) / offset_unit_;  // vectors that 16-bit offsets reach
        most_planes_ = std::max(1, (span - reach - 1) / source_.plane + 1);
    }

    Stream run() {
        std::vector<double> work;
        for (int unit = 0; unit < units_; ++unit)
            work.push_back(4.0 + double(nonzeros_.starts[std::size_t(unit) + 1] - nonzeros_.starts[std::size_t(unit)]));
        weights_.reserve(nonzeros_.positions.size() * std::size_t(tiling_.rows));
        offsets_.reserve(nonzeros_.positions.size());
        for (const Range part : balanced(work, tiling_.parts)) add_part(part);
        stream_.weights = Aligned<float>(weights_);
        if (steps_fit_)
            stream_.steps = Aligned<std::uint8_t>(steps_);
        else
            stream_.offsets = Aligned<std::uint16_t>(offsets_);
        std::vector<float> bias = conv_.bias;
        bias.resize(std::size_t(units_ * tiling_.rows), 0.0f);
        stream_.bias = Aligned<float>(bias);
        stream_.shifts = source_.shifts;
        stream_.nonzeros = offsets_.size();
        stream_.channels.shrink_to_fit();
        stream_.counts.shrink_to_fit();
        return std::move(stream_);
    }

private:
    using Position = Nonzeros::Position;

    // Groups whose planes one base can reach go together; a group too large for that is cut into blocks.
    void add_part(Range units) {
        stream_.parts.push_back({std::uint32_t(stream_.sections.size()), 0, stream_.channels.size(),
                                 stream_.counts.size(), offsets_.size()});
        if (conv_.groups == 1) {
            if (units.begin < units.end)
                add_blocks(units, {0, group_planes_}, std::clamp(tiling_.block, 1, most_planes_));
        } else {
            const int units_of_group = units_ / conv_.groups;
            const int together = std::max(1, most_planes_ / group_planes_);
            while (units.begin < units.end) {
                const int group = units.begin / units_of_group;
                const int group_end = std::min(conv_.groups, group + together);
                const int stop = std::min(units.end, group_end * units_of_group);
                add_blocks({units.begin, stop}, {group * group_planes_, group_end * group_planes_}, most_planes_);
                units.begin = stop;
            }
        }
        stream_.parts.back().section_end = std::uint32_t(stream_.sections.size());
    }

    void add_blocks(Range units, Range planes, int block) {
        const int columns = int(source_.shifts.size());
        for (int begin = planes.begin; begin < planes.end; begin += block) {
            const Range range = {begin, std::min(planes.end, begin + block)};
            const bool first = begin == planes.begin, last = range.end == planes.end;
            const std::vector<Unit> found = take(units, range.end);
            if (!tiling_.split) {
                add_section(found, range.begin, {0, columns}, first, last);
                continue;
            }
            for (int column = 0; column < columns; ++column)
                add_section(found, range.begin, {column, column + 1}, first && column == 0, last && column + 1 == columns);
        }
    }

    struct Unit {
        int number;
        std::vector<std::vector<Position>> columns;

        std::size_t size(Range of) const {
            std::size_t total = 0;
            for (int column = of.begin; column < of.end; ++column) total += columns[std::size_t(column)].size();
            return total;
        }
    };

    // Every unit's positions before plane `end` that have not been taken yet, by column.
    std::vector<Unit> take(Range units, int end) {
        std::vector<Unit> found;
        for (int number = units.begin; number < units.end; ++number) {
            Unit unit{number, std::vector<std::vector<Position>>(source_.shifts.size())};
            std::size_t& cursor = cursors_[std::size_t(number)];
            for (; cursor < nonzeros_.starts[std::size_t(number) + 1]; ++cursor) {
                const Position& position = nonzeros_.positions[cursor];
                if (position.plane >= end) break;
                unit.columns[position.column].push_back(position);
            }
            found.push_back(std::move(unit));
        }
        return found;
    }

    void add_section(const std::vector<Unit>& units, int base, Range columns, bool opens, bool closes) {
        std::vector<const Unit*> order;
        for (const Unit& unit : units)
            if (opens || closes || unit.size(columns)) order.push_back(&unit);
        // Units sorted by length, so that the branch at the end of the kernel's inner loop is predictable.
        if (columns.end - columns.begin == 1)
            std::stable_sort(order.begin(), order.end(),
                             [&](const Unit* a, const Unit* b) { return a->size(columns) > b->size(columns); });
        for (const Unit* unit : order) {
            stream_.channels.push_back(std::uint16_t(unit->number * tiling_.rows));
            for (int column = columns.begin; column < columns.end; ++column) {
                const std::vector<Position>& positions = unit->columns[std::size_t(column)];
                stream_.counts.push_back(std::uint16_t(positions.size()));
                int before = 0;
                for (const Position& position : positions)
                    before = add_position(unit->number * tiling_.rows, base, position, before);
            }
        }
        stream_.sections.push_back({std::uint32_t(base) * std::uint32_t(source_.plane), std::uint32_t(order.size()),
                                    std::uint16_t(columns.begin), std::uint16_t(columns.end), opens, closes});
    }

    // Returns where it lies, in vectors from the section's base, as does `before` for the nonzero before it.
    int add_position(int channel, int base, const Position& position, int before) {
        const int vectors = (position.plane - base) * source_.plane + position.shift, step = vectors - before;
        offsets_.push_back(std::uint16_t(vectors * offset_unit_));
        steps_fit_ = steps_fit_ && step >= 0 && step < 256;
        if (steps_fit_) steps_.push_back(std::uint8_t(step));
        const std::size_t per_channel = conv_.weights.size() / conv_.bias.size();
        for (int row = channel; row < channel + tiling_.rows; ++row)
            weights_.push_back(row < int(conv_.bias.size())
                                   ? conv_.weights[std::size_t(row) * per_channel + position.weight]
                                   : 0.0f);
        return vectors;
    }

    const Nonzeros& nonzeros_;
    const Conv& conv_;
    const SourceMap& source_;
    const Tiling& tiling_;
    int units_, group_planes_, offset_unit_, most_planes_;
    bool steps_fit_;
    std::vector<std::size_t> cursors_;  // first position of every unit that no block has taken
    Stream stream_;
    std::vector<float> weights_;
    std::vector<std::uint16_t> offsets_;
    std::vector<std::uint8_t> steps_;  // as long as steps fit
};

}  // namespace

std::size_t Stream::bytes() const {
    return weights.bytes() + offsets.bytes() + steps.bytes() + bias.bytes() + channels.size() * 2 + counts.size() * 2 +
           sections.size() * sizeof(Section) + parts.size() * sizeof(Part);
}

Nonzeros::Nonzeros(const Conv& conv_, int input_channels_, SourceMap source_, int rows_)
    : conv(&conv_), input_channels(input_channels_), rows(rows_), source(std::move(source_)) {
    const int outputs = int(conv->bias.size()), group_outputs = outputs / conv->groups;
    const int group_inputs = input_channels / conv->groups, taps = int(source.taps.size());
    const std::size_t per_output = std::size_t(group_inputs) * std::size_t(taps);
    // Taps of one channel in the order of their planes, so that a block of planes is a run of positions, and within a
    // plane in the order of memory, so that steps from one to the next are short and forward.
    std::vector<int> order(source.taps.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
        const SourceMap::Tap &first = source.taps[std::size_t(a)], &second = source.taps[std::size_t(b)];
        return std::pair(first.phase, first.shift) < std::pair(second.phase, second.shift);
    });
    for (int first = 0; first < outputs; first += rows) {
        starts.push_back(positions.size());
        const float* weights = conv->weights.data() + std::size_t(first) * per_output;
        const int end = std::min(rows, outputs - first);
        const int first_plane = first / group_outputs * group_inputs * source.phases;
        for (int input = 0; input < group_inputs; ++input)
            for (int t : order) {
                const std::size_t at = std::size_t(input) * std::size_t(taps) + std::size_t(t);
                bool zero = true;
                for (int row = 0; row < end; ++row) zero &= weights[std::size_t(row) * per_output + at] == 0.0f;
                if (zero) continue;
                const SourceMap::Tap& tap = source.taps[std::size_t(t)];
                positions.push_back({first_plane + input * source.phases + tap.phase, std::uint32_t(at),
                                     std::uint16_t(tap.shift), std::uint16_t(tap.column)});
            }
    }
    starts.push_back(positions.size());
}

double Nonzeros::wasted() const {
    const auto zeros = std::count(conv->weights.begin(), conv->weights.end(), 0.0f);
    const double stored = double(positions.size()) * rows;
    return stored > 0 ? 1.0 - double(conv->weights.size() - std::size_t(zeros)) / stored : 0.0;
}

Stream pack(const Nonzeros& nonzeros, const Tiling& tiling, int lanes, bool may_step) {
    return Packer(nonzeros, tiling, lanes, may_step).run();
}

}  // namespace downshift
