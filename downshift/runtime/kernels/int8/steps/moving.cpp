// Bytes that go elsewhere: slices, pads and concatenations.
#include <algorithm>
#include <cstring>

#include "step.hpp"

namespace downshift::int8 {
namespace {

class TakeStep final : public Step {
public:
    TakeStep(const Target& target, const Take& take)
        : take_(take),
          input_(target.tensor(take.input).map),
          output_(target.tensor(take.output).map),
          from_(target.buffer(take.input)),
          to_(target.buffer(take.output)),
          zero_(target.tensor(take.output).zero) {}

    int items() const override { return output_.block_height(); }

    void run(Workspace& space, int y, Scratch&) const override {
        const char* from = space.homes[std::size_t(from_)].data();
        char* to = space.homes[std::size_t(to_)].data();
        std::memset(to + std::size_t(y) * output_.row_bytes(), zero_, output_.row_bytes());
        const int first = std::max(0, (-take_.start[0] + take_.step[0] - 1) / take_.step[0]);
        for (int row = y; row < output_.height; row += output_.block_height())
            for (int column = 0; column < output_.width; ++column) {
                const int row_there = take_.start[1] + take_.step[1] * row, column_there = take_.start[2] + take_.step[2] * column;
                if (row_there < 0 || row_there >= input_.height || column_there < 0 || column_there >= input_.width) continue;
                const char* source = from + input_.pixel(row_there, column_there);
                char* result = to + output_.pixel(row, column);
                for (int c = first; c < output_.channels; ++c) {
                    const int there = take_.start[0] + take_.step[0] * c;
                    if (there >= input_.channels) break;
                    result[output_.channel(c)] = source[input_.channel(there)];
                }
            }
    }

private:
    Take take_;
    Map input_, output_;
    int from_, to_, zero_;
};

class ConcatStep final : public Step {
public:
    ConcatStep(const Target& target, const Concat& concat)
        : isa_(target.isa),
          output_(target.tensor(concat.output).map),
          to_(target.buffer(concat.output)),
          outside_(four_times(target.tensor(concat.output).zero)),
          valid_(target.valid(concat.output)) {
        int first = 0;
        for (std::size_t i = 0; i < concat.inputs.size(); ++i) {
            const Map& map = target.tensor(concat.inputs[i]).map;
            parts_.push_back({map, target.buffer(concat.inputs[i]), first, concat.tables[i]});
            first += map.channels;
        }
    }

    int items() const override { return output_.block_height(); }

    void run(Workspace& space, int y, Scratch&) const override {
        char* row = space.homes[std::size_t(to_)].data() + std::size_t(y) * output_.row_bytes();
        const std::uint16_t* valid = valid_.data() + y * output_.block_width();
        // A part writes all four channels of its last group: the next one, which may begin there, comes later.
        for (const Part& part : parts_) {
            const char* from = space.homes[std::size_t(part.buffer)].data() + std::size_t(y) * part.map.row_bytes();
            if (part.first % 4 == 0)
                isa_.lookup({from, row + std::size_t(part.first / 4) * output_.group_bytes(), part.map.groups(),
                             output_.block_width(), part.table.data(), valid, outside_});
            else
                scatter(part, from, row, valid);
        }
    }

private:
    struct Part {
        Map map;
        int buffer, first;  // its first channel in the output
        ByteTable table;
    };

    void scatter(const Part& part, const char* from, char* row, const std::uint16_t* valid) const {
        for (int c = 0; c < part.map.channels; ++c) {
            const char* source = from + part.map.channel(c);
            char* result = row + output_.channel(part.first + c);
            for (int x = 0; x < output_.block_width(); ++x)
                for (int lane = 0; lane < lanes; ++lane) {
                    const std::size_t at = std::size_t(x) * vector_bytes + std::size_t(lane) * 4;
                    result[at] = char(valid[x] >> lane & 1 ? part.table[std::uint8_t(source[at])] : std::uint8_t(outside_));
                }
        }
    }

    const Isa& isa_;
    Map output_;
    int to_;
    std::uint32_t outside_;
    std::vector<std::uint16_t> valid_;
    std::vector<Part> parts_;
};

}  // namespace

std::unique_ptr<Step> make_take(const Target& target, const Take& take) { return std::make_unique<TakeStep>(target, take); }

std::unique_ptr<Step> make_concat(const Target& target, const Concat& concat) { return std::make_unique<ConcatStep>(target, concat); }

}  // namespace downshift::int8
