#define DOWNSHIFT_ISA avxvnni
#define DOWNSHIFT_256 1
#define DOWNSHIFT_VNNI 1
#define DOWNSHIFT_MOST_VECTORS 4, 1
#define DOWNSHIFT_NARROW false
#include "isa.inc"
