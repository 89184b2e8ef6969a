/* leavers.h: which clients have gone away while their answers were being made. Nobody reads their sockets meanwhile.
 *
 * A socket is watched from the time its exchange is the leader's, under a number that is never used again. It need not be
 * taken out: a number that means nothing any longer is passed over by the caller, and the system forgets closed sockets.
 * A look costs one system call, however many are watched. A client that has closed its sending side is taken for one
 * that has left. Local; one thread, with the HTTP thread kept from closing the socket during tsr_leavers_watch.
 */
#ifndef TSR_LAUNCH_SERVE_LEAVERS_H
#define TSR_LAUNCH_SERVE_LEAVERS_H

#include "base/status.h"

#include <stdint.h>

/* TSR_ERR_MEMORY: the system gives no descriptor. */
tsr_status tsr_leavers_open(int *out);
void tsr_leavers_close(int leavers);

/* From now on the socket's end is told as `number`, once, instead of what it was before. Where the system refuses, the
 * HTTP library finds out when it writes. */
void tsr_leavers_watch(int leavers, int socket, uint64_t number);
/* Up to `most` numbers of clients that have left since; how many. Does not block. */
int tsr_leavers_look(int leavers, uint64_t *numbers, int most);

#endif
