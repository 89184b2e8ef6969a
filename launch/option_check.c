/* option_check.c: what no row of the table can refuse by itself. */
#include "base/log.h"
#include "launch/model_folder.h"
#include "launch/option_row.h"
#include "launch/option_source.h"

#include <string.h>

static bool takes(const tsr_options *o, tsr_option_id id)
{
    return tsr_option_belongs(tsr_option_row_of(id), o->command);
}

/* The value names its place, so that nobody has to look for it. */
static tsr_status refuse(const tsr_options *o, tsr_option_id id, const char *why)
{
    tsr_text value;
    TSR_TRY(tsr_text_init(&value, TSR_TEXT_NO_CAP));
    tsr_status s = tsr_option_print(o, id, &value);
    if (s == TSR_OK)
        s = tsr_fail(TSR_ERR_USAGE, "option --%s %s (%s): %s", tsr_option_row_of(id)->name, value.data,
                     o->place[id] ? o->place[id] : "default", why);
    tsr_text_free(&value);
    return s;
}

static tsr_status check_ranks(const tsr_options *o, const tsr_world *world)
{
    int64_t wanted = o->integer[TSR_OPT_TP], ranks = tsr_world_size(world);
    if (!(o->command & TSR_CMD_RUNS) || wanted == 0 || wanted == ranks) return TSR_OK;
    return tsr_fail(
        TSR_ERR_USAGE, "option --tp %lld (%s): this job has %lld rank%s; start it with mpirun -n %lld",
        (long long)wanted, o->place[TSR_OPT_TP], (long long)ranks, ranks == 1 ? "" : "s", (long long)wanted);
}

static tsr_status check_together(const tsr_options *o)
{
    const char *quantize = o->text[TSR_OPT_QUANTIZE];
    if (takes(o, TSR_OPT_TRIANGULAR_MASKING) && !o->flag[TSR_OPT_TRIANGULAR_MASKING])
        return refuse(o, TSR_OPT_TRIANGULAR_MASKING,
                      "every decoder here was made to attend to no later token");
    if (takes(o, TSR_OPT_SMOOTHQUANT_ALPHA) && o->given[TSR_OPT_SMOOTHQUANT_ALPHA] &&
        strcmp(quantize, "smoothquant") != 0)
        return refuse(o, TSR_OPT_SMOOTHQUANT_ALPHA, "needs --quantize smoothquant");
    return TSR_OK;
}

static tsr_status find_model(tsr_options *o)
{
    const char *model = o->text[TSR_OPT_MODEL];
    if (!takes(o, TSR_OPT_MODEL) || !model || !model[0]) return TSR_OK;
    tsr_status s = tsr_model_folder(model, o->text[TSR_OPT_REVISION], o->folder, sizeof o->folder);
    if (s != TSR_OK && o->origin[TSR_OPT_MODEL] != TSR_ORIGIN_COMMAND_LINE)
        return tsr_fail_in(s, "%s", o->place[TSR_OPT_MODEL]);
    if (s != TSR_OK) return s;
    o->text[TSR_OPT_MODEL] = o->folder;
    return TSR_OK;
}

tsr_status tsr_options_check(tsr_options *o, const tsr_world *world)
{
    TSR_TRY(check_ranks(o, world));
    TSR_TRY(check_together(o));
    return find_model(o);
}
