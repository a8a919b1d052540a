// Additions, affine maps, factors and tables: every byte for itself, a row of vectors at a time.
#include <cmath>

#include "step.hpp"

namespace downshift::int8 {
namespace {

class RowStep : public Step {
public:
    RowStep(const Target& target, int from, int to)
        : isa_(target.isa),
          map_(target.tensor(to).map),
          from_(target.buffer(from)),
          to_(target.buffer(to)),
          outside_(four_times(target.tensor(to).zero)),
          valid_(target.valid(to)) {}

    int items() const override { return map_.block_height(); }

protected:
    const char* source(const Workspace& space, int y) const { return row(space, from_, y); }
    char* result(Workspace& space, int y) const { return row(space, to_, y); }
    const std::uint16_t* valid(int y) const { return valid_.data() + y * map_.block_width(); }
    char* row(const Workspace& space, int buffer, int y) const {
        return space.homes[std::size_t(buffer)].data() + std::size_t(y) * map_.row_bytes();
    }

    const Isa& isa_;
    Map map_;
    int from_, to_;
    std::uint32_t outside_;

private:
    std::vector<std::uint16_t> valid_;
};

// An addition, or an affine map without a right operand.
class CombineStep final : public RowStep {
public:
    CombineStep(const Target& target, int from, int right, int to, std::vector<float> scale, std::vector<float> bias, float right_scale)
        : RowStep(target, from, to), right_(right < 0 ? -1 : target.buffer(right)), right_scale_(right_scale), scale_(std::move(scale)), bias_(std::move(bias)) {
        const auto padded = std::size_t(map_.groups()) * 4;
        scale_.resize(padded, 0.0f);
        bias_.resize(padded, float(target.tensor(to).zero));
    }

    std::size_t bytes() const override { return (scale_.size() + bias_.size()) * 4; }

    void run(Workspace& space, int y, Scratch&) const override {
        isa_.combine({source(space, y), right_ < 0 ? nullptr : row(space, right_, y), result(space, y), map_.groups(),
                      map_.block_width(), scale_.data(), bias_.data(), right_scale_, valid(y), outside_});
    }

private:
    int right_;
    float right_scale_;
    std::vector<float> scale_, bias_;
};

class ScaleStep final : public RowStep {
public:
    ScaleStep(const Target& target, const Scale& scale)
        : RowStep(target, scale.input, scale.output),
          factor_(target.buffer(scale.factor)),
          factor_zero_(target.tensor(scale.factor).zero),
          input_zero_(target.tensor(scale.input).zero),
          zero_(target.tensor(scale.output).zero),
          scale_(scale.scale) {}

    ScratchNeed scratch() const override { return {std::size_t(map_.groups()) * 4 * 2 * sizeof(float), 0}; }

    void run(Workspace& space, int y, Scratch& scratch) const override {
        const int padded = map_.groups() * 4;
        auto* scale = reinterpret_cast<float*>(scratch.rows.data());
        float* bias = scale + padded;
        scratch.owner = nullptr;
        const char* factors = space.homes[std::size_t(factor_)].data();  // a pixel of four channels in each vector
        for (int channel = 0; channel < padded; ++channel) {
            const auto factor = std::uint8_t(factors[std::size_t(channel / 4) * vector_bytes + std::size_t(channel % 4)]);
            scale[channel] = float(int(factor) - factor_zero_) * scale_;
            bias[channel] = std::fma(-float(input_zero_), scale[channel], float(zero_));
        }
        isa_.combine({source(space, y), nullptr, result(space, y), map_.groups(), map_.block_width(), scale, bias, 0.0f, valid(y), outside_});
    }

private:
    int factor_, factor_zero_, input_zero_, zero_;
    float scale_;
};

class LookupStep final : public RowStep {
public:
    LookupStep(const Target& target, const Lookup& lookup) : RowStep(target, lookup.input, lookup.output), table_(lookup.table) {}

    void run(Workspace& space, int y, Scratch&) const override {
        isa_.lookup({source(space, y), result(space, y), map_.groups(), map_.block_width(), table_.data(), valid(y), outside_});
    }

private:
    ByteTable table_;
};

}  // namespace

std::unique_ptr<Step> make_add(const Target& target, const Add& add) {
    const auto channels = std::size_t(target.tensor(add.output).map.channels);
    return std::make_unique<CombineStep>(target, add.input, add.right, add.output, std::vector<float>(channels, add.scale),
                                         std::vector<float>(channels, add.bias), add.right_scale);
}

std::unique_ptr<Step> make_affine(const Target& target, const Affine& affine) {
    return std::make_unique<CombineStep>(target, affine.input, -1, affine.output, affine.scale, affine.bias, 0.0f);
}

std::unique_ptr<Step> make_scale(const Target& target, const Scale& scale) { return std::make_unique<ScaleStep>(target, scale); }

std::unique_ptr<Step> make_lookup(const Target& target, const Lookup& lookup) { return std::make_unique<LookupStep>(target, lookup); }

}  // namespace downshift::int8
