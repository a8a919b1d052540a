// The int8 part of the extension module.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <array>
#include <stdexcept>
#include <type_traits>

#include "isas.hpp"
#include "program.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace downshift::int8 {
namespace {

template <class T, int N>
using Array = nb::ndarray<const T, nb::ndim<N>, nb::c_contig, nb::device::cpu>;

template <class Any>
std::vector<std::remove_const_t<typename Any::Scalar>> values(const Any& array) {
    return {array.data(), array.data() + array.size()};
}

Window window(const std::array<int, 2>& kernel, const std::array<int, 2>& stride, const std::array<int, 4>& padding) {
    if (stride[0] != stride[1]) throw std::invalid_argument("strides that differ in height and width are not known");
    return {kernel[0], kernel[1], stride[0], padding[0], padding[1], padding[2], padding[3]};
}

const Isa& isa_named(const std::optional<std::string>& name) {
    const auto supported = supported_isas();
    if (!name) return *supported.front();
    for (const Isa* isa : supported)
        if (*name == isa->name) return *isa;
    throw std::invalid_argument("instruction set " + *name + " is not supported on this machine");
}

nb::ndarray<nb::numpy, float, nb::ndim<2>> run(Program& program, const Array<float, 4>& batch) {
    const Map& map = program.input();
    const std::size_t examples = batch.shape(0);
    if (batch.shape(1) != std::size_t(map.channels) || batch.shape(2) != std::size_t(map.height) ||
        batch.shape(3) != std::size_t(map.width) || examples < 1 || examples > (1u << 20))
        throw std::invalid_argument("batch: needs shape (1 or more, " + std::to_string(map.channels) + ", " +
                                    std::to_string(map.height) + ", " + std::to_string(map.width) + ")");
    auto* output = new float[examples * std::size_t(program.classes())];
    nb::capsule owner(output, [](void* values) noexcept { delete[] static_cast<float*>(values); });
    {
        const nb::gil_scoped_release release;
        program.run(batch.data(), output, int(examples));
    }
    return {output, {examples, std::size_t(program.classes())}, owner};
}

}  // namespace

void bind(nb::module_& module) {
    module.def("int8_isas", [] {
        std::vector<std::string> names;
        for (const Isa* isa : supported_isas()) names.emplace_back(isa->name);
        return names;
    }, "Instruction sets of the int8 kernels that this machine runs, best first.");
    module.def("int8_kernels", [](const std::string& name) {
        const Isa& isa = isa_named(name);
        std::vector<std::array<int, 4>> kernels;
        for (int k = 0; k < isa.conv_count; ++k)
            kernels.push_back({isa.convs[k].rows, isa.convs[k].height, isa.convs[k].width, isa.convs[k].stride});
        return kernels;
    }, "isa"_a, "Every int8 convolution kernel of an instruction set: rows, tile height, tile width, stride.");

    nb::class_<Network>(module, "Int8Network", "Quantised operations on numbered tensors; tensor 0 is the input.")
        .def("__init__", [](Network* self, const std::array<int, 3>& input, float scale, int zero) {
            new (self) Network(Map{input[0], input[1], input[2]}, scale, zero);
        }, "input"_a, "scale"_a, "zero"_a)
        .def("conv", [](Network& self, int output, int input, const Array<std::int8_t, 4>& weight, const Array<float, 1>& scale,
                        const Array<float, 1>& bias, const std::array<int, 2>& stride, const std::array<int, 4>& padding,
                        int zero, std::optional<int> residual, float residual_scale) {
            const std::array<int, 2> kernel = {int(weight.shape(2)), int(weight.shape(3))};
            self.conv({output, input, residual.value_or(-1), window(kernel, stride, padding), values(weight), values(scale),
                       values(bias), residual_scale}, int(weight.shape(0)), zero);
        }, nb::kw_only(), "output"_a, "input"_a, "weight"_a.noconvert(), "scale"_a.noconvert(), "bias"_a.noconvert(), "stride"_a, "padding"_a, "zero"_a, "residual"_a.none(), "residual_scale"_a,
           "Convolution: round(fma(sum, scale, bias) [+ residual * residual_scale]) saturated to a byte.")
        .def("max_pool", [](Network& self, int output, int input, const std::array<int, 2>& kernel,
                            const std::array<int, 2>& stride, const std::array<int, 4>& padding) {
            self.max_pool({output, input, window(kernel, stride, padding)});
        }, nb::kw_only(), "output"_a, "input"_a, "kernel"_a, "stride"_a, "padding"_a)
        .def("mean", [](Network& self, int output, int input, float scale) { self.mean({output, input, scale}); },
             nb::kw_only(), "output"_a, "input"_a, "scale"_a)
        .def("dequantize", [](Network& self, int output, int input, float scale) { self.dequantize({output, input, scale}); },
             nb::kw_only(), "output"_a, "input"_a, "scale"_a)
        .def("linear", [](Network& self, int output, int input, const Array<float, 2>& weight, const Array<float, 1>& bias,
                          bool relu) {
            self.linear({output, input, values(weight), values(bias), relu});
        }, nb::kw_only(), "output"_a, "input"_a, "weight"_a.noconvert(), "bias"_a.noconvert(), "relu"_a)
        .def("compile", [](const Network& self, std::shared_ptr<Workers> workers, const std::optional<std::string>& isa,
                           std::optional<int> plan) {
            if (plan && *plan < 0) throw std::invalid_argument("plan " + std::to_string(*plan) + ": plans count from 0");
            const Isa& chosen = isa_named(isa);
            const nb::gil_scoped_release release;
            return std::make_shared<Program>(self, chosen, std::move(workers), plan);
        }, "workers"_a, "isa"_a = nb::none(), "plan"_a = nb::none(),
           "A program whose convolutions each use the plan measured fastest here, or all the one numbered `plan`.");

    nb::class_<Program>(module, "Int8Program", "A quantised network compiled for one instruction set and its workers.")
        .def("run", &run, "batch"_a.noconvert(), "Logits [n, classes] of a batch [n, C, H, W]; releases the GIL; safe from any thread.")
        .def_prop_ro("stream_bytes", &Program::stream_bytes);
}

}  // namespace downshift::int8
