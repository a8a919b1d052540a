#define DOWNSHIFT_ISA avx512
#define DOWNSHIFT_LANES 16
#include "isa.inc"
