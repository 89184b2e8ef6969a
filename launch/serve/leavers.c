/* leavers.c: by epoll: a client that leaves is an event. */
#include "launch/serve/leavers.h"

#include "base/log.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { EVENTS = 64 };

tsr_status tsr_leavers_open(int *out)
{
    *out = epoll_create1(EPOLL_CLOEXEC);
    if (*out >= 0) return TSR_OK;
    return tsr_fail(TSR_ERR_MEMORY, "clients cannot be watched: %s", strerror(errno));
}

void tsr_leavers_close(int leavers)
{
    if (leavers >= 0) close(leavers);
}

void tsr_leavers_watch(int leavers, int socket, uint64_t number)
{
    struct epoll_event event = {.events = EPOLLRDHUP | EPOLLONESHOT, .data.u64 = number};
    if (epoll_ctl(leavers, EPOLL_CTL_ADD, socket, &event) == 0 || errno != EEXIST) return;
    epoll_ctl(leavers, EPOLL_CTL_MOD, socket,
              &event); /* a connection that is kept: its request before this one */
}

int tsr_leavers_look(int leavers, uint64_t *numbers, int most)
{
    struct epoll_event events[EVENTS];
    int n = epoll_wait(leavers, events, most < EVENTS ? most : EVENTS, 0);
    for (int i = 0; i < n; i++) numbers[i] = events[i].data.u64;
    return n > 0 ? n : 0;
}
