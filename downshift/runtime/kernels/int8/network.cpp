#include "network.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <type_traits>

namespace downshift::int8 {
namespace {

constexpr std::int64_t most_vectors = (1 << 28) / std::int64_t(vector_bytes);  // of one expanded map: offsets and tables are 32 bits

[[noreturn]] void refuse(const char* who, const std::string& problem) {
    throw std::invalid_argument(std::string(who) + ": " + problem);
}

void in_range(int zero, const char* who) {
    if (zero < 0 || zero > 255) refuse(who, "its zero point is out of range");
}

constexpr double most_result = 2147483000.0;  // below 2^31, also once it is rounded to float32

// Before saturation every result must fit 32 bits; NaN does not.
void fits(double largest, const char* who) {
    if (!(largest < most_result)) refuse(who, "its results do not fit 32 bits");
}

// A division for every product: any sizes can be asked for.
bool few_vectors(std::int64_t groups, std::int64_t rows, std::int64_t columns) {
    return groups <= most_vectors && rows <= most_vectors / groups && columns <= most_vectors / groups / rows;
}

// The map of these sizes, each at least 1.
Map checked_map(std::int64_t channels, std::int64_t height, std::int64_t width, const char* who) {
    const auto quarter = [](std::int64_t size) { return (size + 3) / 4; };
    if (!few_vectors(quarter(channels), quarter(height), quarter(width)))
        refuse(who, "a map of " + std::to_string(channels) + " x " + std::to_string(height) + " x " + std::to_string(width) + " is too large");
    return {int(channels), int(height), int(width)};
}

// What a window makes of a map, with so many channels.
Map windowed(const Map& input, const Window& window, int channels, const char* who) {
    const int paddings[] = {window.top, window.left, window.bottom, window.right};
    for (const int padding : paddings)
        if (padding < 0 || padding >= std::max(window.height, window.width)) refuse(who, "its padding is not below its window");
    if (window.height < 1 || window.width < 1 || window.top >= window.height || window.left >= window.width)
        refuse(who, "its window is empty or smaller than its padding");
    if (window.stride < 1 || window.stride > 1 << 15) refuse(who, "stride " + std::to_string(window.stride) + " is out of range");
    const std::int64_t height = std::int64_t(input.height) + window.top + window.bottom - window.height;
    const std::int64_t width = std::int64_t(input.width) + window.left + window.right - window.width;
    if (height < 0 || width < 0) refuse(who, "its window is larger than the padded map");
    const Map output = checked_map(channels, height / window.stride + 1, width / window.stride + 1, who);
    const Expansion expansion(input, output, window);
    if (!few_vectors(input.groups(), expansion.rows(), expansion.columns())) refuse(who, "its window and the map are too large");
    return output;
}

bool alike(const Map& a, const Map& b) { return a.channels == b.channels && a.height == b.height && a.width == b.width; }

}  // namespace

Network::Network(Map input, float scale, int zero) : scale_(scale) {
    if (input.channels < 1 || input.height < 1 || input.width < 1) refuse("input", "an image needs channels, height and width");
    if (!(scale > 0) || !std::isfinite(scale) || zero < 0 || zero > 255) refuse("input", "scale or zero point out of range");
    tensors_.push_back({checked_map(input.channels, input.height, input.width, "input"), zero, 0});
}

const Network::Tensor& Network::quantised(int tensor, const char* who) const {
    if (tensor < 0 || tensor >= int(tensors_.size()) || tensors_[std::size_t(tensor)].floats)
        refuse(who, "tensor " + std::to_string(tensor) + " is no quantised map written before");
    return tensors_[std::size_t(tensor)];
}

const Network::Tensor& Network::vector(int tensor, const char* who) const {
    if (tensor < 0 || tensor >= int(tensors_.size()) || !tensors_[std::size_t(tensor)].floats)
        refuse(who, "tensor " + std::to_string(tensor) + " is no float vector written before");
    return tensors_[std::size_t(tensor)];
}

void Network::append(int output, Tensor tensor, Operation operation, const char* who) {
    if (output != int(tensors_.size())) refuse(who, "tensor " + std::to_string(output) + " is not the next one");
    tensors_.push_back(tensor);
    operations_.push_back(std::move(operation));
}

void Network::conv(Conv operation, int output_channels, int zero) {
    constexpr const char* who = "convolution";
    const Tensor& source = quantised(operation.input, who);
    const std::size_t window = std::size_t(operation.window.height) * std::size_t(operation.window.width);
    if (operation.groups < 1 || source.map.channels % operation.groups || output_channels % operation.groups)
        refuse(who, "its channels are no multiples of its " + std::to_string(operation.groups) + " groups");
    const std::size_t each = std::size_t(source.map.channels / operation.groups) * window;
    if (operation.window.stride < 1 || operation.window.stride > 2)
        refuse(who, "stride " + std::to_string(operation.window.stride) + " is neither 1 nor 2");
    if (output_channels < 1 || operation.weight.size() != std::size_t(output_channels) * each ||
        operation.scale.size() != std::size_t(output_channels) || operation.bias.size() != std::size_t(output_channels))
        refuse(who, "weight, scale and bias do not fit its input");
    in_range(zero, who);
    const Map output = windowed(source.map, operation.window, output_channels, who);
    if (!Expansion(source.map, output, operation.window).fits_offsets()) refuse(who, "the map is too large");
    double largest_residual = 0;
    if (operation.residual >= 0) {
        const Map& residual = quantised(operation.residual, who).map;
        if (!alike(residual, output)) refuse(who, "its residual has another shape");
        largest_residual = 255.0 * std::fabs(double(operation.residual_scale));
    }
    for (int channel = 0; channel < output_channels; ++channel) {
        double sum = 0;
        for (std::size_t i = 0; i < each; ++i) sum += std::abs(int(operation.weight[std::size_t(channel) * each + i]));
        const double scale = operation.scale[std::size_t(channel)], bias = operation.bias[std::size_t(channel)];
        const double largest = sum * 255.0 * std::fabs(scale) + std::fabs(bias) + largest_residual;
        if (sum * 255.0 >= 2147483647.0 || !(largest < most_result))  // NaN included: a result must fit 32 bits
            refuse(who, "its sums do not fit 32 bits");
    }
    const int number = operation.output;
    append(number, {output, zero, 0}, std::move(operation), who);
}

void Network::max_pool(MaxPool operation) {
    constexpr const char* who = "maximum pooling";
    const Tensor source = quantised(operation.input, who);
    const Map output = windowed(source.map, operation.window, source.map.channels, who);
    append(operation.output, {output, source.zero, 0}, operation, who);
}

void Network::average_pool(AveragePool operation) {
    constexpr const char* who = "average pooling";
    const Tensor source = quantised(operation.input, who);
    const Map output = windowed(source.map, operation.window, source.map.channels, who);
    fits(255.0 * operation.window.height * operation.window.width, who);
    append(operation.output, {output, source.zero, 0}, operation, who);
}

void Network::mean_map(MeanMap operation, int zero) {
    constexpr const char* who = "global average";
    const Map source = quantised(operation.input, who).map;
    in_range(zero, who);
    const double sum = 255.0 * source.height * source.width;
    fits(sum, who);
    fits(sum * std::fabs(double(operation.scale)) + std::fabs(double(operation.bias)), who);
    append(operation.output, {{source.channels, 1, 1}, zero, 0}, operation, who);
}

void Network::add(Add operation, int zero) {
    constexpr const char* who = "addition";
    const Map map = quantised(operation.input, who).map;
    if (!alike(map, quantised(operation.right, who).map)) refuse(who, "its operands differ in shape");
    in_range(zero, who);
    fits(255.0 * (std::fabs(double(operation.scale)) + std::fabs(double(operation.right_scale))) + std::fabs(double(operation.bias)), who);
    append(operation.output, {map, zero, 0}, operation, who);
}

void Network::affine(Affine operation, int zero) {
    constexpr const char* who = "affine map";
    const Map map = quantised(operation.input, who).map;
    if (operation.scale.size() != std::size_t(map.channels) || operation.bias.size() != operation.scale.size())
        refuse(who, "scale and bias do not fit its input");
    in_range(zero, who);
    for (std::size_t i = 0; i < operation.scale.size(); ++i)
        fits(255.0 * std::fabs(double(operation.scale[i])) + std::fabs(double(operation.bias[i])), who);
    const int number = operation.output;
    append(number, {map, zero, 0}, std::move(operation), who);
}

void Network::scale(Scale operation, int zero) {
    constexpr const char* who = "scaling";
    const Map map = quantised(operation.input, who).map;
    if (!alike(quantised(operation.factor, who).map, {map.channels, 1, 1})) refuse(who, "its factor is not one per channel");
    in_range(zero, who);
    fits(2 * 255.0 * 255.0 * std::fabs(double(operation.scale)) + 255.0, who);
    append(operation.output, {map, zero, 0}, operation, who);
}

void Network::lookup(Lookup operation, int zero) {
    constexpr const char* who = "table";
    const Map map = quantised(operation.input, who).map;
    in_range(zero, who);
    append(operation.output, {map, zero, 0}, operation, who);
}

void Network::take(Take operation, std::array<int, 3> size) {
    constexpr const char* who = "slice or pad";
    constexpr int most = 1 << 20;
    const Tensor source = quantised(operation.input, who);
    for (int axis = 0; axis < 3; ++axis) {
        const std::size_t i = std::size_t(axis);
        if (size[i] < 1 || size[i] > most || operation.step[i] < 1 || operation.step[i] > most || operation.start[i] < -most || operation.start[i] > most)
            refuse(who, "start, step or size is out of range");
        if (std::int64_t(operation.step[i]) * size[i] > (1 << 30)) refuse(who, "start, step or size is out of range");
    }
    const Map output = checked_map(size[0], size[1], size[2], who);
    append(operation.output, {output, source.zero, 0}, operation, who);
}

void Network::concat(Concat operation, int zero) {
    constexpr const char* who = "concatenation";
    if (operation.inputs.empty() || operation.tables.size() != operation.inputs.size()) refuse(who, "it needs one table for each input");
    in_range(zero, who);
    Map map = quantised(operation.inputs.front(), who).map;
    std::int64_t channels = 0;
    for (const int input : operation.inputs) {
        const Map& one = quantised(input, who).map;
        if (one.height != map.height || one.width != map.width) refuse(who, "its inputs differ in size");
        channels += one.channels;
    }
    map = checked_map(channels, map.height, map.width, who);
    const int number = operation.output;
    append(number, {map, zero, 0}, std::move(operation), who);
}

void Network::mean(Mean operation) {
    constexpr const char* who = "global average";
    const Map source = quantised(operation.input, who).map;
    fits(255.0 * source.height * source.width, who);
    append(operation.output, {{}, 0, source.channels}, operation, who);
}

void Network::dequantize(Dequantize operation) {
    constexpr const char* who = "flattening";
    const Map& map = quantised(operation.input, who).map;
    append(operation.output, {{}, 0, map.channels * map.height * map.width}, operation, who);
}

void Network::linear(Linear operation) {
    constexpr const char* who = "linear layer";
    const int inputs = vector(operation.input, who).floats, outputs = int(operation.bias.size());
    if (outputs < 1 || operation.weight.size() != std::size_t(inputs) * std::size_t(outputs))
        refuse(who, "weight and bias do not fit its input");
    const int number = operation.output;
    append(number, {{}, 0, outputs}, std::move(operation), who);
}

void Network::activate(Activate operation) {
    constexpr const char* who = "activation";
    append(operation.output, {{}, 0, vector(operation.input, who).floats}, operation, who);
}

void Network::make_margins() {
    // Other operations go through whole rows at once.
    const auto knows_margins = [](const auto& one) {
        using One = std::decay_t<decltype(one)>;
        return std::is_same_v<One, Conv> || std::is_same_v<One, MaxPool> || std::is_same_v<One, AveragePool> ||
               std::is_same_v<One, Mean> || std::is_same_v<One, Dequantize> || std::is_same_v<One, Linear> ||
               std::is_same_v<One, Activate>;
    };
    for (const Operation& operation : operations_)
        if (!std::visit(knows_margins, operation)) return;
    const auto margin = [&](int tensor) -> int& { return tensors_[std::size_t(tensor)].map.margin; };
    for (const Operation& operation : operations_)
        if (const auto* conv = std::get_if<Conv>(&operation)) {
            Map map = tensors_[std::size_t(conv->input)].map;
            map.margin = 1;
            const Expansion expansion(map, tensors_[std::size_t(conv->output)].map, conv->window);
            if (expansion.resident() && !expansion.bare()) margin(conv->input) = 1;
        }
    // A residual lies as the output does.
    for (bool changed = true; changed;) {
        changed = false;
        for (const Operation& operation : operations_) {
            const auto* conv = std::get_if<Conv>(&operation);
            if (!conv || conv->residual < 0 || margin(conv->output) == margin(conv->residual)) continue;
            margin(conv->output) = margin(conv->residual) = 1;
            changed = true;
        }
    }
    // Rows with margins are longer.
    const auto fits_offsets = [&](const Operation& operation) {
        const auto* conv = std::get_if<Conv>(&operation);
        return !conv || Expansion(tensors_[std::size_t(conv->input)].map, tensors_[std::size_t(conv->output)].map, conv->window).fits_offsets();
    };
    if (!std::all_of(operations_.begin(), operations_.end(), fits_offsets))
        for (Tensor& tensor : tensors_) tensor.map.margin = 0;
}

}  // namespace downshift::int8
