/* Clients that stream: opens N connections, asks on each for a stream, asks again when it ended, for some seconds.
 *
 *   load PORT PATH CONNECTIONS SECONDS MODEL [HEADER…]
 *
 * Prints one JSON object: events received, streams ended, failures, and the latency of the first event (µs).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SEEN 1000000

struct stream {
    int fd, begun, first;
    uint64_t asked;
    char tail[8];           /* the last bytes of the read before: an event or the end may be split */
};

static char request[4096];
static int request_n, ep;
static struct sockaddr_in server = {AF_INET};
static long events, ended, failed, firsts_n;
static uint32_t firsts[SEEN];

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void ask(struct stream *s)
{
    int one = 1;
    if (s->fd < 0) {
        s->fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(s->fd, (void *)&server, sizeof server)) { failed++; close(s->fd); s->fd = -1; return; }
        setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event e = {EPOLLIN, {.ptr = s}};
        epoll_ctl(ep, EPOLL_CTL_ADD, s->fd, &e);
    }
    memset(s->tail, 'x', sizeof s->tail);
    s->begun = s->first = 0;
    s->asked = now();
    if (send(s->fd, request, request_n, MSG_NOSIGNAL) != request_n) failed++;
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(uint32_t *)a, y = *(uint32_t *)b;
    return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
    static char room[8 + 262144];
    signal(SIGPIPE, SIG_IGN);
    if (argc < 6) { fprintf(stderr, "load PORT PATH CONNECTIONS SECONDS MODEL [HEADER…]\n"); return 2; }
    int n = atoi(argv[3]);
    double seconds = atof(argv[4]);
    char body[1024], headers[1024] = "";
    server.sin_port = htons(atoi(argv[1]));
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int i = 6; i < argc; i++) { strcat(headers, argv[i]); strcat(headers, "\r\n"); }
    int size = sprintf(body, "{\"model\":\"%s\",\"messages\":[{\"role\":\"system\",\"content\":\"You answer in short sentences.\"},"
        "{\"role\":\"user\",\"content\":\"Tell me in a few words what a gateway does, and why it should be fast.\"}],"
        "\"temperature\":0.7,\"stream\":true}", argv[5]);
    request_n = sprintf(request, "POST %s HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n%scontent-length: %d\r\n\r\n%s",
        argv[2], headers, size, body);
    ep = epoll_create1(0);
    struct stream *all = calloc(n, sizeof *all);
    uint64_t start = now(), end = start + seconds * 1e9;
    int opened = 0;
    while (now() < end) {
        /* all are open after the first second, spread evenly */
        while (opened < n && now() >= start + 1000000000ull * opened / n) { all[opened].fd = -1; ask(&all[opened++]); }
        struct epoll_event got[256];
        int k = epoll_wait(ep, got, 256, opened < n ? 1 : 50);
        for (int i = 0; i < k; i++) {
            struct stream *s = got[i].data.ptr;
            memcpy(room, s->tail, 8);
            int r = recv(s->fd, room + 8, sizeof room - 8, MSG_DONTWAIT);
            if (r < 0 && errno == EAGAIN) continue;
            if (r <= 0) { failed++; close(s->fd); s->fd = -1; ask(s); continue; }
            if (!s->begun && memcmp(room + 8, "HTTP/1.1 200", 12)) {
                if (!failed++) fprintf(stderr, "load: %.*s\n", r > 300 ? 300 : r, room + 8);
            }
            s->begun = 1;
            char *p = room, *stop = room + 8 + r;
            while ((p = memmem(p, stop - p, "data: {", 7))) {
                p += 7;
                events++;
                if (!s->first) {
                    s->first = 1;
                    if (firsts_n < SEEN) firsts[firsts_n++] = (now() - s->asked) / 1000;
                }
            }
            memcpy(s->tail, stop - 8, 8);
            /* what was counted must not be counted again */
            if (memmem(s->tail, 8, "data: {", 7)) memset(s->tail, 'x', 8);
            if (stop - room >= 13 && !memcmp(stop - 5, "0\r\n\r\n", 5) && stop[-6] == '\n') { ended++; ask(s); }
        }
    }
    qsort(firsts, firsts_n, sizeof *firsts, by_size);
    printf("{\"seconds\": %.3f, \"events\": %ld, \"ended\": %ld, \"failed\": %ld, \"first_p50_us\": %u, \"first_p99_us\": %u}\n",
        (now() - start) / 1e9, events, ended, failed, firsts_n ? firsts[firsts_n / 2] : 0, firsts_n ? firsts[firsts_n * 99 / 100] : 0);
    return 0;
}
