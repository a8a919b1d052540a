// One step of a program: an operation compiled for an instruction set, and the memory it works in.
#pragma once
#include <memory>
#include <vector>

#include "../../aligned.hpp"
#include "../network.hpp"

namespace downshift::int8 {

// The memory of a buffer, and where vector (0, 0) of every map in it lies.
class Home {
public:
    Home(std::size_t before, std::size_t bytes) : memory_(before + bytes), before_(before) {}
    char* data() const { return memory_.data() + before_; }

private:
    Aligned<char> memory_;
    std::size_t before_;
};

// What one example needs while it walks through the network.
struct Workspace {
    const float* image = nullptr;
    float* logits = nullptr;
    std::vector<Home> homes;                  // by buffer
    std::vector<std::vector<float>> vectors;  // by tensor
    std::uint64_t run = 0;                    // changes with every example
};

// How much of a thread's memory a step asks for.
struct ScratchNeed {
    std::size_t bytes = 0;
    int rows = 0;
    std::size_t sums = 0;   // bytes
    std::size_t quads = 0;  // bytes
};

// A thread's own memory: the expanded rows it needs, and which source and example they belong to.
struct Scratch {
    explicit Scratch(const ScratchNeed& need) : rows(need.bytes), sums(need.sums), made(std::size_t(need.rows), 0), quads(need.quads) {}

    Aligned<char> rows;
    Aligned<char> sums;  // of a tile, between blocks of input channels
    std::vector<std::uint8_t> made;  // by row, 0 or 1
    const void* owner = nullptr;
    std::uint64_t run = 0;
    Aligned<char> quads;  // the row of quads that is there, and whose it is
    const void* quads_owner = nullptr;
    std::uint64_t quads_run = 0;
    int quads_row = 0;
};

// Items of a step are independent of each other; the next step needs all of them.
struct Step {
    virtual ~Step() = default;
    virtual int items() const = 0;
    virtual void run(Workspace& space, int item, Scratch& scratch) const = 0;
    virtual std::size_t bytes() const { return 0; }  // of weights
    virtual ScratchNeed scratch() const { return {}; }
};

// What steps are made for: the network's tensors, the buffer of each, the instruction set and the number of threads. It is
// gone when they run.
struct Target {
    const Isa& isa;
    const Network& network;
    const std::vector<int>& buffers;
    int threads;

    const Network::Tensor& tensor(int number) const { return network.tensors()[std::size_t(number)]; }
    int buffer(int number) const { return buffers[std::size_t(number)]; }

    // Lanes inside the map for every vector of a tensor, row by row.
    std::vector<std::uint16_t> valid(int number) const {
        const Map& map = tensor(number).map;
        std::vector<std::uint16_t> masks;
        for (int y = 0; y < map.block_height(); ++y)
            for (int x = 0; x < map.block_width(); ++x) masks.push_back(map.valid(y, x));
        return masks;
    }
};

std::unique_ptr<Step> make_load(const Target& target);
// The same convolution in every plan that may be fastest, the likeliest first.
std::vector<std::unique_ptr<Step>> make_convolutions(const Target& target, const Conv& conv);
std::unique_ptr<Step> make_pooling(const Target& target, const MaxPool& pool);
std::unique_ptr<Step> make_average(const Target& target, const AveragePool& pool);
std::unique_ptr<Step> make_mean_map(const Target& target, const MeanMap& mean);
std::unique_ptr<Step> make_add(const Target& target, const Add& add);
std::unique_ptr<Step> make_affine(const Target& target, const Affine& affine);
std::unique_ptr<Step> make_scale(const Target& target, const Scale& scale);
std::unique_ptr<Step> make_lookup(const Target& target, const Lookup& lookup);
std::unique_ptr<Step> make_take(const Target& target, const Take& take);
std::unique_ptr<Step> make_concat(const Target& target, const Concat& concat);
// `last`: whether the result is the network's answer.
std::unique_ptr<Step> make_mean(const Target& target, const Mean& mean, bool last);
std::unique_ptr<Step> make_dequantize(const Target& target, const Dequantize& dequantize, bool last);
std::unique_ptr<Step> make_activate(const Activate& activate, bool last);
std::unique_ptr<Step> make_linear(const Target& target, const Linear& linear, bool last);

inline std::uint32_t four_times(int zero) { return std::uint32_t(zero) * 0x01010101u; }

}  // namespace downshift::int8
