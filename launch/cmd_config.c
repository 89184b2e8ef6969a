/* cmd_config.c: `tessera config`: the options in force, and where each value came from. */
#include "launch/command.h"
#include "launch/option_row.h"

#include <stdio.h>
#include <string.h>

static bool is_number(tsr_option_kind kind)
{
    return kind == TSR_OPTION_INT || kind == TSR_OPTION_REAL;
}

static bool is_truth(tsr_option_kind kind)
{
    return kind == TSR_OPTION_FLAG || kind == TSR_OPTION_BOOL;
}

/* A key is not for screens and logs. */
static bool is_hidden(const tsr_options *o, tsr_option_id id)
{
    return id == TSR_OPT_API_KEY && o->text[id] && o->text[id][0];
}

/* The value as JSON: null where there is none. */
static tsr_status put_value(const tsr_options *o, tsr_option_id id, tsr_text *out)
{
    tsr_option_kind kind = tsr_option_row_of(id)->kind;
    tsr_text value;
    if (is_hidden(o, id)) return tsr_text_puts(out, "\"hidden\"");
    if (is_number(kind) || is_truth(kind)) return tsr_option_print(o, id, out);
    if ((kind == TSR_OPTION_TEXT || kind == TSR_OPTION_CHOICE) && !o->text[id])
        return tsr_text_puts(out, "null");
    TSR_TRY(tsr_text_init(&value, TSR_TEXT_NO_CAP));
    tsr_status s = tsr_option_print(o, id, &value);
    if (s == TSR_OK && kind == TSR_OPTION_RANKS && o->integer[id] > 0)
        s = tsr_text_append(out, value.data, value.length);
    else if (s == TSR_OK)
        s = tsr_text_json(out, value.data, value.length);
    tsr_text_free(&value);
    return s;
}

static tsr_status put_json_row(const tsr_options *o, tsr_option_id id, bool first, tsr_text *out)
{
    const char *place = o->place[id];
    TSR_TRY(tsr_text_format(out, "%s\"%s\":{\"value\":", first ? "" : ",", tsr_option_row_of(id)->name));
    TSR_TRY(put_value(o, id, out));
    TSR_TRY(tsr_text_format(out, ",\"origin\":\"%s\",\"place\":", tsr_option_origin_name(o->origin[id])));
    TSR_TRY(place ? tsr_text_json(out, place, (int64_t)strlen(place)) : tsr_text_puts(out, "null"));
    return tsr_text_puts(out, "}");
}

static tsr_status put_plain_row(const tsr_options *o, tsr_option_id id, tsr_text *out)
{
    tsr_text value;
    TSR_TRY(tsr_text_init(&value, TSR_TEXT_NO_CAP));
    tsr_status s = tsr_option_print(o, id, &value);
    if (s == TSR_OK)
        s = tsr_text_format(out, "%-24s %-24s %s\n", tsr_option_row_of(id)->name,
                            is_hidden(o, id) ? "hidden"
                            : value.length   ? value.data
                                             : "-",
                            o->place[id] ? o->place[id] : tsr_option_origin_name(o->origin[id]));
    tsr_text_free(&value);
    return s;
}

static tsr_status put_all(const tsr_options *o, tsr_text *out)
{
    bool json = o->flag[TSR_OPT_JSON], first = true;
    if (json) TSR_TRY(tsr_text_puts(out, "{"));
    for (int i = 0; i < TSR_OPTION_COUNT; i++) {
        if (!tsr_option_configurable((tsr_option_id)i)) continue;
        TSR_TRY(json ? put_json_row(o, (tsr_option_id)i, first, out)
                     : put_plain_row(o, (tsr_option_id)i, out));
        first = false;
    }
    return json ? tsr_text_puts(out, "}\n") : TSR_OK;
}

tsr_status tsr_cmd_config(tsr_world *world, const tsr_options *o)
{
    tsr_text out;
    if (tsr_world_rank(world) != 0) return TSR_OK;
    TSR_TRY(tsr_text_init(&out, TSR_TEXT_NO_CAP));
    tsr_status s = put_all(o, &out);
    if (s == TSR_OK) s = tsr_put(out.data, out.length);
    tsr_text_free(&out);
    return s;
}
