// A quantised network compiled for one instruction set and its workers.
#pragma once
#include <memory>
#include <optional>
#include <vector>

#include "../workers.hpp"
#include "buffers.hpp"

namespace downshift::int8 {

struct Step;
struct Workspace;
struct Scratch;

class Program {
public:
    // plan: the number of every convolution's plan, to test each of them. Without it, measuring chooses the plans and
    // whether the threads share one image.
    Program(Network network, const Isa& isa, std::shared_ptr<Workers> workers, std::optional<int> plan = {});
    ~Program();
    Program(const Program&) = delete;
    Program& operator=(const Program&) = delete;

    const Map& input_shape() const { return input_shape_; }
    int classes() const { return vectors_.back(); }
    std::size_t stream_bytes() const;
    // Logits of `examples` images [C, H, W] each; safe from any thread.
    void run(const float* images, float* logits, int examples);

private:
    Workspace& workspace(int thread);
    void run_together(Workspace& space);
    void run_alone(Workspace& space, int thread);
    bool faster_together();

    Map input_shape_;
    Buffers buffers_;
    std::vector<int> vectors_;  // by tensor: its floats
    std::shared_ptr<Workers> workers_;
    std::vector<std::unique_ptr<Step>> steps_;
    std::vector<std::unique_ptr<Scratch>> scratch_;       // by thread
    std::vector<std::unique_ptr<Workspace>> workspaces_;  // by thread
    std::uint64_t runs_ = 0;
    bool together_ = true;  // whether the threads share the steps of a single image
};

}  // namespace downshift::int8
