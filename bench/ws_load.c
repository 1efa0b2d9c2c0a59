/* Clients that converse: opens N WebSockets and says frames of sound on each at a pace, while as many come back.
 *
 *   ws_load PORT TARGET SESSIONS FRAMES GAP TYPE [HEADER…]
 *
 * TARGET is asked for with ?model=frames-FRAMES-GAP, which makes `ws_mock` send as many; GAP is in microseconds, TYPE is that of
 * the frames that are expected (GAP 0: as fast as they are taken). Prints {"open": …} when all are open, waits for a line, says everything, prints one
 * JSON object of what was counted, waits for another line and closes. The sessions take turns, evenly over GAP.
 */
#define MASKED 0x80
#include "ws.h"

#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
#define AT_ONCE 20              /* handshakes */

static struct sockaddr_in server = {AF_INET};
static char request[4096], type[256];
static struct peer *all;
static int n, opened, ready, done, gone, failed, closing;

static void lost(struct peer *p, const char *why)
{
    if (p->fd < 0) return;
    if (!closing && !failed++) fprintf(stderr, "ws_load: %s\n", why);
    close(p->fd);
    p->fd = -1;
    gone++;
}

static void enter(struct peer *p)
{
    p->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(p->fd, (void *)&server, sizeof server)) { lost(p, "no connection"); return; }
    no_delay(p->fd);
    struct epoll_event e = {EPOLLIN, {.ptr = p}};
    epoll_ctl(ep, EPOLL_CTL_ADD, p->fd, &e);
    if (!put(p, request, strlen(request))) lost(p, "no request");
}

static int greeting(struct peer *p, char *head)
{
    if (strncmp(head, "HTTP/1.1 101", 12) || !strstr(head, ACCEPT)) {
        if (!failed) fprintf(stderr, "ws_load: %.300s\n", head);
        return 0;
    }
    p->open = 1;
    return 1;
}

static int message(struct peer *p, char *text, int n)
{
    char *at = memmem(text, n < 400 ? n : 400, "\"delta\":\"", 9);
    if (at) {
        if (strncmp(text, type, strlen(type))) wrong++;
        heard(p, at + 9, text + n);
    } else if (memmem(text, n, "\"session.created\"", 17)) {
        ready++;
    } else if (memmem(text, n, "\"input_audio_buffer.committed\"", 30)) {
        done++;
    } else {
        if (!failed++) fprintf(stderr, "ws_load: %.*s\n", n < 300 ? n : 300, text);
    }
    return 1;
}

/* serve all until `due`; 1 when a line has come, or none will any more */
static int serve(uint64_t due)
{
    struct epoll_event got[512];
    static int alone;
    int line = alone, k = wait_until(due, got, 512);
    for (int i = 0; i < k; i++) {
        struct peer *p = got[i].data.ptr;
        int what = got[i].events;
        if (!p) {
            char c;
            line = 1;
            if (read(0, &c, 1) < 1) alone = 1, epoll_ctl(ep, EPOLL_CTL_DEL, 0, NULL);
        } else if ((what & EPOLLIN && !hear(p)) || (what & EPOLLOUT && !flush(p)) || !(what & (EPOLLIN | EPOLLOUT))) {
            lost(p, "a session ended");
        }
    }
    return line;
}

static void converse(long frames, uint64_t gap)
{
    uint64_t start = now() + 10000000, end = start + frames * gap + (gap ? 5 : 30) * 1000000000ull;
    long turns = 0, most = frames * n;
    for (int i = 0; i < n; i++) all[i].began = start + gap * i / n, all[i].gap = gap;
    while (done + gone < n && now() < end) {
        for (uint64_t t = now(); turns < most; turns++) {
            struct peer *p = &all[turns % n];
            if (p->began + p->ticks * gap > t) break;
            if (p->fd < 0 || !tick(p)) { p->ticks++; lost(p, "a session ended"); }
        }
        struct peer *p = &all[turns % n];
        serve(turns < most ? p->began + p->ticks * gap : now() + 20000000);
    }
    printf("{\"seconds\": %.3f, \"sessions\": %d, \"done\": %d, \"sent\": %ld, \"heard\": %ld, \"wrong\": %ld, \"failed\": %d, "
        "\"p50_us\": %ld, \"p99_us\": %ld, \"late_p99_us\": %ld}\n", (now() - start) / 1e9, n, done, spoken, ways.n, wrong, failed,
        percentile(&ways, 0.5), percentile(&ways, 0.99), percentile(&lates, 0.99));
    fflush(stdout);
}

int main(int argc, char **argv)
{
    char headers[2048] = "";
    signal(SIGPIPE, SIG_IGN);
    if (argc < 7) { fprintf(stderr, "ws_load PORT TARGET SESSIONS FRAMES GAP TYPE [HEADER…]\n"); return 2; }
    server.sin_port = htons(atoi(argv[1]));
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    n = atoi(argv[3]);
    long frames = atol(argv[4]), gap = atol(argv[5]);
    snprintf(type, sizeof type, "{\"type\":\"%s\"", argv[6]);
    for (int i = 7; i < argc; i++) { strcat(headers, argv[i]); strcat(headers, "\r\n"); }
    snprintf(request, sizeof request, "GET %s?model=frames-%ld-%ld HTTP/1.1\r\nhost: 127.0.0.1\r\nupgrade: websocket\r\n"
        "connection: Upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: " KEY "\r\n%s\r\n", argv[2], frames, gap, headers);
    make_frame("{\"type\":\"input_audio_buffer.append\",\"event_id\":\"event_", "\",\"audio\":\"");
    ep = epoll_create1(0);
    struct epoll_event line = {EPOLLIN, {.ptr = NULL}};
    epoll_ctl(ep, EPOLL_CTL_ADD, 0, &line);
    all = calloc(n, sizeof *all);
    uint64_t end = now() + 30000000000ull;
    while (ready + gone < n && now() < end) {
        while (opened < n && opened - ready - gone < AT_ONCE) enter(&all[opened++]);
        serve(now() + 20000000);
    }
    printf("{\"open\": %d, \"failed\": %d}\n", ready, failed);
    fflush(stdout);
    for (end = now() + 60000000000ull; now() < end && !serve(now() + 100000000);) {}
    converse(frames, gap * 1000ull);
    for (end = now() + 60000000000ull; now() < end && !serve(now() + 100000000);) {}
    closing = 1;
    for (int i = 0; i < n; i++) if (all[i].fd >= 0) say(&all[i], 8, "\x03\xe8", 2);
    for (end = now() + 5000000000ull; gone < n && now() < end;) serve(now() + 20000000);
    return 0;
}
