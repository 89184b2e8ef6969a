/* embed.c: out[t] = scale * W[index[t]], index the token ids or the positions + offset. A rank that holds
 * only rows first_row .. first_row + W.rows - 1 gives zeros for the others; the ranks' outputs then add up to
 * the embedding. */
#include "layers/cpu/kernels/kernels.h"
#include "layers/cpu/pack.h"

static void read_row(const tsr_weight_data *w, int64_t row, float *out)
{
    if (w->pack == TSR_PACK_PANELS)
        tsr_unpack_row(w->dtype, w->data, w->cols, row, out);
    else
        tsr_to_f32(w->dtype, (const char *)w->data + row * w->cols * tsr_dtype_bytes(w->dtype), out, w->cols);
}

static const int32_t *indices_of(const tsr_call *call, const tsr_step *step)
{
    switch (call->attrs.embed.index) {
    case TSR_EMBED_POSITIONS:
        return step->positions;
    case TSR_EMBED_FIRST_ROW:
        return step->position_rows[0];
    case TSR_EMBED_SECOND_ROW:
        return step->position_rows[1];
    default:
        return step->ids;
    }
}

TSR_KERNEL(embed)
{
    const tsr_weight_data *w = call->weight[0];
    const int32_t *indices = indices_of(call, step);
    int64_t offset = call->attrs.embed.index == TSR_EMBED_IDS ? 0 : (int64_t)call->attrs.embed.offset;
    int64_t row, end;
    tsr_share(tsr_rows_of(&call->out[0], step), 1, worker, &row, &end);
    for (; row < end; row++) {
        int64_t token = tsr_token_of(&call->out[0], step, row);
        int64_t index = indices[token] + offset;
        float *out = call->out[0].data + row * call->out[0].ld;
        index -= call->attrs.embed.first_row;
        if (index < 0 || index >= w->rows) {
            memset(out, 0, (size_t)w->cols * 4);
            continue;
        }
        read_row(w, index, out);
        if (call->attrs.embed.scale != 1)
            for (int64_t c = 0; c < w->cols; c++) out[c] *= call->attrs.embed.scale;
    }
}
