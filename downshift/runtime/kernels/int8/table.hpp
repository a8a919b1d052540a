// Every int8 convolution kernel there is: K(rows, tile height, tile width, stride) makes one for each
// instruction set. Dispatch and tests read the array made from this list.
#pragma once

// clang-format off
#define DOWNSHIFT_INT8_CONV_STRIDES(K, ROWS, HEIGHT, WIDTH) K(ROWS, HEIGHT, WIDTH, 1) K(ROWS, HEIGHT, WIDTH, 2)
#define DOWNSHIFT_INT8_CONV_KERNELS(K)                                                                            \
    DOWNSHIFT_INT8_CONV_STRIDES(K, 1, 1, 8) DOWNSHIFT_INT8_CONV_STRIDES(K, 1, 1, 7)                               \
    DOWNSHIFT_INT8_CONV_STRIDES(K, 1, 1, 4) DOWNSHIFT_INT8_CONV_STRIDES(K, 1, 1, 3)                               \
    DOWNSHIFT_INT8_CONV_STRIDES(K, 1, 1, 2) DOWNSHIFT_INT8_CONV_STRIDES(K, 1, 1, 1)                               \
    DOWNSHIFT_INT8_CONV_STRIDES(K, 1, 2, 4) DOWNSHIFT_INT8_CONV_STRIDES(K, 1, 2, 2)                               \
    DOWNSHIFT_INT8_CONV_STRIDES(K, 4, 1, 4) DOWNSHIFT_INT8_CONV_STRIDES(K, 4, 1, 3)                               \
    DOWNSHIFT_INT8_CONV_STRIDES(K, 4, 1, 2) DOWNSHIFT_INT8_CONV_STRIDES(K, 4, 1, 1)                               \
    DOWNSHIFT_INT8_CONV_STRIDES(K, 4, 2, 2)
// clang-format on
