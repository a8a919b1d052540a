// A quantised sub-net: what Python describes, validated, and what runs it.
#pragma once
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "../aligned.hpp"
#include "../workers.hpp"
#include "isa.hpp"
#include "layout.hpp"

namespace downshift::int8 {

// Instruction sets this machine runs, best first; never empty.
std::vector<const Isa*> supported_isas();

// result = saturate_u8(round(fma(sum, scale, bias) [fma residual * residual_scale])), zero points folded into the bias.
struct Conv {
    int output, input, residual;  // residual: -1 for none
    Window window;
    std::vector<std::int8_t> weight;  // [output channels, input channels, height, width]
    std::vector<float> scale, bias;   // of every output channel
    float residual_scale;
};

struct MaxPool {
    int output, input;
    Window window;
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

using Operation = std::variant<Conv, MaxPool, Mean, Dequantize, Linear>;

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
    void mean(Mean operation);
    void dequantize(Dequantize operation);
    void linear(Linear operation);

    const std::vector<Tensor>& tensors() const { return tensors_; }
    const std::vector<Operation>& operations() const { return operations_; }
    float scale() const { return scale_; }

private:
    const Tensor& quantised(int tensor, const char* who) const;
    const Tensor& vector(int tensor, const char* who) const;
    Map windowed(const Map& input, const Window& window, int channels, const char* who) const;
    void add(int output, Tensor tensor, Operation operation, const char* who);

    float scale_;
    std::vector<Tensor> tensors_;
    std::vector<Operation> operations_;
};

struct Scratch;

// A network compiled for one instruction set and its workers.
class Program {
public:
    Program(const Network& network, const Isa& isa, std::shared_ptr<Workers> workers);
    ~Program();
    Program(const Program&) = delete;
    Program& operator=(const Program&) = delete;

    const Map& input() const;
    int classes() const;
    std::size_t stream_bytes() const;
    // Logits of `examples` images [C, H, W] each; safe from any thread.
    void run(const float* images, float* logits, int examples);

private:
    struct Step;
    struct ConvStep;
    struct PoolStep;
    struct LoadStep;
    struct FloatStep;
    struct Workspace;

    Workspace& workspace(int thread);
    void run_together(Workspace& space);
    void run_alone(Workspace& space, int thread);

    Network network_;
    const Isa& isa_;
    std::shared_ptr<Workers> workers_;
    std::vector<std::unique_ptr<Step>> steps_;
    std::vector<std::size_t> buffer_bytes_;
    std::vector<int> buffer_of_;
    std::size_t scratch_bytes_ = 0;
    std::vector<std::unique_ptr<Scratch>> scratch_;        // by thread
    std::vector<std::unique_ptr<Workspace>> workspaces_;  // by thread
    std::uint64_t runs_ = 0;
};

}  // namespace downshift::int8
