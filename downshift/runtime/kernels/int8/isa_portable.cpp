#define DOWNSHIFT_ISA portable
#define DOWNSHIFT_MOST_VECTORS 8, 4
#define DOWNSHIFT_NARROW false
#include "isa.inc"
