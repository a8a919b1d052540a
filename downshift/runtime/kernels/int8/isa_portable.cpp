#define DOWNSHIFT_ISA portable
#include "isa.inc"
