// The extension module `runtime._kernels`: networks are described from Python, compiled, and run without the GIL.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <array>
#include <stdexcept>

#include "program.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace downshift {
namespace {

template <int N>
using Floats = nb::ndarray<const float, nb::ndim<N>, nb::c_contig, nb::device::cpu>;
using Batch = nb::ndarray<const float, nb::ndim<4>, nb::c_contig, nb::device::cpu>;
using Pair = std::array<int, 2>;
using Four = std::array<int, 4>;
using Triple = std::array<int, 3>;
using PieceTuple = std::tuple<int, int, int, int, int, int, int, int, int>;
using TilingTuple = std::tuple<int, int, int, bool, int>;

template <class Array>
std::vector<float> values(const Array& array) {
    return {array.data(), array.data() + array.size()};
}

std::vector<float> values_or_none(const std::optional<Floats<1>>& array) {
    return array ? values(*array) : std::vector<float>{};
}

Activation activation_named(const std::string& name) {
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

Window window(const Pair& kernel, const Pair& stride, const Four& padding) {
    return {kernel[0], kernel[1], stride[0], stride[1], padding[0], padding[1], padding[2], padding[3]};
}

Tiling tiling(const TilingTuple& tuple) {
    Tiling tiling;
    std::tie(tiling.vectors, tiling.rows, tiling.block, tiling.split, tiling.parts) = tuple;
    return tiling;
}

std::vector<TilingTuple> tuples(const std::vector<Tiling>& tilings) {
    std::vector<TilingTuple> result;
    for (const Tiling& t : tilings) result.emplace_back(t.vectors, t.rows, t.block, t.split, t.parts);
    return result;
}

const Isa& isa_named(const std::optional<std::string>& name) {
    if (!name) return chosen_isa();
    for (const Isa* isa : supported_isas())
        if (*name == isa->name) return *isa;
    throw std::invalid_argument("instruction set " + *name + " is not supported on this machine");
}

const Network& finished(const Network& network) {
    if (network.output() < 0) throw std::invalid_argument("network: no output was named");
    return network;
}

std::shared_ptr<Workers> make_workers(int threads) {
    if (threads < 1 || threads > 256) throw std::invalid_argument(std::to_string(threads) + " threads: ask for 1 to 256");
    return std::make_shared<Workers>(threads);
}

nb::ndarray<nb::numpy, float, nb::ndim<2>> run(Program& program, const Batch& batch) {
    const Shape shape = program.input_shape();
    const std::size_t examples = batch.shape(0);
    if (batch.shape(1) != std::size_t(shape.channels) || batch.shape(2) != std::size_t(shape.height) ||
        batch.shape(3) != std::size_t(shape.width) || examples < 1 || examples > (1u << 20))
        throw std::invalid_argument("batch of shape (" + std::to_string(examples) + ", " + std::to_string(batch.shape(1)) +
                                    ", " + std::to_string(batch.shape(2)) + ", " + std::to_string(batch.shape(3)) +
                                    "): needs (1 or more, " + std::to_string(shape.channels) + ", " +
                                    std::to_string(shape.height) + ", " + std::to_string(shape.width) + ")");
    auto* output = new float[examples * std::size_t(program.classes())];
    nb::capsule owner(output, [](void* values) noexcept { delete[] static_cast<float*>(values); });
    {
        const nb::gil_scoped_release release;
        program.run(batch.data(), output, int(examples));
    }
    return {output, {examples, std::size_t(program.classes())}, owner};
}

}  // namespace
}  // namespace downshift

NB_MODULE(_kernels, module) {
    using namespace downshift;
    // An interpreter that ends leaves alone what threads and modules still hold: not worth a page on stderr.
    nb::set_leak_warnings(false);
    module.doc() = "Sparse convolution kernels: describe a Network, compile a Program, run it.";

    module.def("isas", [] {
        std::vector<std::string> names;
        for (const Isa* isa : supported_isas()) names.emplace_back(isa->name);
        return names;
    }, "Instruction sets this machine runs, best first.");
    module.def("isa", [] { return std::string(chosen_isa().name); },
               "The instruction set programs are compiled for: DOWNSHIFT_FORCE_ISA, else the best.");
    module.def("conv_kernels", [](const std::string& name) {
        const Isa& isa = isa_named(name);
        constexpr const char* columns[] = {"none", "pitch4", "pitch8", "row1", "row2", "row4", "rows"};
        std::vector<std::tuple<int, std::string, int>> kernels;
        for (int k = 0; k < isa.conv_count; ++k)
            kernels.emplace_back(isa.convs[k].vectors, columns[int(isa.convs[k].columns)], isa.convs[k].rows);
        return kernels;
    }, "isa"_a, "Every convolution kernel of an instruction set: vectors of a tile, columns, rows.");

    nb::class_<Workers>(module, "Workers", "Threads that run programs; programs which share them take turns.")
        .def(nb::new_(&make_workers), "threads"_a)
        .def_prop_ro("threads", &Workers::threads);

    nb::class_<Network>(module, "Network", "Operations on numbered tensors; tensor 0 is the input.")
        .def("__init__", [](Network* self, const Triple& input) { new (self) Network(Shape{input[0], input[1], input[2]}); },
             "input"_a)
        .def("conv", [](Network& self, int output, int input, const Floats<4>& weight, const Floats<1>& bias,
                        const Pair& stride, const Four& padding, int groups, const std::string& activation,
                        std::optional<int> residual) {
            const Pair kernel = {int(weight.shape(2)), int(weight.shape(3))};
            if (weight.shape(0) != bias.size()) throw std::invalid_argument("convolution: weight and bias disagree");
            self.conv({output, input, residual.value_or(-1), window(kernel, stride, padding), groups,
                       activation_named(activation), values(weight), values(bias)});
        }, "output"_a, "input"_a, "weight"_a.noconvert(), "bias"_a.noconvert(), "stride"_a, "padding"_a, "groups"_a, "activation"_a, "residual"_a.none())
        .def("linear", [](Network& self, int output, int input, const Floats<2>& weight, const Floats<1>& bias,
                          const std::string& activation) {
            self.linear({output, input, activation_named(activation), values(weight), values(bias)}, int(weight.shape(0)));
        }, "output"_a, "input"_a, "weight"_a.noconvert(), "bias"_a.noconvert(), "activation"_a)
        .def("pool", [](Network& self, int output, int input, const Pair& kernel, const Pair& stride, const Four& padding,
                        bool maximum, bool count_padding) {
            self.pool({output, input, window(kernel, stride, padding), maximum, count_padding});
        }, "output"_a, "input"_a, "kernel"_a, "stride"_a, "padding"_a, "maximum"_a, "count_padding"_a)
        .def("global_average", [](Network& self, int output, int input) { self.global_average({output, input}); },
             "output"_a, "input"_a)
        .def("combine", [](Network& self, int output, int input, std::optional<int> addend, std::optional<int> factor,
                           const std::optional<Floats<1>>& scale, const std::optional<Floats<1>>& shift,
                           const std::string& activation) {
            self.combine({output, input, addend.value_or(-1), factor.value_or(-1), values_or_none(scale),
                          values_or_none(shift), activation_named(activation)});
        }, "output"_a, "input"_a, "addend"_a.none(), "factor"_a.none(), "scale"_a.none(), "shift"_a.none(), "activation"_a)
        .def("place", [](Network& self, int output, const Triple& shape, const std::vector<PieceTuple>& pieces) {
            Place operation{output, {}};
            for (const PieceTuple& p : pieces) {
                Piece piece{};
                std::tie(piece.input, piece.output_channel, piece.channels, piece.input_channel, piece.channel_step,
                         piece.stride_y, piece.stride_x, piece.top, piece.left) = p;
                operation.pieces.push_back(piece);
            }
            self.place(std::move(operation), {shape[0], shape[1], shape[2]});
        }, "output"_a, "shape"_a, "pieces"_a)
        .def("flatten", [](Network& self, int output, int input) { self.flatten({output, input}); }, "output"_a, "input"_a)
        .def("finish", &Network::finish, "output"_a)
        .def("compile", [](const Network& self, std::shared_ptr<Workers> workers, const std::vector<TilingTuple>& tilings,
                           const std::optional<std::string>& isa) {
            std::vector<Tiling> wanted;
            for (const TilingTuple& tuple : tilings) wanted.push_back(tiling(tuple));
            const Isa& chosen = isa_named(isa);
            const nb::gil_scoped_release release;
            return std::make_shared<Program>(finished(self), chosen, std::move(workers), std::move(wanted));
        }, "workers"_a, "tilings"_a = std::vector<TilingTuple>{}, "isa"_a = nb::none())
        .def("tuning", [](const Network& self, std::shared_ptr<Workers> workers, const std::optional<std::string>& isa) {
            const Isa& chosen = isa_named(isa);
            const nb::gil_scoped_release release;
            return std::make_shared<Tuning>(finished(self), chosen, std::move(workers));
        }, "workers"_a, "isa"_a = nb::none(), nb::keep_alive<0, 1>());

    nb::class_<Tuning>(module, "Tuning", "The search for better tilings of a network's convolutions. One thread at a time.")
        .def("advance", &Tuning::advance, "seconds"_a, nb::call_guard<nb::gil_scoped_release>(),
             "Goes on for about that long; False when there is nothing left to try. Releases the GIL.")
        .def_prop_ro("best", [](const Tuning& self) { return tuples(self.best()); }, "The best tilings so far.");

    nb::class_<Program>(module, "Program", "A network compiled for one instruction set and its workers.")
        .def("run", &run, "batch"_a.noconvert(), "Logits [n, classes] of a batch [n, C, H, W]; releases the GIL; safe from any thread.")
        .def_prop_ro("tilings", [](const Program& self) { return tuples(self.tilings()); })
        .def_prop_ro("stream_bytes", &Program::stream_bytes)
        .def_prop_ro("workspace_bytes", &Program::workspace_bytes)
        .def("measure", [](Program& self, int repeats) {
            const nb::gil_scoped_release release;
            return self.measure(repeats);
        }, "repeats"_a, "Each step and its best seconds.");
}
