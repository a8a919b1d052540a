// What a sub-net computes, independent of instruction set, layout and batch: operations on numbered tensors.
//
// Every function that adds an operation checks it against the shapes of its inputs and throws std::invalid_argument,
// naming the operation, when they do not fit; a Network is therefore always runnable.
#pragma once
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "isa.hpp"
#include "layout.hpp"

namespace downshift {

constexpr int largest_kernel = 64;  // and padding

// Per example; (C,) tensors are one row of C pixels.
struct Tensor {
    Shape shape;
    bool flat = false;
};

struct Window {
    int kernel_y = 1, kernel_x = 1;
    int stride_y = 1, stride_x = 1;
    int top = 0, left = 0, bottom = 0, right = 0;
};

struct Conv {
    int output, input, residual;  // residual < 0: none
    Window window;
    int groups;
    Activation activation;
    std::vector<float> weights;  // [O][I / groups][kernel_y][kernel_x]
    std::vector<float> bias;     // [O]
};

struct Linear {
    int output, input;
    Activation activation;
    std::vector<float> weights;  // [O][I]
    std::vector<float> bias;     // [O]
};

struct Pool {
    int output, input;
    Window window;
    bool maximum, count_padding;
};

struct GlobalAverage {
    int output, input;
};

// activation(input * scale * factor + shift + addend), per channel; factor is a (C, 1, 1) tensor.
struct Combine {
    int output, input;
    int addend, factor;               // < 0: none
    std::vector<float> scale, shift;  // [C], or empty
    Activation activation;
};

// Output channels [output_channel, + channels) at (y, x) are input channels (input_channel + i * channel_step) at
// (y * stride_y + top, x * stride_x + left); pixels outside the input, and channels of no piece, are zero.
struct Piece {
    int input;
    int output_channel, channels, input_channel, channel_step;
    int stride_y, stride_x, top, left;
};

struct Place {
    int output;
    std::vector<Piece> pieces;
};

struct Flatten {
    int output, input;
};

using Operation = std::variant<Conv, Linear, Pool, GlobalAverage, Combine, Place, Flatten>;

class Network {
public:
    explicit Network(Shape input);

    void conv(Conv operation);
    void linear(Linear operation, int outputs);
    void pool(Pool operation);
    void global_average(GlobalAverage operation);
    void combine(Combine operation);
    void place(Place operation, Shape shape);
    void flatten(Flatten operation);
    // The answer: a (C,) tensor. Nothing is added or changed afterwards: programs read a finished network without the GIL.
    void finish(int output);

    const std::vector<Operation>& operations() const { return operations_; }
    const Tensor& tensor(int number) const { return tensors_[std::size_t(number)]; }
    int tensors() const { return int(tensors_.size()); }
    int output() const { return output_; }

private:
    const Tensor& known(int number, const char* what) const;
    const Shape& map(int number, const char* what) const;
    void define(int number, Tensor tensor);

    std::vector<Tensor> tensors_;  // by number
    std::vector<Operation> operations_;
    int output_ = -1;
};

// Tensors an operation reads, and the one it writes.
std::vector<int> inputs_of(const Operation& operation);
int output_of(const Operation& operation);

}  // namespace downshift
