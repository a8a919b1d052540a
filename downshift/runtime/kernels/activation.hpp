#pragma once
#include <cstdint>

namespace downshift {

enum class Activation : std::uint8_t { none, relu, relu6, silu, hard_swish, hard_sigmoid, sigmoid };

}  // namespace downshift
