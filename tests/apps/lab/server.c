/* A web server that does what the path says, for tests of what lies in front of it.
 * Connections are kept; each has a thread. Listens on 127.0.0.1:$PORT.
 *
 *   /             message.txt
 *   /port         the port it listens on
 *   /head         the request's line and headers, as they came
 *   /count        the number of the request on its connection
 *   /body         so many bytes came, and their FNV-1a; the file `arrived` appears with the first
 *   /bytes/N      N bytes
 *   /stream/F     two chunks, the second once the file F exists
 *   /wait/F       message.txt as it was at the start, once the file F exists
 *   /status/N     an answer with the status N
 *   /sick/F       500 while the file F exists
 *   /take/N       takes N MiB of memory and keeps them
 *   /spin/N       spends N % of a core from now on
 *   /hop          an answer with headers that concern the connection
 *   /old          an HTTP/1.0 answer, which ends with the connection
 *   /none /half /garbage /switch   no answer; half of one; no HTTP; an upgrade nobody wants
 *   /raw          an upgrade to an echo of bytes
 *   /ws           a WebSocket that echoes text (RFC 6455)
 *   /deaf         nobody is listened to any more
 *   /exit/N       the process exits with N
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int listener;
static char message[4096];

/* Polls: a file is how a test says go. */
static void await(const char *file) {
    while (access(file, F_OK)) usleep(2000);
}

static void answer(FILE *out, const char *status, const char *body) {
    fprintf(out, "HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n%s", status, strlen(body), body);
}

static const char *field(const char *head, const char *name) {
    const char *line = strchr(head, '\n');
    for (; line && line[1]; line = strchr(line + 1, '\n'))
        if (!strncasecmp(line + 1, name, strlen(name)) && line[1 + strlen(name)] == ':')
            return line + 2 + strlen(name) + strspn(line + 2 + strlen(name), " ");
    return NULL;
}

/* Reads the body. False when it ends early. */
static int body(FILE *in, const char *head, uint64_t *size, uint32_t *hash) {
    static const size_t piece = 65536;
    char *buffer = malloc(piece), line[64];
    const char *length = field(head, "content-length");
    int chunked = field(head, "transfer-encoding") != NULL, noted = 0;
    uint64_t rest = length ? strtoull(length, NULL, 10) : 0;
    *size = 0, *hash = 2166136261u;
    for (;;) {
        if (chunked && !fgets(line, sizeof line, in)) return free(buffer), 0;
        if (chunked && !(rest = strtoull(line, NULL, 16))) break;
        while (rest) {
            size_t got = fread(buffer, 1, rest < piece ? rest : piece, in);
            if (!got) return free(buffer), 0;
            for (size_t i = 0; i < got; i++) *hash = (*hash ^ (unsigned char)buffer[i]) * 16777619u;
            *size += got, rest -= got;
            if (!noted++) fclose(fopen("arrived", "w"));
        }
        if (!chunked || !fgets(line, sizeof line, in)) break;
    }
    if (chunked) (void)!fgets(line, sizeof line, in);
    return free(buffer), 1;
}

static void sha1(const unsigned char *text, size_t length, unsigned char out[20]) {
    uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0}, w[80];
    unsigned char block[128] = {0};
    size_t blocks = (length + 8) / 64 + 1;
    memcpy(block, text, length);
    block[length] = 0x80;
    for (int i = 0; i < 4; i++) block[blocks * 64 - 1 - i] = (unsigned char)(length * 8 >> 8 * i);
    for (size_t b = 0; b < blocks; b++) {
        for (int i = 0; i < 16; i++) {
            const unsigned char *p = block + b * 64 + i * 4;
            w[i] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
        }
        for (int i = 16; i < 80; i++) {
            uint32_t x = w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16];
            w[i] = x << 1 | x >> 31;
        }
        uint32_t a = h[0], c1 = h[1], c = h[2], d = h[3], e = h[4];
        for (int i = 0; i < 80; i++) {
            uint32_t f = i < 20 ? (c1 & c) | (~c1 & d) : i < 40 ? c1 ^ c ^ d : i < 60 ? (c1 & c) | (c1 & d) | (c & d) : c1 ^ c ^ d;
            static const uint32_t k[] = {0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6};
            uint32_t t = (a << 5 | a >> 27) + f + e + k[i / 20] + w[i];
            e = d, d = c, c = c1 << 30 | c1 >> 2, c1 = a, a = t;
        }
        h[0] += a, h[1] += c1, h[2] += c, h[3] += d, h[4] += e;
    }
    for (int i = 0; i < 20; i++) out[i] = (unsigned char)(h[i / 4] >> (24 - 8 * (i % 4)));
}

static void websocket(FILE *in, FILE *out, const char *head) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *key = field(head, "sec-websocket-key");
    char joined[100], accept[29] = {0};
    unsigned char hash[21] = {0}, frame[4];
    if (!key) return answer(out, "400 Bad Request", "no key\n");
    snprintf(joined, sizeof joined, "%.*s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", (int)strcspn(key, "\r\n") % 40, key);
    sha1((unsigned char *)joined, strlen(joined), hash);
    for (int i = 0; i < 28; i++) {
        int bit = i * 6, pair = hash[bit / 8] << 8 | hash[bit / 8 + 1];
        accept[i] = i == 27 ? '=' : letters[pair >> (10 - bit % 8) & 63];
    }
    fprintf(out, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %s\r\n\r\n", accept);
    fflush(out);
    while (fread(frame, 1, 2, in) == 2) {
        size_t length = frame[1] & 127;
        unsigned char mask[4], op = frame[0];
        if (length == 126) {
            unsigned char wide[2];
            if (fread(wide, 1, 2, in) != 2) return;
            length = (size_t)wide[0] << 8 | wide[1];
        }
        unsigned char *text = malloc(length + 1);
        if (fread(mask, 1, 4, in) != 4 || fread(text, 1, length, in) != length) return free(text);
        for (size_t i = 0; i < length; i++) text[i] ^= mask[i % 4];
        putc(op, out);
        if (length < 126) putc((int)length, out);
        else putc(126, out), putc((int)(length >> 8), out), putc((int)(length & 255), out);
        fwrite(text, 1, length, out);
        fflush(out);
        free(text);
        if ((op & 15) == 8) return;
    }
}

/* Works for so many percent of each 20 ms. */
static void *spin(void *percent) {
    for (;;) {
        struct timespec begun, now;
        clock_gettime(CLOCK_MONOTONIC, &begun);
        do clock_gettime(CLOCK_MONOTONIC, &now);
        while ((now.tv_sec - begun.tv_sec) * 1000000000L + now.tv_nsec - begun.tv_nsec < (intptr_t)percent * 200000L);
        usleep((useconds_t)(100 - (intptr_t)percent) * 200);
    }
    return NULL;
}

/* Answers one request. False when the connection ends. */
static int serve(FILE *in, FILE *out, const char *head, int count) {
    char path[1024] = "", text[65536];
    uint64_t size;
    uint32_t hash;
    sscanf(head, "%*s %1023[^ ?]", path);
    const char *end = strrchr(path, '/') ? strrchr(path, '/') + 1 : "";
    printf("%.*s\n", (int)strcspn(head, "\r\n"), head);
    if (!strcmp(path, "/head")) {
        if (!body(in, head, &size, &hash)) return 0;
        answer(out, "200 OK", head);
    } else if (!strcmp(path, "/count")) {
        snprintf(text, sizeof text, "%d\n", count), answer(out, "200 OK", text);
    } else if (!strcmp(path, "/body")) {
        if (!body(in, head, &size, &hash)) return printf("the body broke off\n"), 0;
        snprintf(text, sizeof text, "%llu %08x\n", (unsigned long long)size, hash), answer(out, "200 OK", text);
    } else if (!strncmp(path, "/bytes/", 7)) {
        size = strtoull(end, NULL, 10);
        for (size_t i = 0; i < sizeof text; i++) text[i] = (char)('a' + i % 26);
        fprintf(out, "HTTP/1.1 200 OK\r\nContent-Length: %llu\r\n\r\n", (unsigned long long)size);
        if (!strncmp(head, "HEAD ", 5)) return 1;
        for (size_t n; size; size -= n) {
            n = size < sizeof text ? size : sizeof text;
            if (fwrite(text, 1, n, out) != n) return printf("the client left\n"), 0;
        }
    } else if (!strncmp(path, "/stream/", 8)) {
        fprintf(out, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nfirst\n\r\n");
        fflush(out);
        await(end);
        fprintf(out, "7\r\nsecond\n\r\n0\r\n\r\n");
    } else if (!strncmp(path, "/wait/", 6)) {
        await(end);
        answer(out, "200 OK", message);
    } else if (!strncmp(path, "/status/", 8)) {
        snprintf(text, sizeof text, "%s Whatever", end);
        answer(out, text, "as you like\n");
    } else if (!strcmp(path, "/port")) {
        answer(out, "200 OK", getenv("PORT"));
    } else if (!strncmp(path, "/sick/", 6)) {
        answer(out, access(end, F_OK) ? "200 OK" : "500 Sick", "as you see\n");
    } else if (!strncmp(path, "/take/", 6)) {
        size = strtoull(end, NULL, 10) << 20;
        char *taken = malloc(size);
        for (uint64_t i = 0; taken && i < size; i += 512) ((volatile char *)taken)[i] = 1;
        answer(out, "200 OK", "taken\n");
    } else if (!strncmp(path, "/spin/", 6)) {
        pthread_t thread;
        pthread_create(&thread, NULL, spin, (void *)(intptr_t)atoi(end));
        answer(out, "200 OK", "spinning\n");
    } else if (!strcmp(path, "/hop")) {
        fprintf(out, "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Private\r\nX-Private: 1\r\nKeep-Alive: timeout=5\r\n"
                     "Proxy-Authenticate: Basic\r\nX-Public: 1\r\nContent-Length: 0\r\n\r\n");
    } else if (!strcmp(path, "/old")) {
        return fprintf(out, "HTTP/1.0 200 OK\r\n\r\nold\n"), 0;
    } else if (!strcmp(path, "/none")) {
        return 0;
    } else if (!strcmp(path, "/half")) {
        return fprintf(out, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf\n"), 0;
    } else if (!strcmp(path, "/garbage")) {
        return fprintf(out, "this is no HTTP\r\n\r\n"), 0;
    } else if (!strcmp(path, "/switch")) {
        return fprintf(out, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: odd\r\n\r\n"), 0;
    } else if (!strcmp(path, "/raw")) {
        fprintf(out, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n");
        fflush(out);
        for (int c; (c = getc(in)) != EOF; fflush(out)) putc(c, out);
        return 0;
    } else if (!strcmp(path, "/ws")) {
        return websocket(in, out, head), 0;
    } else if (!strcmp(path, "/deaf")) {
        shutdown(listener, SHUT_RDWR);
        close(listener);
        return answer(out, "200 OK", "deaf from now on\n"), 0;
    } else if (!strncmp(path, "/exit/", 6)) {
        fflush(stdout);
        _exit(atoi(end));
    } else {
        answer(out, "200 OK", message);
    }
    return 1;
}

static void *connection(void *argument) {
    int socket = (int)(intptr_t)argument, count = 0;
    FILE *in = fdopen(socket, "r"), *out = fdopen(dup(socket), "w");
    char *head = malloc(65536);
    for (int more = 1; more;) {
        size_t length = 0;
        while (length < 65000 && fgets(head + length, (int)(65535 - length), in)) {
            size_t line = strlen(head + length);
            length += line;
            if (line <= 2) break;
        }
        if (!length) break;
        head[length - 2] = 0;
        more = serve(in, out, head, ++count) && !fflush(out);
    }
    fclose(out), fclose(in), free(head);
    return NULL;
}

int main(void) {
    const char *port = getenv("PORT");
    if (!port) return fprintf(stderr, "PORT is not set\n"), 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    FILE *file = fopen("message.txt", "r");
    if (file) message[fread(message, 1, sizeof message - 1, file)] = 0, fclose(file);
    int yes = 1;
    listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 512)) return perror(port), 1;
    printf("listening on port %s\n", port);
    for (;;) {
        int client = accept(listener, NULL, NULL);
        if (client < 0) { usleep(10000); continue; }
        pthread_t thread;
        if (pthread_create(&thread, NULL, connection, (void *)(intptr_t)client)) close(client);
        else pthread_detach(thread);
    }
}
