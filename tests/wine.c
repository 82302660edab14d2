/* Wine up to 8 lacks the library that Rust's standard library takes random numbers from. */
__declspec(dllimport) unsigned char __stdcall SystemFunction036(void *data, unsigned long length);

__declspec(dllexport) int __stdcall ProcessPrng(unsigned char *data, unsigned long long length) {
    while (length > 0) {
        unsigned long piece = length > 65536 ? 65536 : (unsigned long)length;
        if (!SystemFunction036(data, piece))
            return 0;
        data += piece;
        length -= piece;
    }
    return 1;
}
