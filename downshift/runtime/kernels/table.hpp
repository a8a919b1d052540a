// Every convolution kernel there is: K(V, columns, R) makes one for each instruction set. Dispatch, tuning
// and tests read the array made from this list.
#pragma once

// clang-format off
#define DOWNSHIFT_CONV_KERNELS(K)                                                                    \
    K(1, none, 1) K(2, none, 1) K(4, none, 1) K(7, none, 1) K(8, none, 1) K(14, none, 1) K(16, none, 1) \
    K(1, none, 4) K(2, none, 4) K(4, none, 4) K(6, none, 4) K(7, none, 4)                            \
    K(1, pitch4, 1) K(2, pitch4, 1) K(4, pitch4, 1)                                                  \
    K(1, pitch4, 4) K(2, pitch4, 4) K(4, pitch4, 4)                                                  \
    K(1, pitch8, 1) K(2, pitch8, 1) K(4, pitch8, 1) K(7, pitch8, 1)                                  \
    K(1, pitch8, 4) K(2, pitch8, 4) K(4, pitch8, 4)                                                  \
    K(1, row1, 1) K(2, row1, 1) K(4, row1, 1) K(7, row1, 1) K(8, row1, 1) K(14, row1, 1) K(16, row1, 1) \
    K(1, row1, 4) K(2, row1, 4) K(4, row1, 4) K(6, row1, 4)                                          \
    K(2, row2, 1) K(4, row2, 1) K(8, row2, 1) K(14, row2, 1) K(16, row2, 1)                          \
    K(2, row2, 4) K(4, row2, 4) K(6, row2, 4)                                                        \
    K(4, row4, 1) K(8, row4, 1) K(16, row4, 1)                                                       \
    K(4, row4, 4)                                                                                    \
    K(3, rows, 1) K(5, rows, 1) K(6, rows, 1) K(7, rows, 1) K(8, rows, 1) K(9, rows, 1)              \
    K(10, rows, 1) K(11, rows, 1) K(12, rows, 1) K(13, rows, 1) K(14, rows, 1) K(15, rows, 1)        \
    K(16, rows, 1)                                                                                   \
    K(3, rows, 4) K(5, rows, 4) K(6, rows, 4) K(7, rows, 4)
// clang-format on
