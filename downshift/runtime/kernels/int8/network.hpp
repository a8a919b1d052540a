// A quantised sub-net: what Python describes, validated.
#pragma once
#include <string>
#include <variant>
#include <vector>

#include "isa.hpp"
#include "layout.hpp"

namespace downshift::int8 {

// result = saturate_u8(round(fma(sum, scale, bias) [fma residual * residual_scale])), zero points folded into the bias.
struct Conv {
    int output, input, residual;  // residual: -1 for none
    Window window;
    std::vector<std::int8_t> weight;  // [output channels, input channels, height, width]
    std::vector<float> scale, bias;   // of every output channel
    float residual_scale;
};

struct MaxPool {
    int output, input;
    Window window;
};

// Mean over the map as float32: (sum - pixels * zero) * scale, scale being that of the tensor over its pixels.
struct Mean {
    int output, input;
    float scale;
};

// All values of a map as float32, (value - zero) * scale, channel by channel and row by row.
struct Dequantize {
    int output, input;
    float scale;
};

// weight @ input + bias in float32, negative results cut off where `relu`.
struct Linear {
    int output, input;
    std::vector<float> weight, bias;
    bool relu;
};

using Operation = std::variant<Conv, MaxPool, Mean, Dequantize, Linear>;

// Tensors are numbered in the order in which they are written; 0 is the input. A tensor is a quantised map with a zero
// point, or a vector of floats.
class Network {
public:
    struct Tensor {
        Map map;        // of a quantised tensor
        int zero = 0;
        int floats = 0;  // values of a float tensor; 0 for a quantised one
    };

    // scale: real = scale * (quantised - zero). Everything below throws std::invalid_argument for what cannot run.
    Network(Map input, float scale, int zero);
    void conv(Conv operation, int output_channels, int zero);
    void max_pool(MaxPool operation);
    void mean(Mean operation);
    void dequantize(Dequantize operation);
    void linear(Linear operation);

    // Gives a margin to every map that a convolution can then read with its halo in place.
    void make_margins();

    const std::vector<Tensor>& tensors() const { return tensors_; }
    const std::vector<Operation>& operations() const { return operations_; }
    float scale() const { return scale_; }

private:
    const Tensor& quantised(int tensor, const char* who) const;
    const Tensor& vector(int tensor, const char* who) const;
    Map windowed(const Map& input, const Window& window, int channels, const char* who) const;
    void add(int output, Tensor tensor, Operation operation, const char* who);

    float scale_;
    std::vector<Tensor> tensors_;
    std::vector<Operation> operations_;
};

}  // namespace downshift::int8
