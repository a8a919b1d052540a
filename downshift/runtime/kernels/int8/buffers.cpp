#include "buffers.hpp"

#include <algorithm>
#include <type_traits>

namespace downshift::int8 {
namespace {

// The tensors an operation reads.
std::vector<int> inputs_of(const Operation& operation) {
    return std::visit(
        [](const auto& one) {
            using One = std::decay_t<decltype(one)>;
            if constexpr (std::is_same_v<One, Concat>) {
                return one.inputs;
            } else {
                std::vector<int> inputs = {one.input};
                if constexpr (std::is_same_v<One, Conv>)
                    if (one.residual >= 0) inputs.push_back(one.residual);
                if constexpr (std::is_same_v<One, Add>) inputs.push_back(one.right);
                if constexpr (std::is_same_v<One, Scale>) inputs.push_back(one.factor);
                return inputs;
            }
        },
        operation);
}

}  // namespace

Buffers assign_buffers(const Network& network) {
    const auto& tensors = network.tensors();
    const auto& operations = network.operations();
    std::vector<int> last_read(tensors.size(), -1);
    for (int step = 0; step < int(operations.size()); ++step)
        for (const int tensor : inputs_of(operations[std::size_t(step)])) last_read[std::size_t(tensor)] = step;
    Buffers buffers;
    buffers.of.assign(tensors.size(), -1);
    std::vector<int> free_from;  // of every buffer: the step from which it may be written again
    const auto claim = [&](int tensor, int step) {
        int found = -1;
        for (int b = 0; b < int(free_from.size()) && found < 0; ++b)
            if (free_from[std::size_t(b)] <= step) found = b;
        if (found < 0) {
            found = int(free_from.size());
            free_from.push_back(0);
            buffers.bytes.push_back(0);
        }
        free_from[std::size_t(found)] = std::max(last_read[std::size_t(tensor)], step) + 1;
        buffers.bytes[std::size_t(found)] = std::max(buffers.bytes[std::size_t(found)], tensors[std::size_t(tensor)].map.bytes());
        buffers.margin = std::max(buffers.margin, tensors[std::size_t(tensor)].map.margin_bytes());
        buffers.of[std::size_t(tensor)] = found;
    };
    claim(0, 0);
    for (int step = 0; step < int(operations.size()); ++step) {
        const int output = std::visit([](const auto& one) { return one.output; }, operations[std::size_t(step)]);
        if (!tensors[std::size_t(output)].floats) claim(output, step);
    }
    return buffers;
}

}  // namespace downshift::int8
