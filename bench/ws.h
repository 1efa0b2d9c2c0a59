/* What both ends of the bench's conversations have in common: WebSocket frames of sound that are sent at a pace, and checked as
 * they come.
 *
 * Each frame is one event of OpenAI's Realtime interface (GA), a message of exactly PAYLOAD bytes as it is sent. Its sound begins
 * with digits that say which frame of its session it is and when it was due, on the clock that all processes share; the rest of
 * the sound is the same in all. So the other end knows what is lost, out of order or changed, and how long each was on its way;
 * a sender that is held up counts as a frame that is late. Nothing is kept for a peer that does not read: what is due is made
 * when there is room.
 *
 * Who includes this says what is masked (MASKED: 0x80 for a client), and defines `greeting` and `message`.
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

#define PAYLOAD 4500            /* bytes of a message */
#define WHICH 8                 /* digits: which frame it is */
#define WHEN 20                 /* digits: when it was due, ns */
#define KEPT 16384              /* the most of an unfinished frame that is kept, and of what could not be sent */
#define ROOM (1 << 18)
#define AHEAD 400               /* frames that are sent flat out before as many have come back: together with the other end's, less
                                   than what a relay keeps of sound for a client that is slow (4 MB), so that none is stale */
#define SLOTS 100000            /* latencies are counted in steps of 10 µs, up to a second */

struct peer {
    int fd, open, blocked, started;
    long most, sent, heard, ticks;      /* frames, each way; ticks: those whose time has come */
    uint64_t began, gap;                /* ns: when the first was due, and between two */
    struct peer *next;
    int out_n, rest_n;
    char out[KEPT], rest[KEPT];
};

struct times { long n; uint32_t slot[SLOTS + 1]; };

static struct times ways, lates;        /* from due to heard; from due to its turn, which is the sender's own delay */
static long spoken, wrong;              /* frames that were sent; that are not the next, or not as they should be */
static int ep;
static char frame[8 + PAYLOAD];         /* the one that is sent, without its digits */
static int stamp_at;                    /* where its digits stand in the payload */

/* a handshake's head has come, which ends in \r\n\r\n; 0 when the connection is to be ended */
static int greeting(struct peer *p, char *head);
/* a text message has come that is no frame of sound; 0 as above */
static int message(struct peer *p, char *text, int n);

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void count(struct times *t, uint64_t from, uint64_t to)
{
    uint64_t n = to > from ? (to - from) / 10000 : 0;
    t->slot[n < SLOTS ? n : SLOTS]++;
    t->n++;
}

/* µs; a second stands for all that is longer */
static long percentile(struct times *t, double part)
{
    long below = 0, i = 0;
    while (i < SLOTS && (below += t->slot[i]) <= t->n * part) i++;
    return t->n ? (i + 1) * 10 : 0;
}

/* ---- sound */

static const char *DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* the base64 digits of 16-bit sound that all frames share behind their stamp; a frame takes as much of it as it has room for */
static const char *sound(void)
{
    static char made[PAYLOAD];
    uint32_t x = 2463534242u;
    for (int i = 0; !made[PAYLOAD - 1] && i < PAYLOAD; i++) {
        x ^= x << 13, x ^= x >> 17, x ^= x << 5;
        made[i] = DIGITS[x >> 26];
    }
    return made;
}

/* make the frame that is sent: `begin` is its JSON as far as an id, `end` what stands between the id and the sound */
static void make_frame(const char *begin, const char *end)
{
    char *p = frame + 8;
    int n = sprintf(p, "%s", begin);
    while ((PAYLOAD - 2 - n - (int)strlen(end)) % 8) p[n++] = '0';     /* whole samples */
    n += sprintf(p + n, "%s", end);
    stamp_at = n;
    memcpy(p + n + WHICH + WHEN, sound(), PAYLOAD - 2 - n - WHICH - WHEN);
    memcpy(p + PAYLOAD - 2, "\"}", 2);
}

static void digits(char *to, int n, uint64_t value)
{
    while (n--) to[n] = '0' + value % 10, value /= 10;
}

static uint64_t number(const char *from, int n)
{
    uint64_t value = 0;
    while (n--) value = value * 10 + (*from++ - '0');
    return value;
}

/* count a frame whose sound begins at `p`, and look whether it is the next one, whole */
static void heard(struct peer *p, const char *at, const char *end)
{
    int size = end - at - WHICH - WHEN - 2;
    count(&ways, number(at + WHICH, WHEN), now());
    if (size < PAYLOAD / 2 || size > PAYLOAD || (long)number(at, WHICH) != p->heard || memcmp(end - 2, "\"}", 2)
        || memcmp(at + WHICH + WHEN, sound(), size)) wrong++;
    p->heard++;
}

/* ---- out */

static void watch(struct peer *p, int blocked)
{
    struct epoll_event e = {EPOLLIN | (blocked ? EPOLLOUT : 0), {.ptr = p}};
    epoll_ctl(ep, EPOLL_CTL_MOD, p->fd, &e);
    p->blocked = blocked;
}

/* 0 when the connection is gone */
static int put(struct peer *p, const char *data, int n)
{
    int sent = p->out_n ? 0 : send(p->fd, data, n, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent == n) return 1;
    if (sent < 0 && errno != EAGAIN) return 0;
    if (sent < 0) sent = 0;
    if (p->out_n + n - sent > KEPT) return 0;
    memcpy(p->out + p->out_n, data + sent, n - sent);
    p->out_n += n - sent;
    if (!p->blocked) watch(p, 1);
    return 1;
}

static void mask(char *to, const char *from, int n, uint32_t key)
{
    uint64_t wide = key | (uint64_t)key << 32, x;
    int i = 0;
    for (; i + 8 <= n; i += 8) { memcpy(&x, from + i, 8); x ^= wide; memcpy(to + i, &x, 8); }
    for (; i < n; i++) to[i] = from[i] ^ (char)(key >> 8 * (i & 3));
}

/* one whole frame of WebSocket; `text` may be longer than 125 bytes where it is a message */
static int say(struct peer *p, int kind, const char *text, int n)
{
    static char made[KEPT];
    static uint32_t key = 88172645u;
    int at = 0;
    made[at++] = (char)(0x80 | kind);
    made[at++] = (char)(MASKED | (n < 126 ? n : 126));
    if (n >= 126) made[at++] = (char)(n >> 8), made[at++] = (char)n;
    if (MASKED) {
        key ^= key << 13, key ^= key >> 17, key ^= key << 5;
        memcpy(made + at, &key, 4);
        at += 4;
        mask(made + at, text, n, key);
    } else {
        memcpy(made + at, text, n);
    }
    return put(p, made, at + n);
}

/* send what is due, as far as the socket takes it, and flat out no further than AHEAD */
static int speak(struct peer *p)
{
    while (p->sent < p->ticks && !p->out_n && (p->gap || p->sent < p->heard + AHEAD)) {
        digits(frame + 8 + stamp_at, WHICH, p->sent);
        digits(frame + 8 + stamp_at + WHICH, WHEN, p->began + p->sent * p->gap);
        p->sent++;
        spoken++;
        if (!say(p, 1, frame + 8, PAYLOAD)) return 0;
    }
    return 1;
}

/* the time of one more frame has come */
static int tick(struct peer *p)
{
    count(&lates, p->began + p->ticks * p->gap, now());
    p->ticks++;
    return speak(p);
}

static int flush(struct peer *p)
{
    int n = send(p->fd, p->out, p->out_n, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0) return errno == EAGAIN;
    memmove(p->out, p->out + n, p->out_n -= n);
    if (p->out_n) return 1;
    watch(p, 0);
    return speak(p);
}

/* ---- in */

/* the length of what is whole at `p`, a handshake's head or a frame whose payload is unmasked in place; 0: not yet, -1: never */
static int whole(int open, char *p, int n, char **payload)
{
    if (!open) {
        char *end = memmem(p, n, "\r\n\r\n", 4);
        *payload = p;
        return end ? end + 4 - p : n < KEPT ? 0 : -1;
    }
    if (n < 2) return 0;
    int size = p[1] & 127, at = 2;
    if ((p[1] & 128) == MASKED || size == 127 || !(p[0] & 128)) return -1;
    if (size == 126) {
        if (n < 4) return 0;
        size = (uint8_t)p[2] << 8 | (uint8_t)p[3];
        at = 4;
    }
    if (!MASKED) at += 4;
    if (n < at + size) return at + size <= KEPT ? 0 : -1;
    if (!MASKED) {
        uint32_t key;
        memcpy(&key, p + at - 4, 4);
        mask(p + at, p + at, size, key);
    }
    *payload = p + at;
    return at + size;
}

/* 0 when the connection is gone */
static int hear(struct peer *p)
{
    static char room[ROOM];
    char *payload;
    int at = 0, size, n = p->rest_n;
    memcpy(room, p->rest, n);
    int got = recv(p->fd, room + n, ROOM - n, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return 1;
    if (got <= 0) return 0;
    n += got;
    while ((size = whole(p->open, room + at, n - at, &payload)) > 0) {
        int kind = room[at] & 15, length = room + at + size - payload;
        if (!p->open) {
            payload[size - 1] = 0;
            if (!greeting(p, payload)) return 0;
        } else if (kind == 8) {
            say(p, 8, payload, length);
            return 0;
        } else if (kind == 9) {
            if (!say(p, 10, payload, length)) return 0;
        } else if (kind == 1 && !message(p, payload, length)) {
            return 0;
        }
        at += size;
    }
    if (size < 0 || n - at > KEPT) return 0;
    memcpy(p->rest, room + at, p->rest_n = n - at);
    return p->gap || speak(p);
}

static void no_delay(int fd)
{
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

/* events until `due` at the latest; how many */
static int wait_until(uint64_t due, struct epoll_event *got, int most)
{
    uint64_t t = now(), d = due > t ? due - t : 0;
    struct timespec pause = {d / 1000000000, d % 1000000000};
    return epoll_pwait2(ep, got, most, &pause, NULL);
}
