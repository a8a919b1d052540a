// The int8 part of the extension module.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <array>
#include <stdexcept>

#include "../bindings_common.hpp"
#include "isas.hpp"
#include "program.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace downshift::int8 {
namespace {

Window window(const std::array<int, 2>& kernel, const std::array<int, 2>& stride, const std::array<int, 4>& padding) {
    if (stride[0] != stride[1]) throw std::invalid_argument("strides that differ in height and width are not known");
    return {kernel[0], kernel[1], stride[0], padding[0], padding[1], padding[2], padding[3]};
}

ByteTable byte_table(const std::uint8_t* from, std::size_t size) {
    ByteTable table;
    if (size != table.size()) throw std::invalid_argument("a table has 256 bytes, not " + std::to_string(size));
    std::copy(from, from + size, table.begin());
    return table;
}

const Isa& isa_for(const std::optional<std::string>& name) { return name ? isa_named(supported_isas(), *name) : chosen_isa(); }

}  // namespace

void bind(nb::module_& module) {
    module.def("int8_isas", [] { return names_of(supported_isas()); },
               "Instruction sets of the int8 kernels that this machine runs, best first.");
    module.def("int8_isa", [] { return std::string(chosen_isa().name); },
               "The instruction set int8 programs are compiled for: DOWNSHIFT_FORCE_ISA, else the best.");
    module.def("int8_kernels", [](const std::string& name) {
        const Isa& isa = isa_named(supported_isas(), name);
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
                        int zero, std::optional<int> residual, float residual_scale, int groups) {
            const std::array<int, 2> kernel = {int(weight.shape(2)), int(weight.shape(3))};
            self.conv({output, input, residual.value_or(-1), window(kernel, stride, padding), groups, values(weight), values(scale),
                       values(bias), residual_scale}, int(weight.shape(0)), zero);
        }, nb::kw_only(), "output"_a, "input"_a, "weight"_a.noconvert(), "scale"_a.noconvert(), "bias"_a.noconvert(), "stride"_a, "padding"_a, "zero"_a, "residual"_a.none(), "residual_scale"_a, "groups"_a = 1,
           "Convolution: round(fma(sum, scale, bias) [+ residual * residual_scale]) saturated to a byte.")
        .def("max_pool", [](Network& self, int output, int input, const std::array<int, 2>& kernel,
                            const std::array<int, 2>& stride, const std::array<int, 4>& padding) {
            self.max_pool({output, input, window(kernel, stride, padding)});
        }, nb::kw_only(), "output"_a, "input"_a, "kernel"_a, "stride"_a, "padding"_a)
        .def("average_pool", [](Network& self, int output, int input, const std::array<int, 2>& kernel,
                                const std::array<int, 2>& stride, const std::array<int, 4>& padding, bool count_padding) {
            self.average_pool({output, input, window(kernel, stride, padding), count_padding});
        }, nb::kw_only(), "output"_a, "input"_a, "kernel"_a, "stride"_a, "padding"_a, "count_padding"_a,
           "Sum of a window * (1 / its pixels).")
        .def("mean_map", [](Network& self, int output, int input, float scale, float bias, int zero) {
            self.mean_map({output, input, scale, bias}, zero);
        }, nb::kw_only(), "output"_a, "input"_a, "scale"_a, "bias"_a, "zero"_a, "fma(sum of a channel, scale, bias): a map of one pixel.")
        .def("add", [](Network& self, int output, int left, int right, float left_scale, float right_scale, float bias, int zero) {
            self.add({output, left, right, left_scale, right_scale, bias}, zero);
        }, nb::kw_only(), "output"_a, "left"_a, "right"_a, "left_scale"_a, "right_scale"_a, "bias"_a, "zero"_a,
           "fma(right, right_scale, fma(left, left_scale, bias)).")
        .def("affine", [](Network& self, int output, int input, const Array<float, 1>& scale, const Array<float, 1>& bias, int zero) {
            self.affine({output, input, values(scale), values(bias)}, zero);
        }, nb::kw_only(), "output"_a, "input"_a, "scale"_a.noconvert(), "bias"_a.noconvert(), "zero"_a,
           "fma(value, scale, bias), one scale and bias for each channel.")
        .def("scale", [](Network& self, int output, int input, int factor, float scale, int zero) {
            self.scale({output, input, factor, scale}, zero);
        }, nb::kw_only(), "output"_a, "input"_a, "factor"_a, "scale"_a, "zero"_a, "A map times a map of one pixel.")
        .def("lookup", [](Network& self, int output, int input, const Array<std::uint8_t, 1>& table, int zero) {
            self.lookup({output, input, byte_table(table.data(), table.size())}, zero);
        }, nb::kw_only(), "output"_a, "input"_a, "table"_a.noconvert(), "zero"_a, "table[value], 256 bytes.")
        .def("take", [](Network& self, int output, int input, const std::array<int, 3>& start, const std::array<int, 3>& step,
                        const std::array<int, 3>& size) {
            self.take({output, input, start, step}, size);
        }, nb::kw_only(), "output"_a, "input"_a, "start"_a, "step"_a, "size"_a,
           "The value at start + step * index along channels, height and width; the zero point outside.")
        .def("concat", [](Network& self, int output, const std::vector<int>& inputs, const Array<std::uint8_t, 2>& tables, int zero) {
            std::vector<ByteTable> each;
            for (std::size_t i = 0; i < tables.shape(0); ++i)
                each.push_back(byte_table(tables.data() + i * tables.shape(1), tables.shape(1)));
            self.concat({output, inputs, std::move(each)}, zero);
        }, nb::kw_only(), "output"_a, "inputs"_a, "tables"_a.noconvert(), "zero"_a, "tables[i][value] of each input, channel after channel.")
        .def("activate", [](Network& self, int output, int input, const std::string& activation) {
            self.activate({output, input, activation_named(activation)});
        }, nb::kw_only(), "output"_a, "input"_a, "activation"_a, "An activation of a vector of floats, by its name.")
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
            const Isa& chosen = isa_for(isa);
            Network still = self;  // another thread may add to `self` once the GIL is released
            const nb::gil_scoped_release release;
            return std::make_shared<Program>(std::move(still), chosen, std::move(workers), plan);
        }, "workers"_a, "isa"_a = nb::none(), "plan"_a = nb::none(),
           "A program for `isa`. Measuring chooses every convolution's plan and whether threads share an image; `plan` numbers one for all.");

    nb::class_<Program>(module, "Int8Program", "A quantised network compiled for one instruction set and its workers.")
        .def("run", &run<Program>, "batch"_a.noconvert(), "Logits [n, classes] of a batch [n, C, H, W]; releases the GIL; safe from any thread.")
        .def_prop_ro("stream_bytes", &Program::stream_bytes);
}

}  // namespace downshift::int8
