#define DOWNSHIFT_ISA avx2
#define DOWNSHIFT_256 1
#define DOWNSHIFT_MOST_VECTORS 4, 1
#define DOWNSHIFT_NARROW true
#include "isa.inc"
