/* Does this processor run what the other sources were compiled for? The only code here that may run on an older one:
   compiled for the architecture's oldest processor, with LEVEL, x86-64's, given. */

#ifdef __x86_64__
#include <cpuid.h>

/* Registers that the system keeps for a program. */
static unsigned kept(void)
{
    unsigned low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

int swin_runs(void)
{
    unsigned a, b, c, d, needs = bit_FMA | bit_MOVBE | bit_OSXSAVE | bit_AVX | bit_F16C;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & needs) != needs) return 0;
    if (!__get_cpuid(0x80000001, &a, &b, &c, &d) || !(c & bit_LZCNT)) return 0;
    unsigned registers = LEVEL >= 4 ? 0xe6 : 6;
    if ((kept() & registers) != registers || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
    needs = bit_AVX2 | bit_BMI | bit_BMI2;
    if (LEVEL >= 4) needs |= bit_AVX512F | bit_AVX512DQ | bit_AVX512CD | bit_AVX512BW | bit_AVX512VL;
    return (b & needs) == needs;
}
#else
int swin_runs(void) { return 1; }
#endif
