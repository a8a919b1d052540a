// The steps of a program, one class for each kind of operation.
#pragma once
#include "program.hpp"

namespace downshift {

// Copies the caller's example into the internal layout.
std::unique_ptr<Step> load_step(const Isa& isa, Value output);
// One rearranged plane for every (input channel, phase): pixel (y, x) is input (y * stride_y + top, x * stride_x + left).
struct Phase {
    int top, left;
};
std::unique_ptr<Step> rearrange_step(const Isa& isa, Value input, Value output, int stride_y, int stride_x,
                                     std::vector<Phase> phases);
std::unique_ptr<Step> conv_step(const ConvEntry& kernel, Stream stream, const Tiling& tiling, Value source, Value output,
                                const Value* residual, int output_channels, Activation activation);
std::unique_ptr<Step> linear_step(const Isa& isa, const Linear& linear, Value input, Value output, int threads);
std::unique_ptr<Step> pool_step(const Isa& isa, const Pool& pool, Value input, Value output);
std::unique_ptr<Step> global_average_step(const Isa& isa, Value input, Value output);
std::unique_ptr<Step> combine_step(const Isa& isa, const Combine& combine, Value input, const Value* addend,
                                   const Value* factor, Value output);
std::unique_ptr<Step> place_step(const Isa& isa, const Place& place, std::vector<Value> inputs, Value output);
std::unique_ptr<Step> flatten_step(Value input, Value output);
std::unique_ptr<Step> store_step(Value input);

}  // namespace downshift
