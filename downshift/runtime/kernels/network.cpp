#include "network.hpp"

#include <cmath>
#include <stdexcept>

namespace downshift {

namespace {

constexpr int largest_side = 1 << 16;
constexpr int most_channels = 1 << 16;   // channel numbers of the streams are 16 bits
constexpr long long most_values = 1LL << 28;

[[noreturn]] void refuse(const std::string& reason) { throw std::invalid_argument(reason); }

std::string text(const Shape& shape) {
    return "(" + std::to_string(shape.channels) + ", " + std::to_string(shape.height) + ", " +
           std::to_string(shape.width) + ")";
}

void check_shape(const Shape& shape, const char* what) {
    const bool positive = shape.channels >= 1 && shape.height >= 1 && shape.width >= 1;
    const bool small = shape.channels <= most_channels && shape.height <= largest_side && shape.width <= largest_side &&
                       1LL * shape.channels * shape.height * shape.width <= most_values;
    if (!positive || !small) refuse(std::string(what) + ": shape " + text(shape) + " is empty or too large");
}

void check_count(std::size_t found, std::size_t wanted, const char* what) {
    if (found != wanted)
        refuse(std::string(what) + ": has " + std::to_string(found) + " values, needs " + std::to_string(wanted));
}

void check_finite(const std::vector<float>& values, const char* what) {
    for (float value : values)
        if (!std::isfinite(value)) refuse(std::string(what) + ": holds a value that is not finite");
}

// Rows or columns a window makes of `size`.
int windows(int size, int kernel, int stride, int before, int after, const char* what) {
    const bool sane = kernel >= 1 && kernel <= largest_kernel && stride >= 1 && stride <= largest_side && before >= 0 &&
                      after >= 0 && before <= largest_kernel && after <= largest_kernel;
    if (!sane || size + before + after < kernel)
        refuse(std::string(what) + ": a kernel of " + std::to_string(kernel) + " with stride " + std::to_string(stride) +
               " and padding " + std::to_string(before) + ", " + std::to_string(after) + " does not fit " +
               std::to_string(size) + " pixels");
    return (size + before + after - kernel) / stride + 1;
}

Shape windowed(const Shape& input, int channels, const Window& w, const char* what) {
    return {channels, windows(input.height, w.kernel_y, w.stride_y, w.top, w.bottom, what),
            windows(input.width, w.kernel_x, w.stride_x, w.left, w.right, what)};
}

}  // namespace

Network::Network(Shape input) {
    check_shape(input, "input");
    tensors_.push_back({input, false});
}

const Tensor& Network::known(int number, const char* what) const {
    if (number < 0 || number >= tensors()) refuse(std::string(what) + ": tensor " + std::to_string(number) + " is unknown");
    return tensors_[std::size_t(number)];
}

const Shape& Network::map(int number, const char* what) const {
    const Tensor& tensor = known(number, what);
    if (tensor.flat) refuse(std::string(what) + ": tensor " + std::to_string(number) + " has no height and width");
    return tensor.shape;
}

void Network::define(int number, Tensor tensor) {
    if (output_ >= 0) refuse("output tensor " + std::to_string(number) + ": the network is finished");
    if (number != tensors())
        refuse("output tensor " + std::to_string(number) + " is not the next one, " + std::to_string(tensors()));
    check_shape(tensor.shape, "output");
    tensors_.push_back(tensor);
}

void Network::conv(Conv operation) {
    const char* what = "convolution";
    const Shape input = map(operation.input, what);
    const Window& w = operation.window;
    const int outputs = int(operation.bias.size());
    const Shape output = windowed(input, outputs, w, what);
    if (operation.groups < 1 || input.channels % operation.groups || outputs % operation.groups)
        refuse("convolution: " + std::to_string(operation.groups) + " groups do not divide " +
               std::to_string(input.channels) + " and " + std::to_string(outputs) + " channels");
    const std::size_t taps = std::size_t(w.kernel_y) * std::size_t(w.kernel_x);
    check_count(operation.weights.size(),
                std::size_t(outputs) * std::size_t(input.channels / operation.groups) * taps, "convolution: weight");
    check_finite(operation.weights, "convolution: weight");
    check_finite(operation.bias, "convolution: bias");
    if (operation.residual >= 0 && map(operation.residual, what) != output)
        refuse("convolution: residual " + text(map(operation.residual, what)) + " is not of the output's shape " +
               text(output));
    define(operation.output, {output, false});
    operations_.push_back(std::move(operation));
}

void Network::linear(Linear operation, int outputs) {
    const Tensor input = known(operation.input, "linear");
    if (!input.flat) refuse("linear: tensor " + std::to_string(operation.input) + " is not flat");
    if (outputs < 1 || outputs > most_channels) refuse("linear: " + std::to_string(outputs) + " outputs");
    check_count(operation.weights.size(), std::size_t(outputs) * std::size_t(input.shape.width), "linear: weight");
    check_count(operation.bias.size(), std::size_t(outputs), "linear: bias");
    check_finite(operation.weights, "linear: weight");
    check_finite(operation.bias, "linear: bias");
    define(operation.output, {{1, 1, outputs}, true});
    operations_.push_back(std::move(operation));
}

void Network::pool(Pool operation) {
    const Shape input = map(operation.input, "pool");
    const Window& w = operation.window;
    const Shape output = windowed(input, input.channels, w, "pool");
    const bool empty_window = w.top >= w.kernel_y || w.left >= w.kernel_x ||
                              (output.height - 1) * w.stride_y - w.top >= input.height ||
                              (output.width - 1) * w.stride_x - w.left >= input.width;
    if (empty_window) refuse("pool: a window holds no pixel of the map");
    define(operation.output, {output, false});
    operations_.push_back(operation);
}

void Network::global_average(GlobalAverage operation) {
    const Shape input = map(operation.input, "global average");
    define(operation.output, {{input.channels, 1, 1}, false});
    operations_.push_back(operation);
}

void Network::combine(Combine operation) {
    const char* what = "combine";
    const Tensor input = known(operation.input, what);
    const std::size_t channels = std::size_t(input.shape.channels);
    if (operation.addend >= 0) {
        const Tensor& addend = known(operation.addend, what);
        if (addend.shape != input.shape || addend.flat != input.flat)
            refuse("combine: cannot add " + text(addend.shape) + " to " + text(input.shape));
    }
    if (operation.factor >= 0 && map(operation.factor, what) != Shape{input.shape.channels, 1, 1})
        refuse("combine: factor " + text(map(operation.factor, what)) + " does not fit " + text(input.shape));
    for (const std::vector<float>* values : {&operation.scale, &operation.shift}) {
        if (values->empty()) continue;
        check_count(values->size(), channels, "combine: scale or shift");
        check_finite(*values, "combine: scale or shift");
    }
    define(operation.output, input);
    operations_.push_back(std::move(operation));
}

void Network::place(Place operation, Shape shape) {
    check_shape(shape, "place");
    for (const Piece& piece : operation.pieces) {
        const Shape input = map(piece.input, "place");
        const bool inside = piece.channels >= 1 && piece.output_channel >= 0 && piece.input_channel >= 0 &&
                            piece.channel_step >= 1 && piece.channel_step <= most_channels &&
                            piece.channels <= shape.channels &&
                            piece.output_channel <= shape.channels - piece.channels &&
                            piece.input_channel + 1LL * (piece.channels - 1) * piece.channel_step < input.channels;
        const bool sane = piece.stride_y >= 1 && piece.stride_x >= 1 && piece.stride_y <= largest_side &&
                          piece.stride_x <= largest_side && std::abs(piece.top) <= largest_side &&
                          std::abs(piece.left) <= largest_side;
        if (!inside || !sane) refuse("place: a piece of tensor " + std::to_string(piece.input) + " lies outside it");
    }
    define(operation.output, {shape, false});
    operations_.push_back(std::move(operation));
}

void Network::flatten(Flatten operation) {
    const Shape input = map(operation.input, "flatten");
    const long long size = 1LL * input.channels * input.height * input.width;
    if (size > most_channels) refuse("flatten: " + std::to_string(size) + " values are too many");
    define(operation.output, {{1, 1, int(size)}, true});
    operations_.push_back(operation);
}

void Network::finish(int output) {
    if (output_ >= 0) refuse("answer: the network is finished");
    if (!known(output, "answer").flat) refuse("answer: tensor " + std::to_string(output) + " is not flat");
    output_ = output;
}

namespace {

template <class... Cases>
struct Match : Cases... {
    using Cases::operator()...;
};

void add(std::vector<int>& tensors, int tensor) {
    if (tensor >= 0) tensors.push_back(tensor);
}

}  // namespace

std::vector<int> inputs_of(const Operation& operation) {
    std::vector<int> tensors;
    std::visit(Match{
                   [&](const Conv& op) { add(tensors, op.input), add(tensors, op.residual); },
                   [&](const Combine& op) {
                       add(tensors, op.input), add(tensors, op.addend), add(tensors, op.factor);
                   },
                   [&](const Place& op) {
                       for (const Piece& piece : op.pieces) add(tensors, piece.input);
                   },
                   [&](const auto& op) { add(tensors, op.input); },
               },
               operation);
    return tensors;
}

int output_of(const Operation& operation) {
    return std::visit([](const auto& op) { return op.output; }, operation);
}

}  // namespace downshift
