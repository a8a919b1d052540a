// What comes after the last map: small, in float32, by one thread.
#include <algorithm>
#include <cmath>

#include "channel_sums.hpp"

namespace downshift::int8 {
namespace {

// A step that writes one vector of floats.
class VectorStep : public Step {
public:
    VectorStep(int tensor, bool last) : tensor_(tensor), last_(last) {}
    int items() const override { return 1; }

protected:
    float* result(Workspace& space) const { return last_ ? space.logits : space.vectors[std::size_t(tensor_)].data(); }

private:
    int tensor_;
    bool last_;
};

class MeanStep final : public VectorStep {
public:
    MeanStep(const Target& target, const Mean& mean, bool last)
        : VectorStep(mean.output, last),
          isa_(target.isa),
          map_(target.tensor(mean.input).map),
          zero_(target.tensor(mean.input).zero),
          from_(target.buffer(mean.input)),
          scale_(mean.scale),
          valid_(target.valid(mean.input)) {}

    void run(Workspace& space, int, Scratch&) const override {
        const char* home = space.homes[std::size_t(from_)].data();
        float* to = result(space);
        for (int group = 0; group < map_.groups(); ++group) {
            const auto sums = channel_sums(isa_, map_, home, valid_, group);
            for (int c = 0; c < 4 && group * 4 + c < map_.channels; ++c)
                to[group * 4 + c] = float(sums[std::size_t(c)] - map_.height * map_.width * zero_) * scale_;
        }
    }

private:
    const Isa& isa_;
    Map map_;
    int zero_, from_;
    float scale_;
    std::vector<std::uint16_t> valid_;
};

class DequantizeStep final : public VectorStep {
public:
    DequantizeStep(const Target& target, const Dequantize& dequantize, bool last)
        : VectorStep(dequantize.output, last),
          map_(target.tensor(dequantize.input).map),
          zero_(target.tensor(dequantize.input).zero),
          from_(target.buffer(dequantize.input)),
          scale_(dequantize.scale) {}

    void run(Workspace& space, int, Scratch&) const override {
        const char* home = space.homes[std::size_t(from_)].data();
        float* to = result(space);
        for (int c = 0; c < map_.channels; ++c)
            for (int row = 0; row < map_.height; ++row)
                for (int column = 0; column < map_.width; ++column)
                    *to++ = float(int(std::uint8_t(home[map_.pixel(row, column) + map_.channel(c)])) - zero_) * scale_;
    }

private:
    Map map_;
    int zero_, from_;
    float scale_;
};

class LinearStep final : public VectorStep {
public:
    LinearStep(const Target& target, const Linear& linear, bool last)
        : VectorStep(linear.output, last), isa_(target.isa), linear_(linear) {}

    std::size_t bytes() const override { return (linear_.weight.size() + linear_.bias.size()) * 4; }

    void run(Workspace& space, int, Scratch&) const override {
        const std::vector<float>& from = space.vectors[std::size_t(linear_.input)];
        float* to = result(space);
        for (std::size_t o = 0; o < linear_.bias.size(); ++o) {
            const float total = linear_.bias[o] + isa_.product(linear_.weight.data() + o * from.size(), from.data(), int(from.size()));
            to[o] = linear_.relu ? std::max(0.0f, total) : total;
        }
    }

private:
    const Isa& isa_;
    Linear linear_;
};

class ActivateStep final : public VectorStep {
public:
    ActivateStep(const Activate& activate, bool last) : VectorStep(activate.output, last), from_(activate.input), activation_(activate.activation) {}

    void run(Workspace& space, int, Scratch&) const override {
        float* to = result(space);
        for (const float value : space.vectors[std::size_t(from_)]) *to++ = activated(value);
    }

private:
    static float gate(float value) { return std::clamp(value / 6.0f + 0.5f, 0.0f, 1.0f); }
    static float sigmoid(float value) { return 0.5f + 0.5f * std::tanh(0.5f * value); }

    float activated(float value) const {
        switch (activation_) {
            case Activation::none: return value;
            case Activation::relu: return std::max(value, 0.0f);
            case Activation::relu6: return std::clamp(value, 0.0f, 6.0f);
            case Activation::silu: return value * sigmoid(value);
            case Activation::hard_swish: return value * gate(value);
            case Activation::hard_sigmoid: return gate(value);
            case Activation::sigmoid: return sigmoid(value);
        }
        return value;
    }

    int from_;
    Activation activation_;
};

}  // namespace

std::unique_ptr<Step> make_activate(const Activate& activate, bool last) { return std::make_unique<ActivateStep>(activate, last); }

std::unique_ptr<Step> make_mean(const Target& target, const Mean& mean, bool last) {
    return std::make_unique<MeanStep>(target, mean, last);
}

std::unique_ptr<Step> make_dequantize(const Target& target, const Dequantize& dequantize, bool last) {
    return std::make_unique<DequantizeStep>(target, dequantize, last);
}

std::unique_ptr<Step> make_linear(const Target& target, const Linear& linear, bool last) {
    return std::make_unique<LinearStep>(target, linear, last);
}

}  // namespace downshift::int8
