// A quantised sub-net: what Python describes, validated.
#pragma once
#include <array>
#include <string>
#include <variant>
#include <vector>

#include "../activation.hpp"
#include "isa.hpp"
#include "layout.hpp"

namespace downshift::int8 {

// result = saturate_u8(round(fma(sum, scale, bias) [fma residual * residual_scale])), zero points folded into the bias.
struct Conv {
    int output, input, residual;  // residual: -1 for none
    Window window;
    int groups;
    std::vector<std::int8_t> weight;  // [output channels, input channels / groups, height, width]
    std::vector<float> scale, bias;   // of every output channel
    float residual_scale;
};

struct MaxPool {
    int output, input;
    Window window;
};

// sum of a window * (1 / its pixels); the halo counts as the zero point, or not at all.
struct AveragePool {
    int output, input;
    Window window;
    bool count_padding;
};

// fma(sum over the map, scale, bias): a map of one pixel.
struct MeanMap {
    int output, input;
    float scale, bias;
};

// fma(right, right_scale, fma(input, scale, bias))
struct Add {
    int output, input, right;
    float scale, right_scale, bias;
};

// fma(input, scale, bias), one scale and bias for each channel.
struct Affine {
    int output, input;
    std::vector<float> scale, bias;
};

// fma(input, s, fma(-its zero point, s, the output's)), s = (factor - its zero point) * scale; the factor is one pixel.
struct Scale {
    int output, input, factor;
    float scale;
};

using ByteTable = std::array<std::uint8_t, 256>;

// table[input]
struct Lookup {
    int output, input;
    ByteTable table;
};

// The value at start + step * index along channels, height and width; the zero point outside the input.
struct Take {
    int output, input;
    std::array<int, 3> start, step;
};

// tables[i][inputs[i]], one after another along the channels.
struct Concat {
    int output;
    std::vector<int> inputs;
    std::vector<ByteTable> tables;
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

// An activation of a vector of floats.
struct Activate {
    int output, input;
    Activation activation;
};

using Operation = std::variant<Conv, MaxPool, AveragePool, MeanMap, Add, Affine, Scale, Lookup, Take, Concat, Mean,
                               Dequantize, Linear, Activate>;

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
    void average_pool(AveragePool operation);
    void mean_map(MeanMap operation, int zero);
    void add(Add operation, int zero);
    void affine(Affine operation, int zero);
    void scale(Scale operation, int zero);
    void lookup(Lookup operation, int zero);
    void take(Take operation, std::array<int, 3> size);
    void concat(Concat operation, int zero);
    void mean(Mean operation);
    void dequantize(Dequantize operation);
    void linear(Linear operation);
    void activate(Activate operation);

    // Gives a margin to every map that a convolution can then read with its halo in place. Gives none where some operation
    // goes through whole rows at once, or where a convolution's offsets would no longer reach.
    void make_margins();

    const std::vector<Tensor>& tensors() const { return tensors_; }
    const std::vector<Operation>& operations() const { return operations_; }
    float scale() const { return scale_; }

private:
    const Tensor& quantised(int tensor, const char* who) const;
    const Tensor& vector(int tensor, const char* who) const;
    void append(int output, Tensor tensor, Operation operation, const char* who);

    float scale_;
    std::vector<Tensor> tensors_;
    std::vector<Operation> operations_;
};

}  // namespace downshift::int8
