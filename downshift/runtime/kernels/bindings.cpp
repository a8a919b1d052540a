// The extension module `downshift.runtime._kernels`: networks are described from Python, compiled, and run without the GIL.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <array>
#include <stdexcept>

#include "bindings_common.hpp"
#include "isas.hpp"
#include "program.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace downshift::int8 {
void bind(nb::module_& module);
}

namespace downshift {
namespace {

template <int N>
using Floats = Array<float, N>;
using Pair = std::array<int, 2>;
using Four = std::array<int, 4>;
using Triple = std::array<int, 3>;

// A convolution kernel of an instruction set, for tests.
struct KernelName {
    int vectors;
    std::string columns;
    int rows;
};

// A step of a program and how long it takes.
struct StepTime {
    std::string step;
    double seconds;
};

std::vector<float> values_or_none(const std::optional<Floats<1>>& array) {
    return array ? values(*array) : std::vector<float>{};
}

Window window(const Pair& kernel, const Pair& stride, const Four& padding) {
    return {kernel[0], kernel[1], stride[0], stride[1], padding[0], padding[1], padding[2], padding[3]};
}

std::string text(const Tiling& t) {
    return "Tiling(vectors=" + std::to_string(t.vectors) + ", rows=" + std::to_string(t.rows) + ", block=" +
           std::to_string(t.block) + ", split=" + (t.split ? "True" : "False") + ", parts=" + std::to_string(t.parts) + ")";
}

const Isa& isa_for(const std::optional<std::string>& name) { return name ? isa_named(supported_isas(), *name) : chosen_isa(); }

const Network& finished(const Network& network) {
    if (network.output() < 0) throw std::invalid_argument("network: no output was named");
    return network;
}

std::shared_ptr<Workers> make_workers(int threads) {
    if (threads < 1 || threads > 256) throw std::invalid_argument(std::to_string(threads) + " threads: ask for 1 to 256");
    return std::make_shared<Workers>(threads);
}

}  // namespace
}  // namespace downshift

NB_MODULE(_kernels, module) {
    using namespace downshift;
    // An interpreter that ends leaves alone what threads and modules still hold: not worth a page on stderr.
    nb::set_leak_warnings(false);
    module.doc() =
        "The compiled kernels (downshift/runtime/kernels): describe a `Network`, compile a `Program`, run it.\n\n"
        "Invalid descriptions raise ValueError; arrays of the wrong type, rank or order raise TypeError.";

    nb::class_<KernelName>(module, "ConvKernel", "A convolution kernel of an instruction set.")
        .def_ro("vectors", &KernelName::vectors, "Output vectors of a tile.")
        .def_ro("columns", &KernelName::columns, "How kernel columns move sideways.")
        .def_ro("rows", &KernelName::rows, "Output channels that share the positions of their nonzeros.");

    nb::class_<StepTime>(module, "StepTime", "A step of a program and its best time.")
        .def_ro("step", &StepTime::step, "What it does.")
        .def_ro("seconds", &StepTime::seconds);

    nb::class_<Tiling>(module, "Tiling", "How a convolution is cut up; found by measuring. A value.")
        .def("__init__", [](Tiling* self, int vectors, int rows, int block, bool split, int parts) {
            new (self) Tiling{vectors, rows, block, split, parts};
        }, nb::kw_only(), "vectors"_a.noconvert(), "rows"_a.noconvert(), "block"_a.noconvert(), "split"_a.noconvert(),
           "parts"_a.noconvert())
        .def_ro("vectors", &Tiling::vectors, "Output vectors of a tile.")
        .def_ro("rows", &Tiling::rows, "Output channels that share the positions of their nonzeros.")
        .def_ro("block", &Tiling::block, "Source planes that stay in the L1 cache together.")
        .def_ro("split", &Tiling::split, "One section for every kernel column.")
        .def_ro("parts", &Tiling::parts, "Groups of output channels that different threads work through.")
        .def("__eq__", [](const Tiling& self, nb::object other) {
            return nb::isinstance<Tiling>(other) && self == nb::cast<Tiling>(other);
        }, "other"_a, nb::sig("def __eq__(self, other: object, /) -> bool"))
        .def("__hash__", [](const Tiling& t) {
            return nb::hash(nb::make_tuple(t.vectors, t.rows, t.block, t.split, t.parts));
        })
        .def("__repr__", &text);

    nb::class_<Piece>(module, "Piece",
                      "A piece of a tensor for `Network.place`: output channel `output_channel + i` at (y, x) is input channel\n"
                      "`input_channel + i * channel_step` at (y * stride_y + top, x * stride_x + left), for i below `channels`.")
        .def("__init__", [](Piece* self, int input, int channels, int output_channel, int input_channel, int channel_step,
                            int stride_y, int stride_x, int top, int left) {
            new (self) Piece{.input = input, .output_channel = output_channel, .channels = channels,
                             .input_channel = input_channel, .channel_step = channel_step, .stride_y = stride_y,
                             .stride_x = stride_x, .top = top, .left = left};
        }, nb::kw_only(), "input"_a, "channels"_a, "output_channel"_a = 0, "input_channel"_a = 0, "channel_step"_a = 1,
           "stride_y"_a = 1, "stride_x"_a = 1, "top"_a = 0, "left"_a = 0);

    module.def("isas", [] { return names_of(supported_isas()); },
               "Instruction sets this machine runs, best first.");
    module.def("isa", [] { return std::string(chosen_isa().name); },
               "The instruction set programs are compiled for: DOWNSHIFT_FORCE_ISA, else the best.");
    module.def("conv_kernels", [](const std::string& name) {
        const Isa& isa = isa_named(supported_isas(), name);
        constexpr const char* columns[] = {"none", "pitch4", "pitch8", "row1", "row2", "row4", "rows"};
        std::vector<KernelName> kernels;
        for (int k = 0; k < isa.conv_count; ++k)
            kernels.push_back({isa.convs[k].vectors, columns[int(isa.convs[k].columns)], isa.convs[k].rows});
        return kernels;
    }, "isa"_a, "Every convolution kernel of an instruction set.");

    nb::class_<Workers>(module, "Workers", "Threads that run programs; programs which share them take turns.")
        .def(nb::new_(&make_workers), "threads"_a)
        .def_prop_ro("threads", &Workers::threads);

    int8::bind(module);

    nb::class_<Network>(module, "Network", "Operations on numbered tensors; tensor 0 is the input [C, H, W].")
        .def("__init__", [](Network* self, const Triple& input) { new (self) Network(Shape{input[0], input[1], input[2]}); },
             "input"_a)
        .def("conv", [](Network& self, int output, int input, const Floats<4>& weight, const Floats<1>& bias,
                        const Pair& stride, const Four& padding, int groups, const std::string& activation,
                        std::optional<int> residual) {
            const Pair kernel = {int(weight.shape(2)), int(weight.shape(3))};
            if (weight.shape(0) != bias.size()) throw std::invalid_argument("convolution: weight and bias disagree");
            self.conv({output, input, residual.value_or(-1), window(kernel, stride, padding), groups,
                       activation_named(activation), values(weight), values(bias)});
        }, "output"_a, "input"_a, "weight"_a.noconvert(), "bias"_a.noconvert(), nb::kw_only(), "stride"_a, "padding"_a,
           "groups"_a = 1, "activation"_a = "none", "residual"_a = nb::none(),
           "activation(convolution + bias + residual); padding is (top, left, bottom, right).")
        .def("linear", [](Network& self, int output, int input, const Floats<2>& weight, const Floats<1>& bias,
                          const std::string& activation) {
            self.linear({output, input, activation_named(activation), values(weight), values(bias)}, int(weight.shape(0)));
        }, "output"_a, "input"_a, "weight"_a.noconvert(), "bias"_a.noconvert(), nb::kw_only(), "activation"_a = "none",
           "activation(weight @ input + bias) of a flat tensor.")
        .def("pool", [](Network& self, int output, int input, const Pair& kernel, const Pair& stride, const Four& padding,
                        bool maximum, bool count_padding) {
            self.pool({output, input, window(kernel, stride, padding), maximum, count_padding});
        }, "output"_a, "input"_a, nb::kw_only(), "kernel"_a, "stride"_a, "padding"_a, "maximum"_a, "count_padding"_a = false,
           "Maximum or mean over windows.")
        .def("global_average", [](Network& self, int output, int input) { self.global_average({output, input}); },
             "output"_a, "input"_a, "Mean over height and width.")
        .def("combine", [](Network& self, int output, int input, std::optional<int> addend, std::optional<int> factor,
                           const std::optional<Floats<1>>& scale, const std::optional<Floats<1>>& shift,
                           const std::string& activation) {
            self.combine({output, input, addend.value_or(-1), factor.value_or(-1), values_or_none(scale),
                          values_or_none(shift), activation_named(activation)});
        }, "output"_a, "input"_a, nb::kw_only(), "addend"_a = nb::none(), "factor"_a = nb::none(), "scale"_a = nb::none(),
           "shift"_a = nb::none(), "activation"_a = "none",
           "activation(input * scale * factor + shift + addend); scale, shift and factor per channel.")
        .def("place", [](Network& self, int output, const Triple& shape, const std::vector<Piece>& pieces) {
            self.place({output, pieces}, {shape[0], shape[1], shape[2]});
        }, "output"_a, "shape"_a, "pieces"_a, "Zeros of `shape` with pieces of other tensors in it.")
        .def("flatten", [](Network& self, int output, int input) { self.flatten({output, input}); }, "output"_a, "input"_a,
             "(C, H, W) as one row.")
        .def("finish", &Network::finish, "output"_a, "Names the answer, a flat tensor; nothing is added afterwards.")
        .def("compile", [](const Network& self, std::shared_ptr<Workers> workers, std::vector<Tiling> tilings,
                           const std::optional<std::string>& isa) {
            const Isa& chosen = isa_for(isa);
            const nb::gil_scoped_release release;
            return std::make_shared<Program>(finished(self), chosen, std::move(workers), std::move(tilings));
        }, "workers"_a, "tilings"_a = std::vector<Tiling>{}, "isa"_a = nb::none(),
           nb::sig("def compile(self, workers: Workers, tilings: Sequence[Tiling] = ..., isa: str | None = None) -> Program"),
           "A program for `isa`, with one tiling for every convolution or with defaults. Releases the GIL.")
        .def("tuning", [](const Network& self, std::shared_ptr<Workers> workers, const std::optional<std::string>& isa) {
            const Isa& chosen = isa_for(isa);
            const nb::gil_scoped_release release;
            return std::make_shared<Tuning>(finished(self), chosen, std::move(workers));
        }, "workers"_a, "isa"_a = nb::none(), nb::keep_alive<0, 1>(),
           "A search for better tilings on those workers; releases the GIL while it packs.");

    nb::class_<Tuning>(module, "Tuning", "The search for better tilings of a network's convolutions. One thread at a time.")
        .def("advance", &Tuning::advance, "seconds"_a, nb::call_guard<nb::gil_scoped_release>(),
             "Goes on for about that long; False when there is nothing left to try. Releases the GIL.")
        .def_prop_ro("best", &Tuning::best, "The best tilings so far; feed them to `compile`.");

    nb::class_<Program>(module, "Program", "A network compiled for one instruction set and its workers.")
        .def("run", &run<Program>, "batch"_a.noconvert(), "Logits [n, classes] of a batch [n, C, H, W]; releases the GIL; safe from any thread.")
        .def_prop_ro("tilings", [](const Program& self) { return self.tilings(); }, "One for every convolution, in order.")
        .def_prop_ro("stream_bytes", &Program::stream_bytes, "Memory of the packed weights.")
        .def_prop_ro("workspace_bytes", &Program::workspace_bytes, "Memory of one example's values on their way through.")
        .def("measure", [](Program& self, int repeats) {
            std::vector<StepTime> times;
            const nb::gil_scoped_release release;
            for (auto& [step, seconds] : self.measure(repeats)) times.push_back({step, seconds});
            return times;
        }, "repeats"_a, "The best time of each step in `repeats` runs.");
}
