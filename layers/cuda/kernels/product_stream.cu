/* product_stream.cu: products of 1 to 16 rows, bound by reading W once: W through shared memory to tensor cores.
 *
 * Units of 16 rows of W (gated: 8 gate rows and their 8 up rows) are dealt out once to as many blocks as there are
 * multiprocessors. The warps of a block share its units by columns: of the chunks of 128 columns warp w takes w, w + 8, ...
 * It goes through the units chunk by chunk, so that each piece of x is read once, into registers, and used for all
 * units; the next one is on its way meanwhile. A stage is one chunk of one unit, 4 KiB. Each warp has a ring of stages of
 * its own in shared memory and no other warp to wait for; its first stages are under way before the values that the
 * kernel before this one makes are waited for.
 *
 * Where blocks have few units, x would be read from the cache nearly as often as W from memory. There two blocks, a cluster,
 * share the units of both by columns.
 *
 * A block takes more than half of a multiprocessor's shared memory: two never meet on one. With overlap they would, where
 * a block of the kernel before ended early, and leave other multiprocessors idle. Blocks of norms fit beside one; so that
 * each finds a multiprocessor with room, the next kernel is let in when a ring's worth of stages is left to be multiplied.
 *
 * mma m16n8k16: the rows of W are the 16, rows of x the 8. Lane 4g + t holds 8 neighbouring columns, 8t .. 8t+7 of 32, of
 * rows g and g + 8 of W and of row g of x. As a sum does not mind its order, these are taken as the columns that the
 * operand layout gives to that lane in two instructions, on both sides alike.
 */
#include "base/checked.h"
#include "layers/cuda/kernels/activation.cuh"
#include "layers/cuda/kernels/async_copy.cuh"
#include "layers/cuda/kernels/product.cuh"
#include "layers/cuda/kernels/tensor_core.cuh"

#include <cooperative_groups.h>

namespace {

namespace cg = cooperative_groups;

enum {
    WARPS = 8,
    THREADS = WARPS * TSR_WARP,
    UNIT = 16,             /* rows of W */
    TILE = 8,              /* rows of x of an instruction */
    CHUNK = 128,           /* columns */
    LANE = 8,              /* columns, 16 bytes */
    PIECES = CHUNK / LANE, /* of a row of a stage */
    STEPS = PIECES / 4,    /* of 32 columns */
    STAGE = UNIT * PIECES, /* in 16 bytes */
    STAGES = 5,            /* of a warp's ring: 160 KiB in all */
    UNITS = 8,             /* of a pass: their sums lie in registers */
    ROUND = 4,             /* units whose sums of all warps lie in shared memory together */
    MOST_ROWS = 2 * TILE,
    MOST_SPLITS = 2
};

/* Of the sums of a unit, [WARPS][TILES][lanes], and of the rings and sums of a round, in 16 bytes. */
template <int TILES> constexpr int sums_of_unit = WARPS * TILES * TSR_WARP;
template <int TILES> constexpr int shared_size = WARPS * STAGES * STAGE + ROUND * sums_of_unit<TILES>;

/* What is the same for every thread of the grid. */
struct plan {
    tsr_weight_product p;
    int units, chunks, splits; /* splits: blocks of a cluster */
};

/* A cluster's units begin .. end - 1, in passes of `each`. */
struct passes {
    int begin, end, each;
    __device__ __forceinline__ passes(const plan &d, int most)
    {
        int clusters = gridDim.x / d.splits, cluster = blockIdx.x / d.splits;
        begin = (int)((int64_t)d.units * cluster / clusters);
        end = (int)((int64_t)d.units * (cluster + 1) / clusters);
        int n = (end - begin + most - 1) / most;
        each = n ? (end - begin + n - 1) / n : 1;
    }
};

/* The stages of a warp in their order: passes, in them chunks, in them units. */
template <bool gated> struct walk {
    const plan &d;
    const passes &all;
    const uint64_t policy;
    int first_chunk, first, last, chunk, unit; /* the pass: first .. last - 1 */

    __device__ __forceinline__ walk(const plan &d, const passes &all, int first_chunk)
        : d(d), all(all), policy(tsr_read_once()), first_chunk(first_chunk), first(all.begin), last(min(first + all.each, all.end)),
          chunk(first_chunk), unit(first)
    {
        if (first_chunk >= d.chunks) unit = all.end;
    }
    __device__ __forceinline__ bool more() const
    {
        return unit < all.end;
    }
    __device__ __forceinline__ void advance()
    {
        if (++unit < last) return;
        chunk += WARPS * d.splits;
        if (chunk >= d.chunks) {
            chunk = first_chunk;
            first = last;
            last = min(last + all.each, all.end);
        }
        unit = first;
    }
    /* Row r of the stage's unit, in W. */
    __device__ __forceinline__ int row(int r) const
    {
        int n = (int)d.p.n;
        if (gated) return min(unit * (UNIT / 2) + r % (UNIT / 2), n - 1) + (r < UNIT / 2 ? 0 : n);
        return min(unit * UNIT + r, n - 1);
    }
    /* Asks for a stage: a row is PIECES pieces, of which odd rows swap every four with the next four, against bank
     * conflicts. */
    template <typename T> __device__ __forceinline__ void issue(uint4 *stage)
    {
        if (more()) {
            const int lane = threadIdx.x % TSR_WARP, half = lane / PIECES, piece = lane % PIECES;
            const int column = chunk * CHUNK + piece * LANE, k = (int)d.p.k;
            const T *w = static_cast<const T *>(d.p.w) + (column < k ? column : 0);
            uint4 *to = stage + half * PIECES + (piece ^ half * 4);
#pragma unroll
            for (int i = 0; i < UNIT / 2; i++)
                tsr_copy_async(to + i * 2 * PIECES, w + (int64_t)row(2 * i + half) * k, column < k ? 16 : 0, policy);
            advance();
        }
        tsr_copy_commit();
    }
};

/* A chunk of x as operands: of each tile row g, of each 32 columns 8. */
template <typename T, int TILES> struct operands {
    uint4 x[TILES][STEPS];
    __device__ __forceinline__ void load(const tsr_weight_product &p, int chunk)
    {
        const int lane = threadIdx.x % TSR_WARP, g = lane / 4, t = lane % 4;
#pragma unroll
        for (int tile = 0; tile < TILES; tile++)
#pragma unroll
            for (int step = 0; step < STEPS; step++) {
                int row = tile * TILE + g, column = chunk * CHUNK + step * 32 + t * LANE;
                uint4 v = {};
                if (row < p.rows && column < p.k)
                    v = __ldcg(reinterpret_cast<const uint4 *>(static_cast<const T *>(p.x) + row * p.x_ld + column));
                x[tile][step] = v;
            }
    }
};

/* sum += a stage by its chunk of x. `at`: this lane's row of the stage; odd rows have their pieces swapped (issue). */
template <typename T, int TILES>
__device__ __forceinline__ void multiply_stage(float (&sum)[TILES][4], const uint4 *at, int swap, const operands<T, TILES> &x)
{
#pragma unroll
    for (int s = 0; s < STEPS; s++) {
        const uint4 low = at[s * 4 ^ swap], high = at[UNIT / 2 * PIECES + (s * 4 ^ swap)];
#pragma unroll
        for (int j = 0; j < TILES; j++) {
            const uint4 v = x.x[j][s];
            tsr_mma(T(), sum[j], low.x, high.x, low.y, high.y, v.x, v.y);
            tsr_mma(T(), sum[j], low.z, high.z, low.w, high.w, v.z, v.w);
        }
    }
}

/* The warps of a cluster meet; shared memory of one of its blocks. */
__device__ __forceinline__ void meet(const plan &d)
{
#if __CUDA_ARCH__ >= 900
    if (d.splits > 1) return cg::this_cluster().sync();
#endif
    __syncthreads();
}
__device__ __forceinline__ const float4 *of_block(const plan &d, const float4 *sums, int block)
{
#if __CUDA_ARCH__ >= 900
    if (d.splits > 1) return cg::this_cluster().map_shared_rank(sums, block);
#endif
    return sums;
}

/* Which unit and tile of a round falls to a warp: at most one. */
template <int TILES> struct share {
    int unit, tile; /* unit: of the round; ROUND or more: none */
    __device__ __forceinline__ explicit share(const plan &d)
    {
        static_assert(ROUND * TILES <= WARPS, "a round is more than a turn of the warps");
        int i = threadIdx.x / TSR_WARP * d.splits + blockIdx.x % d.splits;
        unit = i / TILES;
        tile = i % TILES;
    }
};

/* The two rows of W of a unit whose sums a lane finishes, as outputs. */
template <bool gated> struct unit_rows {
    int64_t first, second;
    bool inside, both;
    __device__ __forceinline__ unit_rows(const tsr_weight_product &p, int unit)
    {
        first = (int64_t)unit * (gated ? UNIT / 2 : UNIT) + threadIdx.x % TSR_WARP / 4;
        second = gated ? p.n + first : first + UNIT / 2;
        inside = first < p.n;
        both = inside && (gated || second < p.n);
    }
    __device__ __forceinline__ float2 bias(const tsr_weight_product &p) const
    {
        return make_float2(p.bias && inside ? p.bias[first] : 0, p.bias && both ? p.bias[second] : 0);
    }
};

/* The bias of what a lane finishes in a pass, asked for long before it is added: its way from memory would be seen. With
 * two tiles the registers for it are wanted for sums: then it is brought to the L2 cache alone. */
template <bool gated, int TILES> struct pass_bias {
    static constexpr bool kept = TILES == 1;
    float2 value[kept ? UNITS / ROUND : 1];
    __device__ __forceinline__ void ask(const plan &d, int first, int count)
    {
        if constexpr (kept) {
            const share<TILES> own(d);
#pragma unroll
            for (int round = 0; round < UNITS / ROUND; round++) {
                const int unit = round * ROUND + own.unit;
                value[round] = own.unit < ROUND && unit < count ? unit_rows<gated>(d.p, first + unit).bias(d.p) : float2{};
            }
        } else if (!gated && d.p.bias && (int)threadIdx.x < count) {
            const float *at = d.p.bias + (first + (int)threadIdx.x) * UNIT; /* a unit's lie in one line or two */
            if (at < d.p.bias + d.p.n) asm volatile("prefetch.global.L2 [%0];" ::"l"(at));
        }
    }
};

/* The outputs of one unit and tile, whose sums of all warps of the cluster are added up in their order. */
template <typename T, bool gated, int TILES>
__device__ __forceinline__ void finish_tile(const plan &d, const float4 *sums, int unit, int tile,
                                            const pass_bias<gated, TILES> &asked, int round)
{
    const tsr_weight_product &p = d.p;
    const int lane = threadIdx.x % TSR_WARP, t = lane % 4;
    const bool wide = p.out_dtype == TSR_F32;
    const unit_rows<gated> rows(p, unit);
    if (!rows.inside) return;
    const float2 bias = asked.kept ? asked.value[asked.kept ? round : 0] : rows.bias(p);
    float4 total = {bias.x, bias.x, bias.y, bias.y};
    for (int split = 0; split < d.splits; split++) {
        const float4 *from = of_block(d, sums, split) + lane;
#pragma unroll
        for (int w = 0; w < WARPS; w++) {
            float4 v = from[w * TILES * TSR_WARP];
            total.x += v.x, total.y += v.y, total.z += v.z, total.w += v.w;
        }
    }
    const float low[2] = {total.x, total.y}, high[2] = {total.z, total.w};
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const int row = tile * TILE + 2 * t + i;
        if (row >= p.rows) continue;
        if constexpr (gated) {
            tsr_store_as<T>(p.out, wide, row * p.out_ld + rows.first, tsr_activate(p.activation, low[i]) * high[i]);
        } else {
            tsr_store_as<T>(p.out, wide, row * p.out_ld + rows.first, low[i]);
            if (rows.both) tsr_store_as<T>(p.out, wide, row * p.out_ld + rows.second, high[i]);
        }
    }
}

/* Rounds of ROUND units: all warps of the cluster lay down their sums, then share the units and tiles among them. */
template <typename T, bool gated, int TILES>
__device__ __forceinline__ void finish_pass(const plan &d, float (&sum)[UNITS][TILES][4],
                                            const pass_bias<gated, TILES> &bias, float4 *sums, int first, int count)
{
    const int warp = threadIdx.x / TSR_WARP, lane = threadIdx.x % TSR_WARP, rank = blockIdx.x % d.splits;
#pragma unroll
    for (int u = 0; u < UNITS; u += ROUND) {
        if (u >= count) break;
#pragma unroll
        for (int r = 0; r < ROUND; r++)
#pragma unroll
            for (int tile = 0; tile < TILES; tile++)
                sums[((r * WARPS + warp) * TILES + tile) * TSR_WARP + lane] =
                    make_float4(sum[u + r][tile][0], sum[u + r][tile][1], sum[u + r][tile][2], sum[u + r][tile][3]);
        meet(d);
        for (int i = warp * d.splits + rank; i < ROUND * TILES; i += WARPS * d.splits) {
            int r = i / TILES, tile = i % TILES;
            if (u + r < count)
                finish_tile<T, gated, TILES>(d, sums + r * sums_of_unit<TILES> + tile * TSR_WARP, first + u + r, tile,
                                             bias, u / ROUND);
        }
        meet(d);
    }
}

/* Shared memory: rings [WARPS][STAGES] of stages, sums. */
template <typename T, bool gated, int TILES>
__global__ void __launch_bounds__(THREADS, 1) stream_product(const __grid_constant__ plan d)
{
    extern __shared__ uint4 shared[];
    const int warp = threadIdx.x / TSR_WARP, lane = threadIdx.x % TSR_WARP, g = lane / 4, t = lane % 4;
    const int first_chunk = blockIdx.x % d.splits * WARPS + warp, stride = WARPS * d.splits;
    uint4 *ring = shared + warp * STAGES * STAGE;
    float4 *sums = reinterpret_cast<float4 *>(shared + WARPS * STAGES * STAGE);
    const passes all(d, UNITS);
    walk<gated> next(d, all, first_chunk);
    const int chunks = first_chunk < d.chunks ? (d.chunks - first_chunk + stride - 1) / stride : 0;
    int until_release = chunks * (all.end - all.begin) - STAGES;
    if (until_release <= 0) tsr_grid_release();
#pragma unroll 1
    for (int s = 0; s < STAGES; s++) next.template issue<T>(ring + s * STAGE);
    pass_bias<gated, TILES> bias;
    bias.ask(d, all.begin, bias.kept ? min(all.each, all.end - all.begin) : all.end - all.begin);
    tsr_grid_wait();
    int slot = 0;
    for (int first = all.begin; first < all.end; first += all.each) {
        const int count = min(all.each, all.end - first);
        float sum[UNITS][TILES][4] = {};
        operands<T, TILES> x, next_x;
        next_x.load(d.p, first_chunk);
        for (int chunk = first_chunk; chunk < d.chunks; chunk += stride) {
            x = next_x;
            next_x.load(d.p, chunk + stride);
#pragma unroll
            for (int u = 0; u < UNITS; u++) {
                if (u >= count) break;
                tsr_copy_wait<STAGES - 1>();
                __syncwarp();
                multiply_stage<T, TILES>(sum[u], ring + slot * STAGE + g * PIECES + t, g % 2 * 4, x);
                __syncwarp();
                next.template issue<T>(ring + slot * STAGE);
                slot = slot + 1 == STAGES ? 0 : slot + 1;
                if (--until_release == 0) tsr_grid_release();
            }
        }
        finish_pass<T, gated, TILES>(d, sum, bias, sums, first, count);
        if constexpr (bias.kept) bias.ask(d, first + all.each, min(all.each, all.end - first - all.each));
    }
}

template <typename T, bool gated, int TILES> tsr_status launch(const plan &d, const tsr_cuda_step *step)
{
    auto kernel = stream_product<T, gated, TILES>;
    const int bytes = shared_size<TILES> * 16;
    TSR_TRY(tsr_cuda_check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
                           "shared memory of a product"));
    int clusters = (int)tsr_min(d.units, tsr_max(step->n_processors / d.splits, 1));
    cudaLaunchConfig_t config = {};
    cudaLaunchAttribute attributes[2] = {};
    if (step->overlap) {
        attributes[config.numAttrs].id = cudaLaunchAttributeProgrammaticStreamSerialization;
        attributes[config.numAttrs++].val.programmaticStreamSerializationAllowed = 1;
    }
    if (d.splits > 1) {
        attributes[config.numAttrs].id = cudaLaunchAttributeClusterDimension;
        attributes[config.numAttrs++].val.clusterDim = {(unsigned)d.splits, 1, 1};
    }
    config.gridDim = dim3((unsigned)(clusters * d.splits));
    config.blockDim = dim3(THREADS);
    config.dynamicSmemBytes = (size_t)bytes;
    config.stream = step->stream;
    config.attrs = attributes;
    return tsr_cuda_check(cudaLaunchKernelEx(&config, kernel, d), "a product of few rows");
}

template <typename T, bool gated> tsr_status launch_tiles(const plan &d, const tsr_cuda_step *step)
{
    return d.p.rows <= TILE ? launch<T, gated, 1>(d, step) : launch<T, gated, 2>(d, step);
}

template <typename T> tsr_status launch_gated(const plan &d, const tsr_cuda_step *step)
{
    return d.p.gated ? launch_tiles<T, true>(d, step) : launch_tiles<T, false>(d, step);
}

/* As many blocks to a cluster as keep what a block reads of x below a quarter of what it reads of W. */
int splits_of(const tsr_weight_product *p, const tsr_cuda_step *step)
{
    int64_t rows = p->n * (p->gated ? 2 : 1);
    int splits = 1;
    while (splits < MOST_SPLITS && 4 * p->rows * step->n_processors > rows * splits) splits *= 2;
    return splits;
}

/* Has this device clusters and the shared memory? H100 and what came after it. */
bool suits_device()
{
    int device, clusters = 0, bytes = 0;
    if (cudaGetDevice(&device) != cudaSuccess) return false;
    cudaDeviceGetAttribute(&clusters, cudaDevAttrClusterLaunch, device);
    cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
    return clusters && bytes >= shared_size<2> * 16;
}

} /* namespace */

bool tsr_product_stream_takes(const tsr_weight_product *p)
{
    if (p->dtype != TSR_BF16 && p->dtype != TSR_F16) return false;
    if (p->rows > MOST_ROWS || p->k >= 1 << 20 || p->n >= 1 << 29) return false;
    return tsr_aligned16(p->w, p->k, p->dtype) && tsr_aligned16(p->x, p->x_ld, p->dtype) && suits_device();
}

tsr_status tsr_product_stream(const tsr_weight_product *p, const tsr_cuda_step *step)
{
    int64_t each = p->gated ? UNIT / 2 : UNIT;
    plan d = {*p, (int)((p->n + each - 1) / each), (int)((p->k + CHUNK - 1) / CHUNK), splits_of(p, step)};
    return p->dtype == TSR_F16 ? launch_gated<__half>(d, step) : launch_gated<__nv_bfloat16>(d, step);
}
