/* operators.c: arithmetic, joining and repeating. */
#include "runtime/template/operators.h"

#include "runtime/template/print.h"

#include <math.h>
#include <string.h>

static bool whole(tpl_value v)
{
    return v.kind == TPL_INT || v.kind == TPL_BOOL;
}

static int64_t integer(tpl_value v)
{
    return v.kind == TPL_BOOL ? v.truth : v.integer;
}

static tsr_status unsupported(tpl_render *r, int op, tpl_value a, tpl_value b)
{
    char name[3] = {(char)(op > 255 ? op >> 8 : op), (char)(op > 255 ? op & 255 : 0), 0};
    if (a.kind == TPL_UNDEFINED) return tsr_tpl_use_of_undefined(r, a);
    if (b.kind == TPL_UNDEFINED) return tsr_tpl_use_of_undefined(r, b);
    return tsr_tpl_fail(r, "unsupported operand types for %s: '%s' and '%s'", name, tsr_tpl_type_name(a),
                        tsr_tpl_type_name(b));
}

/* b is not 0. */
static int64_t floor_div(int64_t a, int64_t b)
{
    int64_t q = a / b;
    return q - (a % b != 0 && (a < 0) != (b < 0));
}

static bool power(int64_t base, int64_t exponent, int64_t *out)
{
    for (*out = 1; exponent > 0; exponent >>= 1) {
        if (exponent & 1 && __builtin_mul_overflow(*out, base, out)) return false;
        if (exponent > 1 && __builtin_mul_overflow(base, base, &base)) return false;
    }
    return true;
}

static tsr_status whole_numbers(tpl_render *r, int op, int64_t a, int64_t b, tpl_value *out)
{
    int64_t result = 0;
    bool fits = true, divides = op == '/' || op == '%' || op == TPL_OP2('/', '/');
    if (divides && b == 0) return tsr_tpl_fail(r, "division by zero");
    if (divides && a == INT64_MIN && b == -1) return tsr_tpl_fail(r, "a number is too large");
    if (op == '/') {
        *out = tpl_float((double)a / (double)b);
        return TSR_OK;
    }
    if (op == TPL_OP2('*', '*') && b < 0) {
        if (a == 0) return tsr_tpl_fail(r, "0.0 cannot be raised to a negative power");
        *out = tpl_float(pow((double)a, (double)b));
        return TSR_OK;
    }
    if (op == '+') fits = !__builtin_add_overflow(a, b, &result);
    if (op == '-') fits = !__builtin_sub_overflow(a, b, &result);
    if (op == '*') fits = !__builtin_mul_overflow(a, b, &result);
    if (op == '%') result = a - floor_div(a, b) * b;
    if (op == TPL_OP2('/', '/')) result = floor_div(a, b);
    if (op == TPL_OP2('*', '*')) fits = power(a, b, &result);
    *out = tpl_int(result);
    return fits ? TSR_OK : tsr_tpl_fail(r, "a number is too large");
}

static double float_mod(double a, double b)
{
    double m = fmod(a, b);
    if (m != 0 && (m < 0) != (b < 0)) return m + b;
    return m == 0 ? copysign(0, b) : m;
}

static double float_floor_div(double a, double b)
{
    double q = (a - float_mod(a, b)) / b, f = floor(q);
    return q - f > 0.5 ? f + 1 : f;
}

static tsr_status real_numbers(tpl_render *r, int op, double a, double b, tpl_value *out)
{
    if ((op == '/' || op == '%' || op == TPL_OP2('/', '/')) && b == 0)
        return tsr_tpl_fail(r, "float division by zero");
    switch (op) {
    case '+':
        *out = tpl_float(a + b);
        break;
    case '-':
        *out = tpl_float(a - b);
        break;
    case '*':
        *out = tpl_float(a * b);
        break;
    case '/':
        *out = tpl_float(a / b);
        break;
    case '%':
        *out = tpl_float(float_mod(a, b));
        break;
    case TPL_OP2('/', '/'):
        *out = tpl_float(float_floor_div(a, b));
        break;
    default:
        if (a == 0 && b < 0) return tsr_tpl_fail(r, "0.0 cannot be raised to a negative power");
        *out = tpl_float(pow(a, b));
        if (isnan(out->real) && !isnan(a) && !isnan(b))
            return tsr_tpl_fail(r, "there are no complex numbers");
        if (isinf(out->real) && !isinf(a) && !isinf(b)) return tsr_tpl_fail(r, "a number is too large");
    }
    return TSR_OK;
}

static tsr_status repeat_string(tpl_render *r, tpl_value s, int64_t times, tpl_value *out)
{
    void *p;
    int64_t bytes;
    if (times < 0) times = 0;
    if (__builtin_mul_overflow(s.n, times, &bytes)) bytes = INT64_MAX / 2;
    TSR_TRY(tsr_tpl_take(r, bytes, &p));
    TSR_TRY(tsr_tpl_step(r, 1 + bytes / 16 + (s.n ? times / 16 : 0)));
    for (int64_t i = 0; s.n > 0 && i < times; i++) memcpy((char *)p + i * s.n, s.bytes, (size_t)s.n);
    *out = tpl_string(p, bytes);
    return TSR_OK;
}

static tsr_status repeat_list(tpl_render *r, const tpl_list *list, int64_t times, tpl_value *out)
{
    TSR_TRY(tsr_tpl_new_list(r, list->form, 0, out));
    for (int64_t i = 0; list->count > 0 && i < times; i++)
        for (int64_t k = 0; k < list->count; k++) TSR_TRY(tsr_tpl_append(r, out->list, list->items[k]));
    return TSR_OK;
}

static bool is_plain_list(tpl_value v)
{
    return v.kind == TPL_LIST && (v.list->form == TPL_IS_LIST || v.list->form == TPL_IS_TUPLE);
}

static tsr_status add_lists(tpl_render *r, const tpl_list *a, const tpl_list *b, tpl_value *out)
{
    TSR_TRY(tsr_tpl_new_list(r, a->form, a->count + b->count, out));
    for (int64_t i = 0; i < a->count; i++) TSR_TRY(tsr_tpl_append(r, out->list, a->items[i]));
    for (int64_t i = 0; i < b->count; i++) TSR_TRY(tsr_tpl_append(r, out->list, b->items[i]));
    return TSR_OK;
}

static tsr_status add_strings(tpl_render *r, tpl_value a, tpl_value b, tpl_value *out)
{
    void *p;
    TSR_TRY(tsr_tpl_take(r, a.n + b.n, &p));
    if (a.n > 0) memcpy(p, a.bytes, (size_t)a.n);
    if (b.n > 0) memcpy((char *)p + a.n, b.bytes, (size_t)b.n);
    *out = tpl_string(p, a.n + b.n);
    return tsr_tpl_step(r, (a.n + b.n) / 16);
}

tsr_status tsr_tpl_binary(tpl_render *r, int op, tpl_value a, tpl_value b, tpl_value *out)
{
    TSR_TRY(tsr_tpl_step(r, 1));
    if (whole(a) && whole(b)) return whole_numbers(r, op, integer(a), integer(b), out);
    if (tsr_tpl_is_number(a) && tsr_tpl_is_number(b))
        return real_numbers(r, op, tsr_tpl_number(a), tsr_tpl_number(b), out);
    if (op == '+' && a.kind == TPL_STRING && b.kind == TPL_STRING) return add_strings(r, a, b, out);
    if (op == '+' && is_plain_list(a) && is_plain_list(b) && a.list->form == b.list->form)
        return add_lists(r, a.list, b.list, out);
    if (op == '%' && a.kind == TPL_STRING) return tsr_tpl_format(r, a, b, out);
    if (op == '*' && whole(a)) {
        tpl_value other = a;
        a = b;
        b = other;
    }
    if (op == '*' && whole(b) && a.kind == TPL_STRING) return repeat_string(r, a, integer(b), out);
    if (op == '*' && whole(b) && is_plain_list(a)) return repeat_list(r, a.list, integer(b), out);
    return unsupported(r, op, a, b);
}

tsr_status tsr_tpl_negative(tpl_render *r, tpl_value v, tpl_value *out)
{
    if (v.kind == TPL_UNDEFINED) return tsr_tpl_use_of_undefined(r, v);
    if (!tsr_tpl_is_number(v))
        return tsr_tpl_fail(r, "bad operand type for unary -: '%s'", tsr_tpl_type_name(v));
    if (v.kind == TPL_FLOAT)
        *out = tpl_float(-v.real);
    else if (integer(v) == INT64_MIN)
        return tsr_tpl_fail(r, "a number is too large");
    else
        *out = tpl_int(-integer(v));
    return TSR_OK;
}

tsr_status tsr_tpl_join(tpl_render *r, tpl_value between, const tpl_list *list, tpl_value *out)
{
    tsr_text t;
    TSR_TRY(tsr_text_init(&t, r->left.memory));
    tsr_status s = TSR_OK;
    for (int64_t i = 0; i < list->count && s == TSR_OK; i++) {
        if (i) s = tsr_text_append(&t, between.bytes, between.n);
        if (s == TSR_OK) s = tsr_tpl_print(r, list->items[i], &t);
        if (s == TSR_OK) s = tsr_tpl_step(r, 1 + between.n / 16);
    }
    if (s == TSR_OK) s = tsr_tpl_new_string(r, t.data, t.length, out);
    tsr_text_free(&t);
    return s;
}
