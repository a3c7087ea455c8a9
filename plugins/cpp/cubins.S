// All cubins as read-only data. MUTUALFORMER_CUBINS is the path of cubins.bin, given by CMake.
    .section .rodata
    .balign 64
    .globl mutualformer_cubins
    .hidden mutualformer_cubins
    .type mutualformer_cubins, %object
mutualformer_cubins:
    .incbin MUTUALFORMER_CUBINS
    .size mutualformer_cubins, . - mutualformer_cubins
    .section .note.GNU-stack, "", %progbits
