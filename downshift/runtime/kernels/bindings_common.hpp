// What the bindings of both kinds of kernels share.
#pragma once
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "activation.hpp"

namespace downshift {

template <class T, int N>
using Array = nanobind::ndarray<const T, nanobind::ndim<N>, nanobind::c_contig, nanobind::device::cpu>;

template <class Any>
std::vector<std::remove_const_t<typename Any::Scalar>> values(const Any& array) {
    return {array.data(), array.data() + array.size()};
}

inline Activation activation_named(const std::string& name) {
    constexpr std::pair<const char*, Activation> names[] = {
        {"none", Activation::none},           {"relu", Activation::relu},
        {"relu6", Activation::relu6},         {"silu", Activation::silu},
        {"hard_swish", Activation::hard_swish}, {"hard_sigmoid", Activation::hard_sigmoid},
        {"sigmoid", Activation::sigmoid},
    };
    for (const auto& [known, activation] : names)
        if (name == known) return activation;
    throw std::invalid_argument("activation " + name + " is unknown");
}

template <class Isa>
const Isa& isa_named(const std::vector<const Isa*>& isas, const std::string& name) {
    for (const Isa* isa : isas)
        if (name == isa->name) return *isa;
    throw std::invalid_argument("instruction set " + name + " is not supported on this machine");
}

template <class Isa>
std::vector<std::string> names_of(const std::vector<const Isa*>& isas) {
    std::vector<std::string> names;
    for (const Isa* isa : isas) names.emplace_back(isa->name);
    return names;
}

// Logits [n, classes] of a batch [n, C, H, W], without the GIL.
template <class Program>
nanobind::ndarray<nanobind::numpy, float, nanobind::ndim<2>> run(Program& program, const Array<float, 4>& batch) {
    const auto& shape = program.input_shape();
    const std::size_t examples = batch.shape(0);
    if (batch.shape(1) != std::size_t(shape.channels) || batch.shape(2) != std::size_t(shape.height) ||
        batch.shape(3) != std::size_t(shape.width) || examples < 1 || examples > (1u << 20))
        throw std::invalid_argument("batch of shape (" + std::to_string(examples) + ", " + std::to_string(batch.shape(1)) +
                                    ", " + std::to_string(batch.shape(2)) + ", " + std::to_string(batch.shape(3)) +
                                    "): needs (1 or more, " + std::to_string(shape.channels) + ", " +
                                    std::to_string(shape.height) + ", " + std::to_string(shape.width) + ")");
    auto* output = new float[examples * std::size_t(program.classes())];
    nanobind::capsule owner(output, [](void* values) noexcept { delete[] static_cast<float*>(values); });
    {
        const nanobind::gil_scoped_release release;
        program.run(batch.data(), output, int(examples));
    }
    return {output, {examples, std::size_t(program.classes())}, owner};
}

}  // namespace downshift
