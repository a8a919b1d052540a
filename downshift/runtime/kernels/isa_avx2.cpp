#define DOWNSHIFT_ISA avx2
#define DOWNSHIFT_LANES 8
#include "isa.inc"
