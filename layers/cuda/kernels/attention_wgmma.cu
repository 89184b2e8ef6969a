/* attention_wgmma.cu: tiles of query rows as in attention_prefill.cu, on the tensor cores of architecture 9.0a: a group of
 * four warps multiplies 64 rows at a time with keys and values read where they lie in shared memory, which leaves its
 * bandwidth and the issue of instructions to the softmax. Two blocks share a processor: one multiplies while the other is
 * at its softmax.
 *
 * All of shared memory is in rows of 64 elements, 128 bytes, whose eight vectors of 16 bytes are permuted: vector i of row r
 * is at i ^ (r % 8). Wider heads are several such arrays, one for every 64 dimensions.
 */
#include "layers/cuda/kernels/attention_tile.cuh"

enum { GROUP_THREADS = 128, GROUP_ROWS = 64, ROW = 64, KEY_BLOCK = KEYS * ROW };

/* --- Instructions --- */

#define TSR_ACCUMULATORS_32                                                                                 \
    "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, "      \
    "%21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}"
#define TSR_ACCUMULATORS_64                                                                                 \
    "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, "      \
    "%21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, "  \
    "%41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, "  \
    "%61, %62, %63}"
#define TSR_IN_OUT_4(x, j)  "+f"(x[j][0]), "+f"(x[j][1]), "+f"(x[j][2]), "+f"(x[j][3])
#define TSR_IN_OUT_16(x, j) TSR_IN_OUT_4(x, j), TSR_IN_OUT_4(x, j + 1), TSR_IN_OUT_4(x, j + 2), TSR_IN_OUT_4(x, j + 3)
#define TSR_IN_OUT_32(x)    TSR_IN_OUT_16(x, 0), TSR_IN_OUT_16(x, 4)
#define TSR_IN_OUT_64(x)    TSR_IN_OUT_32(x), TSR_IN_OUT_16(x, 8), TSR_IN_OUT_16(x, 12)

/* Compiled for other architectures too, where it is never called (tsr_attention_has_wgmma). */
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define TSR_WGMMA(...) asm volatile(__VA_ARGS__)
#else
#define TSR_WGMMA(...) __trap()
#endif

/* s = (add ? s : 0) + a b^T: 64 rows of a, 64 of b, 16 dimensions, both in shared memory */
static __device__ __forceinline__ void multiply_shared(__nv_bfloat16, float (&s)[8][4], uint64_t a, uint64_t b, int add)
{
    TSR_WGMMA("{.reg .pred p; setp.ne.b32 p, %34, 0; wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
              TSR_ACCUMULATORS_32 ", %32, %33, p, 1, 1, 0, 0;}"
              : TSR_IN_OUT_32(s)
              : "l"(a), "l"(b), "r"(add));
}

/* o += a b: 64 rows of a in registers, 16 keys, b a row a key */
static __device__ __forceinline__ void multiply_add(__nv_bfloat16, float (&o)[16][4], const uint32_t (&a)[4], uint64_t b)
{
    TSR_WGMMA("{.reg .pred p; setp.eq.b32 p, 0, 0; wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 " TSR_ACCUMULATORS_64
              ", {%64, %65, %66, %67}, %68, p, 1, 1, 1;}"
              : TSR_IN_OUT_64(o)
              : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
static __device__ __forceinline__ void multiply_add(__nv_bfloat16, float (&o)[8][4], const uint32_t (&a)[4], uint64_t b)
{
    TSR_WGMMA("{.reg .pred p; setp.eq.b32 p, 0, 0; wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 " TSR_ACCUMULATORS_32
              ", {%32, %33, %34, %35}, %36, p, 1, 1, 1;}"
              : TSR_IN_OUT_32(o)
              : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

/* s = (add ? s : 0) + a b^T: 64 rows of a, 64 of b, 16 dimensions, both in shared memory */
static __device__ __forceinline__ void multiply_shared(__half, float (&s)[8][4], uint64_t a, uint64_t b, int add)
{
    TSR_WGMMA("{.reg .pred p; setp.ne.b32 p, %34, 0; wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 "
              TSR_ACCUMULATORS_32 ", %32, %33, p, 1, 1, 0, 0;}"
              : TSR_IN_OUT_32(s)
              : "l"(a), "l"(b), "r"(add));
}

/* o += a b: 64 rows of a in registers, 16 keys, b a row a key */
static __device__ __forceinline__ void multiply_add(__half, float (&o)[16][4], const uint32_t (&a)[4], uint64_t b)
{
    TSR_WGMMA("{.reg .pred p; setp.eq.b32 p, 0, 0; wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 " TSR_ACCUMULATORS_64
              ", {%64, %65, %66, %67}, %68, p, 1, 1, 1;}"
              : TSR_IN_OUT_64(o)
              : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
static __device__ __forceinline__ void multiply_add(__half, float (&o)[8][4], const uint32_t (&a)[4], uint64_t b)
{
    TSR_WGMMA("{.reg .pred p; setp.eq.b32 p, 0, 0; wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 " TSR_ACCUMULATORS_32
              ", {%32, %33, %34, %35}, %36, p, 1, 1, 1;}"
              : TSR_IN_OUT_32(o)
              : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

/* Before the first multiplication after its registers were written; what follows is under way until multiplied(). */
static __device__ __forceinline__ void multiply_begin(void)
{
    TSR_WGMMA("wgmma.fence.sync.aligned;" ::: "memory");
}

static __device__ __forceinline__ void multiplied(void)
{
    TSR_WGMMA("wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 0;" ::: "memory");
}

/* Makes what this thread wrote to shared memory visible to multiplications; a barrier must follow. */
static __device__ __forceinline__ void publish(void)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

/* How an operand lies in shared memory: groups of 8 rows are 1024 bytes apart; `block_bytes` from one array of 64 columns
 * to the next, where rows are what is summed over. */
static __device__ __forceinline__ uint64_t descriptor(const void *p, int block_bytes)
{
    enum { GROUP_BYTES = 1024 };
    const uint64_t permuted_128 = 1ull << 62;
    return permuted_128 | (uint64_t)(GROUP_BYTES >> 4) << 32 | (uint64_t)(block_bytes >> 4) << 16 |
           (shared_address(p) & 0x3FFFF) >> 4;
}

/* --- Loads --- */

/* Where element d, a multiple of 8, of row r is in arrays of `rows` rows. */
static __device__ __forceinline__ int permuted(int rows, int r, int d)
{
    return d / ROW * rows * ROW + r * ROW + ((d % ROW / 8) ^ (r % 8)) * 8;
}

template <int D, int GROUPS> struct group_shape {
    enum { ROWS = GROUPS * GROUP_ROWS, THREADS = GROUPS * GROUP_THREADS, ALIGN = 1024 };
    static constexpr size_t shared(size_t size)
    {
        return (ROWS + 4 * KEYS) * D * size + ALIGN;
    }
};

/* As copy_tile of attention_prefill.cu. */
template <typename T, int D, int GROUPS>
static __device__ __forceinline__ void copy_permuted(const tsr_attention_work &w, const prefill_part &p, int key,
                                                     const int32_t (&page)[2], T *k, T *v)
{
    enum { N = 8, VECTORS = D / N };
    const T *cache_k = (const T *)w.cache_k, *cache_v = (const T *)w.cache_v;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int64_t slot = ((int64_t)page[half] * w.kv_heads + p.kv_head) * TSR_PAGE_TOKENS;
#pragma unroll
        for (int i = threadIdx.x; i < TSR_PAGE_TOKENS * VECTORS; i += group_shape<D, GROUPS>::THREADS) {
            int j = i / VECTORS, d = i % VECTORS * N, row = half * TSR_PAGE_TOKENS + j;
            bool real = key + row < p.end;
            copy_vector(k + permuted(KEYS, row, d), cache_k + (slot + j) * D + d, real);
            copy_vector(v + permuted(KEYS, row, d), cache_v + (slot + j) * D + d, real);
        }
    }
    copies_begin();
}

template <typename T, int D, int GROUPS>
static __device__ __forceinline__ void load_permuted(const tsr_attention_work &w, const prefill_part &p, T *q)
{
    enum { N = 8, VECTORS = D / N, ROWS = group_shape<D, GROUPS>::ROWS };
#pragma unroll 4
    for (int i = threadIdx.x; i < ROWS * VECTORS; i += group_shape<D, GROUPS>::THREADS) {
        int row = i / VECTORS, d = i % VECTORS * N, at = p.row + row;
        tsr_vector<T> x = {};
        if (at < p.rows)
            x = tsr_turned_vector(w, (const T *)w.q + element_of(p, at, w.q_ld, D), d,
                                  p.sequence.first_token + at / p.heads);
        tsr_store_vector(q + permuted(ROWS, row, d), x);
    }
}

/* --- Products --- */

template <typename T, int D, int GROUPS>
static __device__ __forceinline__ void score_group(const T *q, const T *k, prefill_scores<D, 1> &s)
{
    const T *rows = q + threadIdx.x / GROUP_THREADS * GROUP_ROWS * ROW;
    multiply_begin();
#pragma unroll
    for (int d = 0; d < D; d += 16) {
        const T *a = rows + d / ROW * group_shape<D, GROUPS>::ROWS * ROW + d % ROW;
        const T *b = k + d / ROW * KEY_BLOCK + d % ROW;
        multiply_shared(T(), s[0], descriptor(a, 16), descriptor(b, 16), d > 0);
    }
    multiplied();
}

template <typename T, int D>
static __device__ __forceinline__ void add_group(const prefill_scores<D, 1> &s, const T *v, prefill_sums<D, 1> *sums)
{
    uint32_t a[KEYS / 16][4];
#pragma unroll
    for (int j = 0; j < KEYS / 16; j++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            a[j][e] = tsr_pair(T(), s[0][2 * j + e / 2][e % 2 * 2], s[0][2 * j + e / 2][e % 2 * 2 + 1]);
    multiply_begin();
#pragma unroll
    for (int j = 0; j < KEYS / 16; j++)
        multiply_add(T(), sums->o[0], a[j], descriptor(v + j * 16 * ROW, KEY_BLOCK * (int)sizeof(T)));
    multiplied();
}

/* As store_rows of attention_prefill.cu. */
template <typename T, int D, int GROUPS>
static __device__ __forceinline__ void store_group(const tsr_attention_work &w, const prefill_part &p,
                                                   const prefill_sums<D, 1> &sums, T *room)
{
    enum { ROWS = group_shape<D, GROUPS>::ROWS, VECTORS = D / 8 };
    int lane = threadIdx.x % TSR_WARP, warp_row = (int)(threadIdx.x / TSR_WARP) * 16;
    __syncthreads(); /* nobody multiplies with the queries any more */
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float l = sums.l[0][h];
        l += __shfl_xor_sync(0xFFFFFFFFu, l, 1);
        l += __shfl_xor_sync(0xFFFFFFFFu, l, 2);
        float each = 1 / l;
#pragma unroll
        for (int d = 0; d < VECTORS; d++)
            *reinterpret_cast<uint32_t *>(room + permuted(ROWS, warp_row + h * 8 + lane / 4, d * 8) + lane % 4 * 2) =
                tsr_pair(T(), sums.o[0][d][2 * h] * each, sums.o[0][d][2 * h + 1] * each);
    }
    __syncwarp();
    for (int i = lane; i < 16 * VECTORS; i += TSR_WARP) {
        int row = warp_row + i / VECTORS, d = i % VECTORS * 8;
        if (p.row + row >= p.rows) break;
        T *out = (T *)w.out + element_of(p, p.row + row, w.out_ld, D);
        tsr_store_vector(out + d, tsr_load_vector(room + permuted(ROWS, row, d)));
    }
}

/* Shared, from a multiple of 1024 bytes: q [ROWS][D], k and v [2][KEYS][D], permuted */
template <typename T, int D, int GROUPS, bool BIASED>
static __global__ void __launch_bounds__(GROUPS *GROUP_THREADS, 2)
    group_tile(__grid_constant__ const tsr_attention_work w)
{
    enum { ROWS = group_shape<D, GROUPS>::ROWS, ALIGN = group_shape<D, GROUPS>::ALIGN };
    extern __shared__ __align__(16) char shared[];
    T *q = (T *)(shared + (ALIGN - shared_address(shared) % ALIGN) % ALIGN), *k = q + ROWS * D, *v = k + 2 * KEYS * D;
    int warp_row = (int)(threadIdx.x / TSR_WARP) * 16;
    prefill_part p;
    int32_t page[2];
    tsr_grid_release();
    bool any = find_part(w, ROWS, &p);
    if (any) find_pages(w, p, p.begin, page);
    tsr_grid_wait(); /* so far only the step's record was read, which was there before the step began */
    if (!any) return;

    copy_permuted<T, D, GROUPS>(w, p, p.begin, page, k, v);
    find_pages(w, p, p.begin + KEYS, page);
    load_permuted<T, D, GROUPS>(w, p, q);
    prefill_sums<D, 1> sums = {};
    sums.m[0][0] = sums.m[0][1] = TSR_LOWEST_SCORE;
    int low = tsr_first_visible(w, p.last);
    for (int key = p.begin, at = 0; key < p.end; key += KEYS, at ^= 1) {
        prefill_scores<D, 1> s;
        copies_end();
        publish();
        __syncthreads(); /* this tile has come, and everybody is done with the one before */
        if (key + KEYS < p.end) {
            copy_permuted<T, D, GROUPS>(w, p, key + KEYS, page, k + (at ^ 1) * KEYS * D, v + (at ^ 1) * KEYS * D);
            find_pages(w, p, key + 2 * KEYS, page);
        }
        score_group<T, D, GROUPS>(q, k + at * KEYS * D, s);
        if (BIASED) add_biases<D, 1>(w, p, key, warp_row, s);
        if (key + KEYS > p.seen || key < low) hide<D, 1>(w, p, key, warp_row, s);
        softmax_step<D, 1>(w.scale, s, &sums);
        add_group<T, D>(s, v + at * KEYS * D, &sums);
    }
    store_group<T, D, GROUPS>(w, p, sums, q);
}

/* --- Launch --- */

template <typename T, int D, int GROUPS, bool BIASED>
static tsr_status launch(const tsr_attention_work *w, const tsr_cuda_step *step)
{
    dim3 grid(w->kv_heads, (unsigned)most_tiles(w, step, group_shape<D, GROUPS>::ROWS));
    size_t shared = group_shape<D, GROUPS>::shared(sizeof(T));
    TSR_TRY(tsr_cuda_check(cudaFuncSetAttribute(group_tile<T, D, GROUPS, BIASED>,
                                                cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared),
                           "attention: shared memory of the prefill kernel"));
    return tsr_launch(step, "attention: prefill", grid, dim3(group_shape<D, GROUPS>::THREADS), shared,
                      group_tile<T, D, GROUPS, BIASED>, *w);
}

template <typename T, int D, bool BIASED>
static tsr_status choose_groups(const tsr_attention_work *w, const tsr_cuda_step *step)
{
    int64_t heads = tsr_attention_heads_per_kv(w->heads, w->group);
    int64_t tiles = step->bound_tokens * heads / group_shape<D, 2>::ROWS * w->kv_heads;
    return tiles > 2 * step->n_processors ? launch<T, D, 2, BIASED>(w, step) : launch<T, D, 1, BIASED>(w, step);
}

template <typename T, int D>
static tsr_status choose(const tsr_attention_work *w, const tsr_cuda_step *step)
{
    return w->alibi != 0 ? choose_groups<T, D, true>(w, step) : choose_groups<T, D, false>(w, step);
}

bool tsr_attention_has_wgmma(int head_dim)
{
#if defined(TSR_CUDA_SM90A)
    int device, major = 0;
    if (head_dim != 64 && head_dim != 128) return false;
    if (cudaGetDevice(&device) != cudaSuccess) return false;
    return cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess && major == 9;
#else
    (void)head_dim;
    return false;
#endif
}

tsr_status tsr_attention_wgmma(const tsr_attention_work *w, tsr_dtype dtype, const tsr_cuda_step *step)
{
    if (dtype == TSR_F16)
        return w->head_dim == 64 ? choose<__half, 64>(w, step) : choose<__half, 128>(w, step);
    return w->head_dim == 64 ? choose<__nv_bfloat16, 64>(w, step) : choose<__nv_bfloat16, 128>(w, step);
}
