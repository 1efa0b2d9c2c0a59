/* The provider of the bench's conversations: OpenAI's Realtime interface (GA), as much of it as a relay needs, in C so that it is
 * never what is measured.
 *
 *   ws_mock PORT
 *
 * One thread, epoll, loopback only. The model's name in the query is the order: "frames-N-G" is N frames each way, G microseconds
 * apart (0: as fast as they are taken). A session is told that it is created; when its first frame of sound has come it is sent N, and when it has said N
 * and heard N it is told that its buffer is committed. GET /report tells, as JSON, what was counted since it was last asked for;
 * any other GET answers "ok".
 */
#define MASKED 0
#include "ws.h"

static long sessions;
static struct peer *first, *last;       /* those that speak, by the time of their next frame: all have the same pace */

static const char *CREATED = "{\"type\":\"session.created\",\"event_id\":\"event_1\",\"session\":{\"type\":\"realtime\",\"id\":\"sess_bench\","
    "\"object\":\"realtime.session\",\"model\":\"bench\",\"output_modalities\":[\"audio\"],\"audio\":{\"input\":{\"format\":{\"type\":\"audio/pcm\","
    "\"rate\":24000}},\"output\":{\"format\":{\"type\":\"audio/pcm\",\"rate\":24000},\"voice\":\"alloy\"}}}}";
static const char *COMMITTED = "{\"type\":\"input_audio_buffer.committed\",\"event_id\":\"event_2\",\"previous_item_id\":null,\"item_id\":\"item_bench\"}";

/* ---- the answer to a key: base64 of SHA-1 (RFC 3174) of no more than 119 bytes */

static uint32_t left(uint32_t x, int n) { return x << n | x >> (32 - n); }

static void accept_of(const char *key, char *out)
{
    uint8_t block[128] = {0}, sum[21] = {0};
    uint32_t h[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0}, w[80];
    int n = sprintf((char *)block, "%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
    block[n] = 0x80;
    block[126] = n * 8 >> 8, block[127] = (uint8_t)(n * 8);
    for (int part = 0; part < 128; part += 64) {
        uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
        for (int i = 0; i < 80; i++) {
            const uint8_t *q = block + part + 4 * i;
            w[i] = i < 16 ? (uint32_t)q[0] << 24 | q[1] << 16 | q[2] << 8 | q[3] : left(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
            uint32_t f = i < 20 ? ((b & c) | (~b & d)) + 0x5A827999 : i < 40 ? (b ^ c ^ d) + 0x6ED9EBA1
                : i < 60 ? ((b & c) | (b & d) | (c & d)) + 0x8F1BBCDC : (b ^ c ^ d) + 0xCA62C1D6;
            f += left(a, 5) + e + w[i];
            e = d, d = c, c = left(b, 30), b = a, a = f;
        }
        h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e;
    }
    for (int i = 0; i < 20; i++) sum[i] = h[i / 4] >> (24 - i % 4 * 8);
    for (int i = 0; i < 7; i++) {
        uint32_t x = sum[3 * i] << 16 | sum[3 * i + 1] << 8 | sum[3 * i + 2];
        for (int k = 0; k < 4; k++) out[4 * i + k] = DIGITS[x >> (18 - 6 * k) & 63];
    }
    strcpy(out + 27, "=");
}

/* ---- one session */

static int report(struct peer *p)
{
    char body[512], text[700];
    int n = sprintf(body, "{\"sessions\": %ld, \"sent\": %ld, \"heard\": %ld, \"wrong\": %ld, \"p50_us\": %ld, \"p99_us\": %ld, \"late_p99_us\": %ld}",
        sessions, spoken, ways.n, wrong, percentile(&ways, 0.5), percentile(&ways, 0.99), percentile(&lates, 0.99));
    sessions = spoken = wrong = 0;
    memset(&ways, 0, sizeof ways);
    memset(&lates, 0, sizeof lates);
    return put(p, text, sprintf(text, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s", n, body));
}

static int greeting(struct peer *p, char *head)
{
    char *key = strcasestr(head, "\r\nsec-websocket-key: "), *order = strstr(head, "frames-"), answer[32], text[256];
    long gap = 0;
    if (!strncmp(head, "GET /report", 11)) return report(p);
    if (!key) return put(p, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", 40);
    if (order) sscanf(order, "frames-%ld-%ld", &p->most, &gap);
    p->gap = gap * 1000ull;
    p->open = 1;
    sessions++;
    accept_of(key + 21, answer);
    int n = sprintf(text, "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: %s\r\n\r\n", answer);
    return put(p, text, n) && say(p, 1, CREATED, strlen(CREATED));
}

static int committed(struct peer *p)
{
    if (p->started != 1 || p->heard < p->most || p->sent < p->most) return 1;
    p->started = 2;
    return say(p, 1, COMMITTED, strlen(COMMITTED));
}

static void await_turn(struct peer *p)
{
    p->next = NULL;
    if (first) last->next = p; else first = p;
    last = p;
}

static int message(struct peer *p, char *text, int n)
{
    char *at = memmem(text, n < 400 ? n : 400, "\"audio\":\"", 9);
    if (!at) return 1;
    if (n != PAYLOAD || strncmp(text, "{\"type\":\"input_audio_buffer.append\"", 35)) wrong++;
    heard(p, at + 9, text + n);
    if (!p->started && p->most) {
        p->started = 1;
        p->began = now() + p->gap;     /* behind all that wait already */
        await_turn(p);
    }
    return committed(p);
}

static void forget(struct peer *p)
{
    close(p->fd);
    p->fd = -1;
    if (p->started != 1 || p->ticks == p->most) free(p);        /* else it waits for its turn, and goes then */
}

static void turn(struct peer *p)
{
    first = p->next;
    if (p->fd < 0) { free(p); return; }
    int alive = tick(p) && committed(p);
    if (p->ticks < p->most) await_turn(p);
    if (!alive) forget(p);
}

int main(int argc, char **argv)
{
    int one = 1, door = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in a = {AF_INET, htons(argc > 1 ? atoi(argv[1]) : 0), {htonl(INADDR_LOOPBACK)}};
    signal(SIGPIPE, SIG_IGN);
    make_frame("{\"type\":\"response.output_audio.delta\",\"event_id\":\"event_CRj0tZqXa9Lr7TnYc2Wd5", "\",\"response_id\":"
        "\"resp_CRj0tZqXa9Lr7TnYc2Wd5\",\"item_id\":\"item_CRj0tZqXa9Lr7TnYc2Wd5\",\"output_index\":0,\"content_index\":0,\"delta\":\"");
    setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(door, (void *)&a, sizeof a) || listen(door, 4096)) { perror("ws_mock"); return 1; }
    ep = epoll_create1(0);
    struct epoll_event e = {EPOLLIN, {.ptr = NULL}}, got[512];
    epoll_ctl(ep, EPOLL_CTL_ADD, door, &e);
    for (;;) {
        int n = wait_until(first ? first->began + first->ticks * first->gap : now() + 1000000000, got, 512);
        for (int i = 0; i < n; i++) {
            struct peer *p = got[i].data.ptr;
            int fd, what = got[i].events;
            if (p) {
                if ((what & EPOLLIN && (!hear(p) || !committed(p))) || (what & EPOLLOUT && (!flush(p) || !committed(p))) || !(what & (EPOLLIN | EPOLLOUT))) forget(p);
                continue;
            }
            while ((fd = accept4(door, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                no_delay(fd);
                p = calloc(1, sizeof *p);
                p->fd = fd;
                struct epoll_event in = {EPOLLIN, {.ptr = p}};
                epoll_ctl(ep, EPOLL_CTL_ADD, fd, &in);
            }
        }
        for (uint64_t t = now(); first && first->began + first->ticks * first->gap <= t;) turn(first);
    }
}
