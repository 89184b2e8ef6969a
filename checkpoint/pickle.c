/* pickle.c: the stack machine of pickles, building nodes.
 *
 * Opcodes are rows of a table: the byte and the function that carries it out. An opcode that is not in the table is
 * refused: those of the text protocols 0 and 1 that no writer of protocol 2 and above uses, extension codes, and
 * buffers outside of the pickle.
 */
#include "checkpoint/pickle.h"
#include "base/checked.h"

#include <string.h>

enum { STACK_CAP = TSR_PICKLE_NODE_CAP };

typedef struct machine {
    const unsigned char *bytes;
    int64_t at, size, limit; /* the next byte; all; the end of the frame, or size */
    const char *where;
    tsr_arena *arena;
    tsr_pickle_node **stack, **memo;
    int64_t depth, stack_capacity, memo_size, memo_capacity, memoized, nodes;
    bool stopped;
} machine;

static const char broken[] = "malformed pickle";

static tsr_status bad(const machine *m, const char *what)
{
    return tsr_fail(TSR_ERR_FORMAT, "%s: %s: %s at byte %lld", m->where, broken, what, (long long)m->at);
}

/* --- Reading --- */

/* The next n bytes, within the frame. */
static tsr_status take(machine *m, int64_t n, const unsigned char **out)
{
    *out = NULL;
    if (n < 0 || n > m->limit - m->at) return bad(m, "an argument reaches beyond the end");
    *out = m->bytes + m->at;
    m->at += n;
    return TSR_OK;
}

/* A number of `size` bytes, little endian, not negative. */
static tsr_status take_number(machine *m, int size, int64_t *out)
{
    const unsigned char *p = NULL;
    uint64_t n = 0;
    *out = 0;
    TSR_TRY(take(m, size, &p));
    for (int i = 0; i < size; i++) n |= (uint64_t)p[i] << 8 * i;
    if (n > INT64_MAX) return bad(m, "a length past all bounds");
    *out = (int64_t)n;
    return TSR_OK;
}

/* The rest of the line, without its end. */
static tsr_status take_line(machine *m, const char **out, int64_t *length)
{
    const unsigned char *p = m->bytes + m->at, *end = memchr(p, '\n', (size_t)(m->limit - m->at));
    if (!end) return bad(m, "a line without an end");
    *out = (const char *)p;
    *length = end - p;
    m->at += *length + 1;
    return TSR_OK;
}

/* --- Nodes and stack --- */

static tsr_status push(machine *m, tsr_pickle_node *node)
{
    void *array = m->stack;
    if (m->depth >= STACK_CAP) return bad(m, "too many values on the stack");
    TSR_TRY(tsr_grow(&array, &m->stack_capacity, m->depth + 1, sizeof *m->stack, "the stack of a pickle"));
    m->stack = array;
    m->stack[m->depth++] = node;
    return TSR_OK;
}

static tsr_status push_new(machine *m, tsr_pickle_kind kind, tsr_pickle_node **out)
{
    void *p;
    *out = NULL;
    if (++m->nodes > TSR_PICKLE_NODE_CAP) return bad(m, "too many values");
    TSR_TRY(tsr_arena_alloc(m->arena, sizeof **out, &p));
    *out = p;
    (*out)->kind = kind;
    return push(m, *out);
}

/* The value on top, which is not a mark. */
static tsr_status top(const machine *m, tsr_pickle_node **out)
{
    *out = NULL;
    if (m->depth == 0 || m->stack[m->depth - 1]->kind == TSR_PICKLE_MARK) return bad(m, "a value is missing");
    *out = m->stack[m->depth - 1];
    return TSR_OK;
}

static tsr_status pop(machine *m, tsr_pickle_node **out)
{
    TSR_TRY(top(m, out));
    m->depth--;
    return TSR_OK;
}

/* The place of the last mark. */
static tsr_status find_mark(const machine *m, int64_t *out)
{
    for (int64_t i = m->depth - 1; i >= 0; i--)
        if (m->stack[i]->kind == TSR_PICKLE_MARK) {
            *out = i;
            return TSR_OK;
        }
    return bad(m, "a mark is missing");
}

static tsr_status add_item(machine *m, tsr_pickle_node *to, const tsr_pickle_node *key,
                           const tsr_pickle_node *value)
{
    void *p;
    if (++m->nodes > TSR_PICKLE_NODE_CAP) return bad(m, "too many values");
    TSR_TRY(tsr_arena_alloc(m->arena, sizeof(tsr_pickle_item), &p));
    tsr_pickle_item *item = p;
    *item = (tsr_pickle_item){key, value, NULL};
    if (to->last)
        to->last->next = item;
    else
        to->first = item;
    to->last = item;
    to->count++;
    return TSR_OK;
}

/* May items with keys (or without) be put into it? A call may be either, but not both. */
static tsr_status check_container(const machine *m, const tsr_pickle_node *to, bool keys)
{
    bool fits =
        to->kind == (keys ? TSR_PICKLE_DICT : TSR_PICKLE_LIST) || (to->kind == TSR_PICKLE_SET && !keys);
    if (to->kind == TSR_PICKLE_CALL) fits = !to->first || (to->first->key != NULL) == keys;
    return fits ? TSR_OK : bad(m, keys ? "keys set in what is no dict" : "items appended to what is no list");
}

/* Values begin..depth-1 of the stack go into `to`, and leave the stack. */
static tsr_status move_items(machine *m, tsr_pickle_node *to, int64_t begin, bool keys)
{
    if (keys && (m->depth - begin) % 2 != 0) return bad(m, "a key without a value");
    for (int64_t i = begin; i < m->depth; i += keys ? 2 : 1)
        TSR_TRY(add_item(m, to, keys ? m->stack[i] : NULL, m->stack[keys ? i + 1 : i]));
    m->depth = begin;
    return TSR_OK;
}

/* --- Constants --- */

static tsr_status push_int(machine *m, int64_t value)
{
    tsr_pickle_node *n = NULL;
    TSR_TRY(push_new(m, TSR_PICKLE_INT, &n));
    n->integer = value;
    return TSR_OK;
}

static tsr_status push_text(machine *m, tsr_pickle_kind kind, int length_bytes)
{
    const unsigned char *p = NULL;
    tsr_pickle_node *n = NULL;
    int64_t length = 0;
    TSR_TRY(take_number(m, length_bytes, &length));
    TSR_TRY(take(m, length, &p));
    TSR_TRY(push_new(m, kind, &n));
    n->text = (const char *)p;
    n->length = length;
    return TSR_OK;
}

/* Two's complement, little endian, of any length; past 8 bytes the value is not kept. */
static tsr_status push_long(machine *m, int length_bytes)
{
    const unsigned char *p = NULL;
    tsr_pickle_node *n = NULL;
    int64_t length = 0;
    TSR_TRY(take_number(m, length_bytes, &length));
    TSR_TRY(take(m, length, &p));
    if (length > 8) return push_new(m, TSR_PICKLE_BIG_INT, &n);
    uint64_t value = length > 0 && p[length - 1] & 0x80 ? UINT64_MAX : 0;
    for (int64_t i = length - 1; i >= 0; i--) value = value << 8 | p[i];
    return push_int(m, (int64_t)value);
}

static tsr_status op_int(machine *m, int op)
{
    int64_t value;
    TSR_TRY(take_number(m, op == 'K' ? 1 : op == 'M' ? 2 : 4, &value));
    return push_int(m, op == 'J' ? (int64_t)(int32_t)(uint32_t)value : value);
}

static tsr_status op_long(machine *m, int op)
{
    return push_long(m, op == 0x8a ? 1 : 4);
}

static tsr_status op_float(machine *m, int op)
{
    const unsigned char *p = NULL;
    tsr_pickle_node *n = NULL;
    uint64_t bits = 0;
    (void)op;
    TSR_TRY(take(m, 8, &p));
    for (int i = 0; i < 8; i++) bits = bits << 8 | p[i]; /* big endian */
    TSR_TRY(push_new(m, TSR_PICKLE_FLOAT, &n));
    memcpy(&n->real, &bits, 8);
    return TSR_OK;
}

static tsr_status op_constant(machine *m, int op)
{
    tsr_pickle_node *n = NULL;
    TSR_TRY(push_new(m, op == 'N' ? TSR_PICKLE_NONE : TSR_PICKLE_BOOL, &n));
    n->integer = op == 0x88;
    return TSR_OK;
}

static tsr_status op_text(machine *m, int op)
{
    return push_text(m, TSR_PICKLE_STRING, op == 'U' || op == 0x8c ? 1 : op == 0x8d ? 8 : 4);
}

static tsr_status op_bytes(machine *m, int op)
{
    return push_text(m, TSR_PICKLE_BYTES, op == 'C' ? 1 : op == 'B' ? 4 : 8);
}

/* --- Containers --- */

static tsr_status op_mark(machine *m, int op)
{
    static tsr_pickle_node mark = {.kind = TSR_PICKLE_MARK};
    (void)op;
    return push(m, &mark);
}

static tsr_status op_empty(machine *m, int op)
{
    tsr_pickle_node *n = NULL;
    return push_new(m,
                    op == '}'   ? TSR_PICKLE_DICT
                    : op == ']' ? TSR_PICKLE_LIST
                    : op == ')' ? TSR_PICKLE_TUPLE
                                : TSR_PICKLE_SET,
                    &n);
}

/* What stands above position `begin`, as one container; `marks` values below it go as well. */
static tsr_status collect(machine *m, tsr_pickle_kind kind, int64_t begin, int marks)
{
    tsr_pickle_node *n = NULL;
    TSR_TRY(push_new(m, kind, &n));
    m->depth--;
    for (int64_t i = begin; i < m->depth; i++)
        if (m->stack[i]->kind == TSR_PICKLE_MARK) return bad(m, "a value is missing");
    TSR_TRY(move_items(m, n, begin, kind == TSR_PICKLE_DICT));
    m->depth = begin - marks;
    return push(m, n);
}

static tsr_status op_collect(machine *m, int op)
{
    int64_t mark = 0;
    TSR_TRY(find_mark(m, &mark));
    return collect(m,
                   op == 't'   ? TSR_PICKLE_TUPLE
                   : op == 'l' ? TSR_PICKLE_LIST
                   : op == 'd' ? TSR_PICKLE_DICT
                               : TSR_PICKLE_SET,
                   mark + 1, 1);
}

static tsr_status op_tuple(machine *m, int op)
{
    int n = op - 0x84;
    if (m->depth < n) return bad(m, "a value is missing");
    return collect(m, TSR_PICKLE_TUPLE, m->depth - n, 0);
}

/* Several items above a mark (e, u, ADDITEMS), or the one on top (a) or two (s). */
static tsr_status op_fill(machine *m, int op)
{
    bool keys = op == 's' || op == 'u', one = op == 's' || op == 'a';
    int64_t begin = 0;
    if (one)
        begin = m->depth - (keys ? 2 : 1);
    else
        TSR_TRY(find_mark(m, &begin));
    int64_t to = begin - 1, first = one ? begin : begin + 1;
    if (to < 0) return bad(m, "a value is missing");
    for (int64_t i = to; i < m->depth; i++)
        if (m->stack[i]->kind == TSR_PICKLE_MARK && (one || i != begin)) return bad(m, "a value is missing");
    TSR_TRY(check_container(m, m->stack[to], keys));
    TSR_TRY(move_items(m, m->stack[to], first, keys));
    m->depth = begin;
    return TSR_OK;
}

static tsr_status op_pop(machine *m, int op)
{
    tsr_pickle_node *n = NULL;
    if (op == '1') return find_mark(m, &m->depth);
    if (m->depth > 0 && m->stack[m->depth - 1]->kind == TSR_PICKLE_MARK) {
        m->depth--;
        return TSR_OK;
    }
    return pop(m, &n);
}

static tsr_status op_dup(machine *m, int op)
{
    tsr_pickle_node *n = NULL;
    (void)op;
    TSR_TRY(top(m, &n));
    return push(m, n);
}

/* --- Classes and calls --- */

static tsr_status op_global(machine *m, int op)
{
    const char *module = NULL, *name = NULL;
    int64_t module_length = 0, name_length = 0;
    tsr_pickle_node *n = NULL;
    (void)op;
    TSR_TRY(take_line(m, &module, &module_length));
    TSR_TRY(take_line(m, &name, &name_length));
    TSR_TRY(push_new(m, TSR_PICKLE_CLASS, &n));
    n->text = module, n->length = module_length;
    n->name = name, n->name_length = name_length;
    return TSR_OK;
}

static tsr_status op_stack_global(machine *m, int op)
{
    tsr_pickle_node *module = NULL, *name = NULL, *n = NULL;
    (void)op;
    TSR_TRY(pop(m, &name));
    TSR_TRY(pop(m, &module));
    if (name->kind != TSR_PICKLE_STRING || module->kind != TSR_PICKLE_STRING)
        return bad(m, "a class whose name is no text");
    TSR_TRY(push_new(m, TSR_PICKLE_CLASS, &n));
    n->text = module->text, n->length = module->length;
    n->name = name->text, n->name_length = name->length;
    return TSR_OK;
}

static tsr_status op_call(machine *m, int op)
{
    tsr_pickle_node *n = NULL, *keywords = NULL, *args = NULL, *callee = NULL;
    if (op == 0x92) TSR_TRY(pop(m, &keywords)); /* what NEWOBJ_EX passes by name is not kept */
    TSR_TRY(pop(m, &args));
    TSR_TRY(pop(m, &callee));
    if (args->kind != TSR_PICKLE_TUPLE) return bad(m, "a call whose arguments are no tuple");
    TSR_TRY(push_new(m, TSR_PICKLE_CALL, &n));
    n->callee = callee;
    n->args = args;
    return TSR_OK;
}

static tsr_status op_build(machine *m, int op)
{
    tsr_pickle_node *state = NULL, *object = NULL;
    (void)op;
    TSR_TRY(pop(m, &state));
    TSR_TRY(top(m, &object));
    if (object->kind != TSR_PICKLE_CALL) return bad(m, "a state for what is no object");
    object->state = state;
    return TSR_OK;
}

static tsr_status op_persistent(machine *m, int op)
{
    tsr_pickle_node *id = NULL, *n = NULL;
    (void)op;
    TSR_TRY(pop(m, &id));
    TSR_TRY(push_new(m, TSR_PICKLE_PERSISTENT, &n));
    n->args = id;
    return TSR_OK;
}

/* --- Memo, frames, start and stop --- */

static tsr_status remember(machine *m, int64_t index)
{
    tsr_pickle_node *n = NULL;
    void *array = m->memo;
    TSR_TRY(top(m, &n));
    if (index >= TSR_PICKLE_NODE_CAP) return bad(m, "a memo number past all bounds");
    TSR_TRY(tsr_grow(&array, &m->memo_capacity, index + 1, sizeof *m->memo, "the memo of a pickle"));
    m->memo = array;
    m->memo_size = tsr_max(m->memo_size, index + 1);
    m->memoized += m->memo[index] == NULL;
    m->memo[index] = n;
    return TSR_OK;
}

static tsr_status op_put(machine *m, int op)
{
    int64_t index = m->memoized;
    if (op != 0x94) TSR_TRY(take_number(m, op == 'q' ? 1 : 4, &index));
    return remember(m, index);
}

static tsr_status op_get(machine *m, int op)
{
    int64_t index = 0;
    TSR_TRY(take_number(m, op == 'h' ? 1 : 4, &index));
    if (index >= m->memo_size || !m->memo[index]) return bad(m, "a memo number that was never given");
    return push(m, m->memo[index]);
}

static tsr_status op_protocol(machine *m, int op)
{
    int64_t protocol = 0;
    (void)op;
    TSR_TRY(take_number(m, 1, &protocol));
    if (m->at != 2) return bad(m, "a second beginning");
    if (protocol < 2 || protocol > 5)
        return tsr_fail(TSR_ERR_FORMAT, "%s: a pickle of protocol %lld, expected 2 to 5", m->where,
                        (long long)protocol);
    return TSR_OK;
}

static tsr_status op_frame(machine *m, int op)
{
    int64_t length = 0;
    (void)op;
    TSR_TRY(take_number(m, 8, &length));
    if (m->limit != m->size) return bad(m, "a frame within a frame");
    if (length > m->size - m->at) return bad(m, "a frame that reaches beyond the end");
    m->limit = m->at + length;
    return TSR_OK;
}

static tsr_status op_stop(machine *m, int op)
{
    (void)op;
    m->stopped = true;
    return TSR_OK;
}

typedef tsr_status operation(machine *m, int op);

static operation *const operations[256] = {
    ['('] = op_mark,    ['.'] = op_stop,          ['0'] = op_pop,        ['1'] = op_pop,
    ['2'] = op_dup,     ['J'] = op_int,           ['K'] = op_int,        ['M'] = op_int,
    ['G'] = op_float,   ['N'] = op_constant,      ['Q'] = op_persistent, ['R'] = op_call,
    ['T'] = op_text,    ['U'] = op_text,          ['X'] = op_text,       ['a'] = op_fill,
    ['b'] = op_build,   ['c'] = op_global,        ['d'] = op_collect,    ['}'] = op_empty,
    ['e'] = op_fill,    ['h'] = op_get,           ['j'] = op_get,        ['l'] = op_collect,
    [']'] = op_empty,   ['q'] = op_put,           ['r'] = op_put,        ['s'] = op_fill,
    ['t'] = op_collect, [')'] = op_empty,         ['u'] = op_fill,       ['B'] = op_bytes,
    ['C'] = op_bytes,   [0x80] = op_protocol,     [0x81] = op_call,      [0x85] = op_tuple,
    [0x86] = op_tuple,  [0x87] = op_tuple,        [0x88] = op_constant,  [0x89] = op_constant,
    [0x8a] = op_long,   [0x8b] = op_long,         [0x8c] = op_text,      [0x8d] = op_text,
    [0x8e] = op_bytes,  [0x8f] = op_empty,        [0x90] = op_fill,      [0x91] = op_collect,
    [0x92] = op_call,   [0x93] = op_stack_global, [0x94] = op_put,       [0x95] = op_frame,
    [0x96] = op_bytes,
};

static tsr_status run(machine *m, const tsr_pickle_node **root)
{
    tsr_pickle_node *n = NULL;
    while (!m->stopped) {
        const unsigned char *op;
        if (m->at == m->limit) m->limit = m->size;
        TSR_TRY(take(m, 1, &op));
        if (m->at == 1 && *op != 0x80) return bad(m, "no protocol of 2 or above");
        if (!operations[*op])
            return tsr_fail(TSR_ERR_FORMAT, "%s: %s: opcode 0x%02x at byte %lld is not known or not accepted",
                            m->where, broken, *op, (long long)m->at - 1);
        TSR_TRY(operations[*op](m, *op));
    }
    TSR_TRY(pop(m, &n));
    if (m->depth != 0) return bad(m, "values are left over");
    if (m->at != m->size) return bad(m, "something follows its end");
    *root = n;
    return TSR_OK;
}

tsr_status tsr_pickle_parse(const char *bytes, int64_t n, const char *where, tsr_arena *arena,
                            const tsr_pickle_node **root)
{
    machine m = {
        .bytes = (const unsigned char *)bytes, .size = n, .limit = n, .where = where, .arena = arena};
    *root = NULL;
    if (n > TSR_PICKLE_BYTES_CAP)
        return tsr_fail(TSR_ERR_FORMAT, "%s: a pickle of %lld bytes, at most %d are accepted", where,
                        (long long)n, TSR_PICKLE_BYTES_CAP);
    tsr_status status = run(&m, root);
    tsr_free(m.stack);
    tsr_free(m.memo);
    return status;
}
