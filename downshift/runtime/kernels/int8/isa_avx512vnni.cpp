#define DOWNSHIFT_ISA avx512vnni
#define DOWNSHIFT_VNNI 1
#include "isa.inc"
