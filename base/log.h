/* log.h: progress and log lines on stderr; stdout is for data only.
 *
 * A line is "tessera[RANK]: text". Rank 0 speaks by default; the others only at LEVEL_ERROR (or all with verbose).
 * Local, thread-safe: a line is one write.
 */
#ifndef TSR_BASE_LOG_H
#define TSR_BASE_LOG_H

typedef enum tsr_log_level { TSR_LOG_ERROR, TSR_LOG_WARNING, TSR_LOG_INFO, TSR_LOG_DEBUG } tsr_log_level;

/* Sets what is shown, and the rank to print (-1: a program of one rank, no number printed). */
void tsr_log_setup(tsr_log_level threshold, int rank);
void tsr_log(tsr_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Seconds on a monotonic clock. */
double tsr_now(void);

#endif
