/* stop_scan.h: finding stop texts in text that arrives in pieces.
 *
 * Text that might be the beginning of a stop text is held back until more arrives; so what has been shown is
 * never taken back. Local, pure.
 */
#ifndef TSR_RUNTIME_STOP_SCAN_H
#define TSR_RUNTIME_STOP_SCAN_H

#include <stdbool.h>
#include <stdint.h>

/* text[0..length): all text so far, of which the first `shown` bytes have been shown. Returns how many bytes
 * may be shown now (>= shown). *found: a stop text begins right there, and the answer ends. Empty stop texts
 * are ignored. */
int64_t tsr_stop_scan(const char *text, int64_t length, int64_t shown, const char *const *stop,
                      int64_t n_stop, bool *found);

#endif
