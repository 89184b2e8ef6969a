/* convert_carry.h: the files of a model beside its weights. Private to runtime/convert*.c. Local. */
#ifndef TSR_RUNTIME_CONVERT_CARRY_H
#define TSR_RUNTIME_CONVERT_CARRY_H

#include "base/dtype.h"
#include "checkpoint/out_folder.h"
#include "checkpoint/source.h"

/* Copies the files of data (*.json, *.txt, *.model, *.jinja, *.md, LICENSE*) but those that name weight files.
 * config.json gets the number format, unless that is TSR_DTYPE_COUNT; where there is none it is written from what the
 * source says of its model, if it does. */
tsr_status tsr_convert_carry(const tsr_source_request *request, tsr_source *source, tsr_dtype dtype,
                             tsr_out_folder *folder);

#endif
