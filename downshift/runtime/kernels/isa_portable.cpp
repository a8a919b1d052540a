#define DOWNSHIFT_ISA portable
#define DOWNSHIFT_LANES 4
#include "isa.inc"
