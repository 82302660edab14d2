/* A small web server: answers every request with message.txt and writes a line about
 * it. Listens on 127.0.0.1:$PORT. */
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static size_t message(char *text, size_t size) {
    FILE *file = fopen("message.txt", "r");
    if (!file) return 0;
    size_t length = fread(text, 1, size, file);
    fclose(file);
    return length;
}

static void answer(int client) {
    char request[4096], head[128], text[4096];
    ssize_t got = read(client, request, sizeof request - 1);
    if (got <= 0) return;
    request[got] = 0;
    size_t length = message(text, sizeof text);
    int head_length = snprintf(head, sizeof head,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n", length);
    if (write(client, head, head_length) < 0 || write(client, text, length) < 0) perror("write");
    printf("%.*s\n", (int)strcspn(request, "\r\n"), request);
}

int main(void) {
    const char *port = getenv("PORT");
    if (!port) return fprintf(stderr, "PORT is not set\n"), 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    int server = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(server, (struct sockaddr *)&address, sizeof address) || listen(server, 64)) return perror(port), 1;
    printf("listening on port %s\n", port);
    for (;;) {
        int client = accept(server, NULL, NULL);
        if (client < 0) continue;
        answer(client);
        close(client);
    }
}
