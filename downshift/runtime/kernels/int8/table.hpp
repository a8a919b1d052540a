// Every int8 convolution kernel there is: K(function, rows, tile height, tile width, stride) makes one for each
// instruction set. Dispatch, tests and the benchmark all read the array made from this list.
#pragma once

// clang-format off
#define DOWNSHIFT_INT8_CONV_KERNELS(K)                                                                 \
    K(unstructured, 1, 1, 8, 1) K(unstructured, 1, 1, 7, 1) K(unstructured, 1, 1, 4, 1)                \
    K(unstructured, 1, 2, 4, 1) K(unstructured, 1, 2, 2, 1) K(unstructured, 1, 1, 2, 1)                \
    K(unstructured, 1, 1, 1, 1)                                                                        \
    K(unstructured, 1, 1, 8, 2) K(unstructured, 1, 1, 7, 2) K(unstructured, 1, 1, 4, 2)                \
    K(unstructured, 1, 2, 2, 2) K(unstructured, 1, 1, 2, 2) K(unstructured, 1, 1, 1, 2)                \
    K(shared, 4, 1, 4, 1) K(shared, 4, 2, 2, 1) K(shared, 4, 1, 2, 1) K(shared, 4, 1, 1, 1)            \
    K(shared, 4, 1, 4, 2) K(shared, 4, 2, 2, 2) K(shared, 4, 1, 2, 2) K(shared, 4, 1, 1, 2)
// clang-format on
