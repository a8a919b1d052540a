// A network compiled for one instruction set and a number of threads: layouts, buffers and packed streams.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "aligned.hpp"
#include "network.hpp"
#include "stream.hpp"
#include "workers.hpp"

namespace downshift {

// The activations of one example; buffers are zero wherever no pixel is ever written.
struct Workspace {
    std::vector<Aligned<float>> buffers;
    const float* input = nullptr;  // the caller's example, [C][H][W]
    float* output = nullptr;       // the caller's row of logits
};

// A tensor, or a rearranged source of a convolution, in a buffer it shares with others that live at other times.
struct Value {
    Layout layout;
    int buffer = -1;

    float* data(const Workspace& workspace) const { return workspace.buffers[std::size_t(buffer)].data(); }
    float* plane(const Workspace& workspace, int channel) const {
        return data(workspace) + std::size_t(channel) * layout.plane_floats();
    }
};

// One compiled operation. Its items are independent and run in parallel on the threads.
class Step {
public:
    virtual ~Step() = default;
    virtual int items() const = 0;
    // `scratch` is the thread's own: at least scratch() floats.
    virtual void run(const Workspace& workspace, int item, float* scratch) const = 0;
    virtual std::size_t scratch() const { return 0; }
    virtual std::size_t bytes() const { return 0; }
    virtual std::string describe() const = 0;
};

class Program {
public:
    // One tiling for each convolution, in order; an empty list means defaults.
    Program(const Network& network, const Isa& isa, std::shared_ptr<Workers> workers, std::vector<Tiling> tilings);
    ~Program();
    Program(const Program&) = delete;
    Program& operator=(const Program&) = delete;

    // input [examples][C][H][W], output [examples][classes]. One run at a time per Workers: others wait.
    void run(const float* input, float* output, int examples);

    Shape input_shape() const { return input_shape_; }
    int classes() const { return classes_; }
    const std::vector<Tiling>& tilings() const { return tilings_; }
    std::size_t stream_bytes() const;
    std::size_t workspace_bytes() const;
    // Seconds of each step, the best of `repeats` runs on zeros.
    std::vector<std::pair<std::string, double>> measure(int repeats);

private:
    Workspace& workspace(int number);
    void run_together(Workspace& workspace);
    void run_alone(Workspace& workspace, int thread);

    std::shared_ptr<Workers> workers_;
    Shape input_shape_;
    int classes_ = 0;
    std::vector<std::unique_ptr<Step>> steps_;
    std::vector<std::size_t> buffer_floats_;
    std::vector<Tiling> tilings_;
    std::vector<std::unique_ptr<Workspace>> workspaces_;
    std::vector<Aligned<float>> scratch_;  // one for every thread
};

// Incremental autotuning of the tilings of a network's convolutions, in time slices chosen by its owner.
class Tuning {
public:
    // The network must outlive it.
    Tuning(const Network& network, const Isa& isa, std::shared_ptr<Workers> workers);
    ~Tuning();

    // Goes on for about `seconds`: at most one convolution's packing, or one step, longer. False when there is nothing
    // left to try. Programs that share the workers take turns with its steps.
    bool advance(double seconds);
    // The best tilings so far.
    std::vector<Tiling> best() const;

private:
    class Search;
    std::unique_ptr<Search> search_;
};

}  // namespace downshift
