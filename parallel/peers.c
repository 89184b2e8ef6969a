/* peers.c: reads /proc/PID/stat. */
#include "parallel/peers.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { START_FIELD = 22 }; /* proc(5), counted from 1; the state is field 3 */

/* Fills *state and *start. The name in field 2 may hold spaces and brackets, so fields count from the last
 * ')'. */
static bool read_stat(int pid, char *state, uint64_t *start)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0) return false;
    text[n] = '\0';
    const char *p = strrchr(text, ')');
    if (!p || p[1] != ' ') return false;
    *state = p[2];
    for (int field = 2; field < START_FIELD && p; field++) p = strchr(p + 1, ' ');
    return p && sscanf(p, "%" SCNu64, start) == 1;
}

tsr_peer tsr_peer_self(int rank)
{
    tsr_peer self = {.rank = rank, .pid = (int32_t)getpid()};
    char state;
    if (!read_stat(self.pid, &state, &self.start)) self.start = 0;
    return self;
}

bool tsr_peer_runs(const tsr_peer *peer)
{
    char state;
    uint64_t start;
    return read_stat(peer->pid, &state, &start) && start == peer->start && state != 'Z' && state != 'X';
}

bool tsr_peer_gone(const tsr_peer *peer)
{
    return peer->visible && !tsr_peer_runs(peer);
}
