/* The upstream of the bench: answers OpenAI's chat wire (and streams Anthropic's, on paths that end in /messages), in C so
 * that it is never what is measured.
 *
 *   mock PORT
 *
 * One thread, epoll, loopback only. The model's name is the order: "mock-N-D" streams N events D microseconds apart
 * (0: as fast as they are taken); a request without "stream":true gets one JSON answer. Each event is one write. Paths that
 * end in /embeddings get a vector of 1536 numbers in base64, those that end in /speech 1 MB of sound. A client that goes
 * away ends its stream. GET answers "ok".
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

#define MOST 20000
#define ROOM 32768
#define PIECE 16384             /* of sound */
#define PIECES 64
#define VECTOR 8192             /* digits of base64 */

struct peer {
    int fd, at;             /* place in the heap, -1: not waiting for time */
    long left;              /* events still to send; -1: no stream */
    int usage, blocked, messages, sound;
    uint64_t gap, due;      /* nanoseconds */
    char *held;             /* what the socket did not take */
    int held_n, in_n;
    char in[ROOM];
};

static struct peer *heap[MOST];
static int waiting, ep;

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* ---- a heap of streams by the time of their next event */

static void put_at(struct peer *p, int i) { heap[i] = p; p->at = i; }

static void sift(int i)
{
    struct peer *p = heap[i];
    for (; i && p->due < heap[(i - 1) / 2]->due; i = (i - 1) / 2) put_at(heap[(i - 1) / 2], i);
    for (;;) {
        int child = 2 * i + 1;
        if (child >= waiting) break;
        if (child + 1 < waiting && heap[child + 1]->due < heap[child]->due) child++;
        if (p->due <= heap[child]->due) break;
        put_at(heap[child], i);
        i = child;
    }
    put_at(p, i);
}

static void wait_for_time(struct peer *p)
{
    if (p->at < 0) put_at(p, waiting++);
    sift(p->at);
}

static void wait_no_more(struct peer *p)
{
    int i = p->at;
    if (i < 0) return;
    p->at = -1;
    if (i != --waiting) { put_at(heap[waiting], i); sift(i); }
}

/* ---- one connection */

static void forget(struct peer *p)
{
    wait_no_more(p);
    close(p->fd);
    free(p->held);
    free(p);
}

static void listen_for(struct peer *p, int writable)
{
    struct epoll_event e = {EPOLLIN | EPOLLRDHUP | (writable ? EPOLLOUT : 0), {.ptr = p}};
    epoll_ctl(ep, EPOLL_CTL_MOD, p->fd, &e);
    p->blocked = writable;
}

/* 0 when the connection is gone */
static int send_all(struct peer *p, const char *data, int n)
{
    int sent = p->held_n ? 0 : send(p->fd, data, n, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent == n) return 1;
    if (sent < 0 && errno != EAGAIN) { forget(p); return 0; }
    if (sent < 0) sent = 0;
    p->held = realloc(p->held, p->held_n + n - sent);
    memcpy(p->held + p->held_n, data + sent, n - sent);
    p->held_n += n - sent;
    if (!p->blocked) listen_for(p, 1);
    return 1;
}

#define CHUNK_HEAD "data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1750000000," \
    "\"model\":\"bench-model-2026-01-01\",\"system_fingerprint\":\"fp_0123456789\","

/* Anthropic's: a name and a JSON object each */
static int message_event(struct peer *p)
{
    char text[1024], framed[1100];
    int n = 0;
    if (p->left > 0) {
        n = sprintf(text, "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,"
            "\"delta\":{\"type\":\"text_delta\",\"text\":\"a few more words %ld \"}}\n\n", p->left);
        p->left--;
        return send_all(p, framed, sprintf(framed, "%x\r\n%s\r\n", n, text));
    }
    n = sprintf(text, "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n"
        "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},"
        "\"usage\":{\"output_tokens\":100}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
    p->left = -1;
    return send_all(p, framed, sprintf(framed, "%x\r\n%s\r\n0\r\n\r\n", n, text));
}

static const char *MESSAGE_HEAD = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_bench\","
    "\"type\":\"message\",\"role\":\"assistant\",\"model\":\"bench-model\",\"content\":[],\"stop_reason\":null,"
    "\"usage\":{\"input_tokens\":20,\"output_tokens\":1}}}\n\nevent: content_block_start\ndata: {\"type\":"
    "\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n";

static int sound(struct peer *p)
{
    static char piece[PIECE + 32];
    if (p->left > 0) {
        p->left--;
        int n = sprintf(piece, "%x\r\n", PIECE);
        memset(piece + n, 's', PIECE);
        memcpy(piece + n + PIECE, "\r\n", 2);
        return send_all(p, piece, n + PIECE + 2);
    }
    p->left = -1;
    return send_all(p, "0\r\n\r\n", 5);
}

static int event(struct peer *p)
{
    char text[1024], framed[1100];
    int n;
    if (p->sound) return sound(p);
    if (p->messages) return message_event(p);
    if (p->left > 0) {
        n = sprintf(text, CHUNK_HEAD "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a few more words %ld \"},"
            "\"logprobs\":null,\"finish_reason\":null}]}\n\n", p->left);
        p->left--;
        return send_all(p, framed, sprintf(framed, "%x\r\n%s\r\n", n, text));
    }
    n = sprintf(text, CHUNK_HEAD "\"choices\":[{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\"}]}\n\n");
    if (p->usage)
        n += sprintf(text + n, CHUNK_HEAD "\"choices\":[],\"usage\":{\"prompt_tokens\":20,\"completion_tokens\":100,\"total_tokens\":120}}\n\n");
    n += sprintf(text + n, "data: [DONE]\n\n");
    p->left = -1;
    return send_all(p, framed, sprintf(framed, "%x\r\n%s\r\n0\r\n\r\n", n, text));
}

/* send what is due, as far as the socket takes it; 0 when the connection is gone */
static int go_on(struct peer *p)
{
    while (p->left >= 0 && !p->held_n) {
        if (p->gap && p->due > now()) { wait_for_time(p); return 1; }
        if (!event(p)) return 0;
        p->due += p->gap;
    }
    wait_no_more(p);
    return 1;
}

static int reply(struct peer *p, const char *type, const char *body)
{
    static char text[VECTOR + 2048];
    return send_all(p, text, sprintf(text, "HTTP/1.1 200 OK\r\ncontent-type: %s\r\ncontent-length: %zu\r\n"
        "x-request-id: req_0123456789abcdef\r\nprocessing-ms: 5\r\n\r\n%s", type, strlen(body), body));
}

static const char *ANSWER = "{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion\",\"created\":1750000000,\"model\":\"bench-model-2026-01-01\","
    "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"This is the answer of the bench's upstream; it is about as long as a short reply of a model.\",\"refusal\":null},"
    "\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":20,\"completion_tokens\":19,\"total_tokens\":39,"
    "\"prompt_tokens_details\":{\"cached_tokens\":0}},\"system_fingerprint\":\"fp_0123456789\"}";

static int vector(struct peer *p)
{
    static char text[VECTOR + 512];
    int n = sprintf(text, "{\"object\":\"list\",\"data\":[{\"object\":\"embedding\",\"index\":0,\"embedding\":\"");
    memset(text + n, 'A', VECTOR);
    sprintf(text + n + VECTOR, "\"}],\"model\":\"bench-vectors\",\"usage\":{\"prompt_tokens\":9,\"total_tokens\":9}}");
    return reply(p, "application/json", text);
}

static int answer(struct peer *p, const char *body)
{
    long n = 100, gap = 10000;
    p->sound = strstr(p->in, "/speech HTTP/1.1") != NULL;
    if (strstr(p->in, "/embeddings HTTP/1.1")) return vector(p);
    if (p->sound) {
        const char *begin = "HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ntransfer-encoding: chunked\r\n\r\n";
        p->left = PIECES;
        p->gap = 0;
        return send_all(p, begin, strlen(begin)) && go_on(p);
    }
    const char *order = strstr(body, "\"mock-");
    if (!strstr(body, "\"stream\":true") && !strstr(body, "\"stream\": true")) return reply(p, "application/json", ANSWER);
    if (order) sscanf(order, "\"mock-%ld-%ld", &n, &gap);
    p->usage = strstr(body, "include_usage") != NULL;
    p->left = n;
    p->gap = gap * 1000ull;
    p->due = now();
    const char *head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    char begun[1024];
    p->messages = strstr(p->in, "/messages HTTP/1.1") != NULL;
    if (!send_all(p, head, strlen(head))) return 0;
    if (p->messages && !send_all(p, begun, sprintf(begun, "%zx\r\n%s\r\n", strlen(MESSAGE_HEAD), MESSAGE_HEAD))) return 0;
    return go_on(p);
}

static void readable(struct peer *p)
{
    int n = recv(p->fd, p->in + p->in_n, ROOM - 1 - p->in_n, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) { forget(p); return; }
    p->in_n += n;
    while (p->left < 0 && p->in_n) {
        p->in[p->in_n] = 0;
        char *end = strstr(p->in, "\r\n\r\n"), *length;
        if (!end) break;
        *end = 0;
        length = strcasestr(p->in, "\r\ncontent-length:");
        int size = length ? atoi(length + 17) : 0, whole = end + 4 - p->in + size, post = p->in[0] == 'P';
        *end = '\r';
        if (whole >= ROOM) { forget(p); return; }
        if (p->in_n < whole) break;
        char after = p->in[whole];
        p->in[whole] = 0;
        if (!(post ? answer(p, end + 4) : reply(p, "text/plain", "ok"))) return;
        p->in[whole] = after;
        memmove(p->in, p->in + whole, p->in_n -= whole);
    }
}

static void writable(struct peer *p)
{
    int n = send(p->fd, p->held, p->held_n, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN) { forget(p); return; }
    if (n > 0) memmove(p->held, p->held + n, p->held_n -= n);
    if (!p->held_n) { listen_for(p, 0); go_on(p); }
}

int main(int argc, char **argv)
{
    int one = 1, door = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in a = {AF_INET, htons(argc > 1 ? atoi(argv[1]) : 0), {htonl(INADDR_LOOPBACK)}};
    signal(SIGPIPE, SIG_IGN);
    setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(door, (void *)&a, sizeof a) || listen(door, 4096)) { perror("mock"); return 1; }
    ep = epoll_create1(0);
    struct epoll_event e = {EPOLLIN, {.ptr = NULL}}, got[512];
    epoll_ctl(ep, EPOLL_CTL_ADD, door, &e);
    for (;;) {
        struct timespec pause, *until = NULL;
        if (waiting) {
            uint64_t t = now(), d = heap[0]->due > t ? heap[0]->due - t : 0;
            pause = (struct timespec){d / 1000000000, d % 1000000000};
            until = &pause;
        }
        int n = epoll_pwait2(ep, got, 512, until, NULL);
        for (int i = 0; i < n; i++) {
            struct peer *p = got[i].data.ptr;
            if (!p) {
                int fd;
                while ((fd = accept4(door, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                    p = calloc(1, sizeof *p);
                    *p = (struct peer){.fd = fd, .at = -1, .left = -1};
                    struct epoll_event in = {EPOLLIN | EPOLLRDHUP, {.ptr = p}};
                    epoll_ctl(ep, EPOLL_CTL_ADD, fd, &in);
                }
            } else if (got[i].events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP)) {
                forget(p);
            } else if (got[i].events & EPOLLOUT) {
                writable(p);
            } else {
                readable(p);
            }
        }
        for (uint64_t t = now(); waiting && heap[0]->due <= t;) go_on(heap[0]);
    }
}
