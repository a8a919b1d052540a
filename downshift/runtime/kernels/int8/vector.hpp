// Vectors of 16 lanes for the instruction set of this translation unit.
#pragma once
#define ALWAYS __attribute__((always_inline))  // also of lambdas

#if defined(DOWNSHIFT_256)
#include "vector_256.hpp"
#elif defined(DOWNSHIFT_VNNI)
#include "vector_avx512vnni.hpp"
#else
#include "vector_portable.hpp"
#endif
