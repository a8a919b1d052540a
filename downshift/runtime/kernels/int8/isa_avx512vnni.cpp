#define DOWNSHIFT_ISA avx512vnni
#define DOWNSHIFT_VNNI 1
#define DOWNSHIFT_MOST_VECTORS 8, 4
#define DOWNSHIFT_NARROW false
#include "isa.inc"
