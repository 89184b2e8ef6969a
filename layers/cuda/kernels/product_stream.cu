/* product_stream.cu: products of a few rows, bound by reading W once.
 *
 * One block per multiprocessor; each owns a run of units of 8 rows of W (gated: 4 gate rows and their 4 up rows). The 16
 * warps of a block share a unit by columns: warp w takes a run of chunks of 32 columns. A chunk is one 16-byte copy per
 * thread, through a ring in shared memory whose slots are private to the thread, so that no barrier is needed and copies of
 * later chunks and units are always under way; the first are issued before the values that the kernel before this one makes
 * are waited for.
 *
 * The product runs on tensor cores, m16n8k16: the rows of x are the 16, the rows of W the 8. Lane 4g + t holds 8 neighbouring
 * columns of row g, the columns 8t .. 8t+7 of the chunk; as a sum does not mind its order, these are taken as the columns
 * that the instruction's operand layout gives to that lane, 4 in each of two instructions, on both sides alike.
 * The warps' sums of a unit then meet in shared memory.
 */
#include "base/checked.h"
#include "layers/cuda/kernels/activation.cuh"
#include "layers/cuda/kernels/async_copy.cuh"
#include "layers/cuda/kernels/product.cuh"

namespace {

enum { WARPS = 16, THREADS = WARPS * TSR_WARP, UNIT = 8, CHUNK = 32, LANE = 8, SUMS_BYTES = 16 << 10 };

template <typename T> __device__ __forceinline__ void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);
template <>
__device__ __forceinline__ void multiply<__nv_bfloat16>(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
template <>
__device__ __forceinline__ void multiply<__half>(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* What is the same for every thread of the grid. */
struct plan {
    tsr_weight_product p;
    int64_t units;
    int chunks;      /* of a row of W */
    int x_stride;    /* elements from row to row of x in shared memory: an odd number of 64-byte lines, so that two
                        rows' lines lie in different banks */
    int unit_batch;  /* units whose sums wait for each other in shared memory */
    bool x_aligned;
};

/* Where a thread's next copy comes from. */
template <typename T, bool gated> struct stream {
    const T *row; /* column 8t of this lane's row in the current unit */
    const tsr_weight_product *p;
    int64_t unit, unit_end;
    int chunk, first, last, lane_column;

    __device__ __forceinline__ void enter_unit()
    {
        int g = (threadIdx.x % TSR_WARP) / 4;
        int64_t r;
        if (gated)
            r = (g < UNIT / 2 ? 0 : p->n) + min(unit * (UNIT / 2) + g % (UNIT / 2), p->n - 1);
        else
            r = min(unit * UNIT + g, p->n - 1);
        row = static_cast<const T *>(p->w) + r * p->k;
    }

    __device__ __forceinline__ void issue(void *slot)
    {
        if (unit < unit_end) {
            int column = chunk * CHUNK + lane_column;
            bool inside = column < p->k;
            tsr_copy_async(slot, row + (inside ? column : 0), inside ? 16 : 0);
            if (++chunk == last) {
                chunk = first;
                if (++unit < unit_end) enter_unit();
            }
        }
        tsr_copy_commit();
    }
};

/* x [rows][k] into shared memory, zeros up to whole chunks. */
template <typename T> __device__ __forceinline__ void stage_x(const plan &d, T *shared)
{
    const T *x = static_cast<const T *>(d.p.x);
    int vectors = d.chunks * (CHUNK / LANE);
    for (int i = threadIdx.x; i < d.p.rows * vectors; i += THREADS) {
        int row = i / vectors, column = i % vectors * LANE;
        const T *from = x + row * d.p.x_ld + column;
        tsr_vector<T> v = {};
        if (d.x_aligned && column < d.p.k) {
            v = tsr_load_vector(from);
        } else {
            for (int j = 0; j < LANE; j++)
                if (column + j < d.p.k) v.x[j] = from[j];
        }
        tsr_store_vector(shared + row * d.x_stride + column, v);
    }
}

/* Outputs of the units first .. end - 1 from the warps' sums [unit][warp][rows][UNIT]. */
template <typename T, bool gated>
__device__ __forceinline__ void finish_units(const plan &d, const float *sums, int64_t first, int64_t end)
{
    const int each = gated ? UNIT / 2 : UNIT;
    const int per_unit = d.p.rows * UNIT;
    for (int i = threadIdx.x; i < (int)(end - first) * d.p.rows * each; i += THREADS) {
        int unit = i / (d.p.rows * each), row = i / each % d.p.rows, j = i % each;
        int64_t n = (first + unit) * each + j;
        if (n >= d.p.n) continue;
        const float *from = sums + unit * WARPS * per_unit + row * UNIT + j;
        float value = 0, up = 0;
#pragma unroll
        for (int w = 0; w < WARPS; w++) {
            value += from[w * per_unit];
            if (gated) up += from[w * per_unit + UNIT / 2];
        }
        if (d.p.bias) value += d.p.bias[n];
        if (gated) {
            if (d.p.bias) up += d.p.bias[d.p.n + n];
            value = tsr_activate(d.p.activation, value) * up;
        }
        tsr_store_as<T>(d.p.out, d.p.out_dtype == TSR_F32, row * d.p.out_ld + n, value);
    }
}

/* This warp's part of one unit: c[4] = rows g and g + 8 of x by rows 2t, 2t + 1 of the unit. */
template <typename T, bool gated, bool many, int stages>
__device__ __forceinline__ void sum_unit(stream<T, gated> &from, uint4 *ring, int &slot, const T *x_low, const T *x_high,
                                         float (&c)[4])
{
    for (int chunk = from.first; chunk < from.last; chunk++) {
        tsr_copy_wait<stages - 1>();
        uint4 w = ring[slot * THREADS];
        from.issue(ring + slot * THREADS);
        slot = slot + 1 == stages ? 0 : slot + 1;
        uint4 low = {}, high = {};
        if (x_low) low = *reinterpret_cast<const uint4 *>(x_low + chunk * CHUNK);
        if (many && x_high) high = *reinterpret_cast<const uint4 *>(x_high + chunk * CHUNK);
        const uint32_t a0[4] = {low.x, high.x, low.y, high.y}, a1[4] = {low.z, high.z, low.w, high.w};
        multiply<T>(c, a0, w.x, w.y);
        multiply<T>(c, a1, w.z, w.w);
    }
}

template <bool many>
__device__ __forceinline__ void store_sums(float *to, const float (&c)[4], int rows)
{
    int g = (threadIdx.x % TSR_WARP) / 4, t = threadIdx.x % 4;
    if (g < rows) *reinterpret_cast<float2 *>(to + g * UNIT + 2 * t) = make_float2(c[0], c[1]);
    if (many && g + 8 < rows) *reinterpret_cast<float2 *>(to + (g + 8) * UNIT + 2 * t) = make_float2(c[2], c[3]);
}

/* Shared memory: ring [stages][THREADS] of 16 bytes, sums [unit_batch][WARPS][rows][UNIT], x [rows][x_stride]. */
template <typename T, bool gated, bool many, int stages>
__global__ __launch_bounds__(THREADS, 2) void stream_product(const __grid_constant__ plan d)
{
    extern __shared__ uint4 shared[];
    uint4 *ring = shared + threadIdx.x;
    float *sums = reinterpret_cast<float *>(shared + stages * THREADS);
    T *x = reinterpret_cast<T *>(sums + d.unit_batch * WARPS * d.p.rows * UNIT);
    const int warp = threadIdx.x / TSR_WARP, g = (threadIdx.x % TSR_WARP) / 4, t = threadIdx.x % 4;
    const int64_t begin = d.units * blockIdx.x / gridDim.x, end = d.units * (blockIdx.x + 1) / gridDim.x;
    stream<T, gated> from = {nullptr, &d.p, begin, end, 0, d.chunks * warp / WARPS, d.chunks * (warp + 1) / WARPS,
                             t * LANE};
    from.chunk = from.first;
    if (from.first == from.last) from.unit = end; /* fewer chunks than warps: nothing to read */
    if (from.unit < end) from.enter_unit();
    tsr_grid_release();
#pragma unroll
    for (int s = 0; s < stages; s++) from.issue(ring + s * THREADS);
    tsr_grid_wait();
    stage_x(d, x);
    __syncthreads();
    const T *x_low = g < d.p.rows ? x + g * d.x_stride + t * LANE : nullptr;
    const T *x_high = many && g + 8 < d.p.rows ? x + (g + 8) * d.x_stride + t * LANE : nullptr;
    int slot = 0;
    for (int64_t first = begin; first < end; first += d.unit_batch) {
        int64_t last = min(first + d.unit_batch, end);
        for (int64_t unit = first; unit < last; unit++) {
            float c[4] = {};
            sum_unit<T, gated, many, stages>(from, ring, slot, x_low, x_high, c);
            store_sums<many>(sums + ((unit - first) * WARPS + warp) * d.p.rows * UNIT, c, d.p.rows);
        }
        __syncthreads();
        finish_units<T, gated>(d, sums, first, last);
        if (last < end) __syncthreads();
    }
}

int64_t x_stride_of(int64_t k)
{
    int64_t lines = (k + CHUNK - 1) / CHUNK;
    return (lines % 2 ? lines : lines + 1) * CHUNK;
}

int unit_batch_of(int rows)
{
    return SUMS_BYTES / (WARPS * UNIT * 4 * rows);
}

int64_t shared_bytes(const tsr_weight_product *p, int stages)
{
    return (int64_t)stages * THREADS * 16 + (int64_t)unit_batch_of(p->rows) * WARPS * p->rows * UNIT * 4 +
           p->rows * x_stride_of(p->k) * 2;
}

/* Half of a multiprocessor's shared memory, so that the next kernel's blocks can begin beside these; all of it. */
enum { HALF_SHARED = 113 << 10, ALL_SHARED = 227 << 10, DEEP = 8, SHALLOW = 4 };

template <typename T, bool gated, bool many, int stages>
tsr_status launch(const plan &d, const tsr_cuda_step *step)
{
    int grid = (int)tsr_min(d.units, step->n_processors);
    int bytes = (int)shared_bytes(&d.p, stages);
    auto kernel = stream_product<T, gated, many, stages>;
    tsr_status s = tsr_cuda_check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
                                  "shared memory of a product");
    if (s != TSR_OK) return s;
    return tsr_launch(step, "a product of few rows", dim3(grid), dim3(THREADS), bytes, kernel, d);
}

template <typename T, bool gated, bool many> tsr_status launch_depth(const plan &d, const tsr_cuda_step *step)
{
    bool deep = shared_bytes(&d.p, DEEP) <= HALF_SHARED ||
                (shared_bytes(&d.p, SHALLOW) > HALF_SHARED && shared_bytes(&d.p, DEEP) <= ALL_SHARED);
    return deep ? launch<T, gated, many, DEEP>(d, step) : launch<T, gated, many, SHALLOW>(d, step);
}

template <typename T> tsr_status launch_type(const plan &d, const tsr_cuda_step *step)
{
    bool many = d.p.rows > 8;
    if (d.p.gated) return many ? launch_depth<T, true, true>(d, step) : launch_depth<T, true, false>(d, step);
    return many ? launch_depth<T, false, true>(d, step) : launch_depth<T, false, false>(d, step);
}

} /* namespace */

bool tsr_product_stream_takes(const tsr_weight_product *p)
{
    if (p->dtype != TSR_BF16 && p->dtype != TSR_F16) return false;
    return p->rows <= TSR_STREAM_ROWS && tsr_aligned16(p->w, p->k, p->dtype) && p->k < 1 << 24 &&
           shared_bytes(p, SHALLOW) <= ALL_SHARED;
}

tsr_status tsr_product_stream(const tsr_weight_product *p, const tsr_cuda_step *step)
{
    int64_t each = p->gated ? UNIT / 2 : UNIT;
    plan d = {*p,
              (p->n + each - 1) / each,
              (int)((p->k + CHUNK - 1) / CHUNK),
              (int)x_stride_of(p->k),
              unit_batch_of(p->rows),
              tsr_aligned16(p->x, p->x_ld, p->dtype)};
    return p->dtype == TSR_F16 ? launch_type<__half>(d, step) : launch_type<__nv_bfloat16>(d, step);
}
