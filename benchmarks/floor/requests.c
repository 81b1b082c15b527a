/* Sends prepared PUT or GET requests over some connections to 127.0.0.1, and reads of the responses only their length.
 *
 *     requests PORT METHOD BUCKET COUNT SIZE_BYTES CONNECTIONS
 *
 * Keys are the numbers from 0, with eight digits. Exits with 1 if a connection fails or a response is not as long as expected. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER_BYTES = 256 * 1024, MOST_CONNECTIONS = 4096, KEY_DIGITS = 8 };

static struct connection {
    int descriptor;
    long missing; /* bytes of the response that have not arrived; -1 before the head has */
} connections[MOST_CONNECTIONS];

static char buffer[BUFFER_BYTES];
static char *request;
static size_t request_bytes;
static char *key;
static long count, size_bytes, sent, done;
static int is_get;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void prepare(const char *port, const char *method, const char *bucket)
{
    request = malloc(1024 + (is_get ? 0 : size_bytes));
    int length = sprintf(request, "%s /%s/", method, bucket);
    key = request + length;
    length += sprintf(key, "%0*d HTTP/1.1\r\nHost: 127.0.0.1:%s\r\n", KEY_DIGITS, 0, port);
    if (!is_get)
        length += sprintf(request + length, "Content-Length: %ld\r\n", size_bytes);
    length += sprintf(request + length, "\r\n");
    if (!is_get) {
        memset(request + length, 'x', size_bytes);
        length += size_bytes;
    }
    request_bytes = length;
}

/* A request of 4 KiB fits into the socket's buffer, so that one call sends it. */
static void send_next(struct connection *connection)
{
    char digits[32];
    if (sent == count)
        return;
    sprintf(digits, "%0*ld", KEY_DIGITS, sent++);
    memcpy(key, digits, KEY_DIGITS);
    connection->missing = -1;
    if (send(connection->descriptor, request, request_bytes, MSG_NOSIGNAL) != (ssize_t)request_bytes)
        fail("send");
}

static long missing_after_head(ssize_t received)
{
    buffer[received] = 0;
    char *end = strstr(buffer, "\r\n\r\n");
    char *length = strcasestr(buffer, "content-length: ");
    if (!end || !length || length > end)
        fail("the response has no complete head");
    long body = atol(length + strlen("content-length: "));
    if (strncmp(buffer, "HTTP/1.1 200", 12) || (is_get && body != size_bytes))
        fail("the response is not as expected");
    return body - (received - (end + 4 - buffer));
}

static void receive(struct connection *connection)
{
    ssize_t received = recv(connection->descriptor, buffer, BUFFER_BYTES - 1, 0);
    if (received <= 0)
        fail("recv");
    if (connection->missing < 0)
        connection->missing = missing_after_head(received);
    else
        connection->missing -= received;
    if (connection->missing <= 0) {
        done++;
        send_next(connection);
    }
}

static int open_connection(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int descriptor = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    if (connect(descriptor, (struct sockaddr *)&address, sizeof address))
        fail("connect");
    setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return descriptor;
}

int main(int argc, char **argv)
{
    if (argc != 7)
        return 2;
    is_get = !strcmp(argv[2], "GET");
    count = atol(argv[4]);
    size_bytes = atol(argv[5]);
    int width = atoi(argv[6]), poll = epoll_create1(0);
    prepare(argv[1], argv[2], argv[3]);
    for (int n = 0; n < width && n < MOST_CONNECTIONS; n++) {
        struct epoll_event wanted = {.events = EPOLLIN, .data.ptr = &connections[n]};
        connections[n].descriptor = open_connection(atoi(argv[1]));
        epoll_ctl(poll, EPOLL_CTL_ADD, connections[n].descriptor, &wanted);
        send_next(&connections[n]);
    }
    while (done < count) {
        struct epoll_event events[64];
        int ready = epoll_wait(poll, events, 64, 10000);
        if (ready <= 0)
            fail("epoll_wait");
        for (int n = 0; n < ready; n++)
            receive(events[n].data.ptr);
    }
    return 0;
}
