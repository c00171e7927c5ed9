/* Where the kernel enters pyrunc-init. The sanitised test build has the C library's own entry instead. */
#include "init.h"

#ifdef HOSTED
int main(int argc, char **argv) { init_main(argc, argv); }
#else

__attribute__((noreturn, used)) static void entry(long *stack) { init_main((int)stack[0], (char **)(stack + 1)); }

#if defined(__x86_64__)
__asm__(".text\n.globl _start\n_start:\n  xor %ebp, %ebp\n  mov %rsp, %rdi\n  and $-16, %rsp\n  call entry\n  ud2\n");
#elif defined(__aarch64__)
__asm__(".text\n.globl _start\n_start:\n  mov x29, xzr\n  mov x30, xzr\n  mov x0, sp\n  b entry\n");
#elif defined(__riscv)
__asm__(".text\n.globl _start\n_start:\n  .option push\n  .option norelax\n  la gp, __global_pointer$\n  .option pop\n"
        "  mv a0, sp\n  andi sp, sp, -16\n  tail entry\n");
#endif
#endif
