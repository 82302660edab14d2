/* The entry point of the static build: applies the packed relative relocations
 * (DT_RELR, generic ABI) before musl's own start code runs, which knows them only
 * since version 1.2.4. Packed they take 352 bytes of the binary instead of 33 KB. Then
 * it makes read-only what only they may write (PT_GNU_RELRO), which musl does for
 * dynamic programs alone. */

#include <elf.h>

enum { RELRSZ = 35, RELR = 36, MPROTECT = 10, READ = 1, PAGE = 4096 };

__asm__(".globl rig_start\n"
        ".hidden rig_start\n"
        "rig_start:\n"
        "  xor %ebp, %ebp\n"
        "  lea __ehdr_start(%rip), %rdi\n"
        "  lea _DYNAMIC(%rip), %rsi\n"
        "  call rig_relocate\n"
        "  xor %edx, %edx\n"
        "  jmp _start\n");

static void protect(unsigned long base) {
    const Elf64_Ehdr *head = (const Elf64_Ehdr *)base;
    const Elf64_Phdr *part = (const Elf64_Phdr *)(base + head->e_phoff);
    for (unsigned count = head->e_phnum; count; count--, part++) {
        if (part->p_type != PT_GNU_RELRO) continue;
        unsigned long start = (base + part->p_vaddr) & -PAGE;
        unsigned long length = ((base + part->p_vaddr + part->p_memsz) & -PAGE) - start, result = MPROTECT;
        /* When the kernel refuses, rig runs without. */
        __asm__ volatile("syscall" : "+a"(result) : "D"(start), "S"(length), "d"(READ) : "rcx", "r11", "memory");
    }
}

__attribute__((visibility("hidden"), used)) void rig_relocate(unsigned long base, unsigned long *dynamic) {
    unsigned long *entry = 0, *place = 0, size = 0;
    for (; dynamic[0]; dynamic += 2) {
        if (dynamic[0] == RELR) entry = (unsigned long *)(base + dynamic[1]);
        if (dynamic[0] == RELRSZ) {
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
    protect(base);
}

/* rig names no threads; musl's own would link its printf. */
int pthread_setname_np(void *thread, const char *name) {
    (void)thread, (void)name;
    return 0;
}
