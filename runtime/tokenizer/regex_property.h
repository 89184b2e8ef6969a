/* regex_property.h: named properties of Oniguruma patterns, \p{Lu} or [:alpha:], as items of a PCRE2 class.
 */
#ifndef TSR_TOKENIZER_REGEX_PROPERTY_H
#define TSR_TOKENIZER_REGEX_PROPERTY_H

#include "base/status.h"
#include "base/text.h"

#include <stdbool.h>
#include <stdint.h>

/* Appends the items. `bracketed`: written as [:name:], where "punct" means symbols too. TSR_ERR_FORMAT if
 * there is no such property. */
tsr_status tsr_regex_property(const char *name, int64_t n, bool bracketed, tsr_text *items);

#endif
