/* The entry point of the static build: applies the packed relative relocations
 * (DT_RELR, generic ABI) before musl's own start code runs, which knows them only
 * since version 1.2.4. Packed they take 2 KB of the binary instead of 45. */

enum { DT_RELRSZ = 35, DT_RELR = 36 };

__asm__(".globl rig_start\n"
        ".hidden rig_start\n"
        "rig_start:\n"
        "  xor %ebp, %ebp\n"
        "  lea __ehdr_start(%rip), %rdi\n"
        "  lea _DYNAMIC(%rip), %rsi\n"
        "  call rig_relocate\n"
        "  xor %edx, %edx\n"
        "  jmp _start\n");

__attribute__((visibility("hidden"), used)) void rig_relocate(unsigned long base, unsigned long *dynamic) {
    unsigned long *entry = 0, *place = 0, size = 0;
    for (; dynamic[0]; dynamic += 2) {
        if (dynamic[0] == DT_RELR) entry = (unsigned long *)(base + dynamic[1]);
        if (dynamic[0] == DT_RELRSZ) {
            size = dynamic[1];
            dynamic[1] = 0; /* A newer musl must not apply them again. */
        }
    }
    for (; size; size -= sizeof *entry, entry++) {
        if ((*entry & 1) == 0) {
            place = (unsigned long *)(base + *entry);
            *place++ += base;
            continue;
        }
        for (unsigned long bits = *entry >> 1, i = 0; bits; bits >>= 1, i++)
            if (bits & 1) place[i] += base;
        place += 63;
    }
}

/* rig names no threads; musl's own would link its printf. */
int pthread_setname_np(void *thread, const char *name) {
    (void)thread, (void)name;
    return 0;
}
