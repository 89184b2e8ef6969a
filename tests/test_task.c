/* test_task.c: which head a config asks for, its labels, and what is made of its logits. */
#include "layers/model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static tsr_status build(const char *text, tsr_task task, tsr_model **out)
{
    tsr_json doc;
    *out = NULL;
    TSR_TRY(tsr_json_parse(text, (int64_t)strlen(text), "config.json", &doc));
    tsr_status status = tsr_model_for_task(&doc, task, out);
    tsr_json_free(&doc);
    return status;
}

#define SIZES                                                                                                \
    "\"hidden_size\": 8, \"num_attention_heads\": 2, \"intermediate_size\": 8, \"num_hidden_layers\": 1, "   \
    "\"vocab_size\": 9"

static tsr_model *llama(const char *architecture, const char *more, tsr_task task)
{
    char text[1024];
    tsr_model *m;
    snprintf(text, sizeof text, "{\"model_type\": \"llama\", " SIZES ", \"architectures\": [\"%s\"]%s}",
             architecture, more);
    assert_int_equal(build(text, task, &m), TSR_OK);
    return m;
}

static void check_head(tsr_model *m, tsr_task task, int64_t cols, const char *tensor)
{
    const tsr_graph *g = &m->graphs[0];
    const tsr_node *last = &g->nodes[g->n_nodes - 1];
    assert_int_equal(m->task, task);
    assert_int_equal(g->values[g->output].cols, cols);
    assert_string_equal(m->weights[last->weight[0]].name, tensor);
    assert_int_equal(last->weight[1] != TSR_NONE, task == TSR_TASK_TOKEN_CLASSIFICATION);
    tsr_model_destroy(&m);
}

static void architectures_choose_the_head(void **state)
{
    (void)state;
    check_head(llama("LlamaForCausalLM", "", TSR_TASK_AUTO), TSR_TASK_TEXT_GENERATION, 9, "lm_head.weight");
    check_head(llama("LlamaForSequenceClassification", "", TSR_TASK_AUTO), TSR_TASK_TEXT_CLASSIFICATION, 2,
               "score.weight");
    check_head(llama("LlamaForTokenClassification", ", \"num_labels\": 5", TSR_TASK_AUTO),
               TSR_TASK_TOKEN_CLASSIFICATION, 5, "score.weight");
    check_head(llama("LlamaForTokenClassification", "", TSR_TASK_TEXT_GENERATION), TSR_TASK_TEXT_GENERATION,
               9, "lm_head.weight");
    check_head(llama("LlamaForCausalLM", "", TSR_TASK_TEXT_CLASSIFICATION), TSR_TASK_TEXT_CLASSIFICATION, 2,
               "score.weight");
}

static void labels_have_names(void **state)
{
    (void)state;
    tsr_model *m = llama("LlamaForSequenceClassification", "", TSR_TASK_AUTO);
    assert_string_equal(m->classifier.label[1], "LABEL_1");
    tsr_model_destroy(&m);
    m = llama("LlamaForSequenceClassification",
              ", \"num_labels\": 7, \"id2label\": {\"2\": 30, \"0\": \"no\", \"1\": \"yes\"}", TSR_TASK_AUTO);
    assert_int_equal(m->classifier.labels, 3); /* the map counts */
    assert_string_equal(m->classifier.label[0], "no");
    assert_string_equal(m->classifier.label[2], "30");
    tsr_model_destroy(&m);
}

static void refusals_say_why(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"{\"model_type\": \"llama\", " SIZES ", \"architectures\": [\"LlamaForQuestionAnswering\"]}",
         "\"LlamaForQuestionAnswering\", a head that is not supported"},
        {"{\"model_type\": \"codegen\", \"architectures\": [\"CodeGenForSequenceClassification\"]}",
         "model_type \"codegen\" has no head for text-classification"},
        {"{\"model_type\": \"opt\", \"architectures\": [\"OPTForTokenClassification\"]}",
         "model_type \"opt\" has no head for token-classification"},
        {"{\"model_type\": \"glm\", \"max_sequence_length\": 512, \"num_layers\": 1, "
         "\"architectures\": [\"GlmForSequenceClassification\"]}",
         "model_type \"glm\" has no head for text-classification"},
        {"{\"model_type\": \"llama\", " SIZES ", \"architectures\": [\"XForSequenceClassification\"], "
         "\"id2label\": {\"0\": \"a\", \"2\": \"b\"}}",
         "\"id2label\" of 2 labels must have a string under \"1\", found nothing"},
        {"{\"model_type\": \"llama\", " SIZES ", \"architectures\": [\"XForSequenceClassification\"], "
         "\"id2label\": {\"0\": []}}",
         "under \"0\", found an array"},
        {"{\"model_type\": \"llama\", " SIZES ", \"architectures\": [\"XForSequenceClassification\"], "
         "\"id2label\": {}}",
         "must name 1..65536 labels, found 0"},
        {"{\"model_type\": \"llama\", " SIZES ", \"architectures\": [\"XForSequenceClassification\"], "
         "\"num_labels\": 100000}",
         "\"num_labels\" must lie in 1..65536"},
        {"{\"model_type\": \"llama\", " SIZES ", \"architectures\": 3}",
         "\"architectures\" must be an array"},
        {"{\"model_type\": \"llama\", " SIZES ", \"architectures\": [\"XForSequenceClassification\"], "
         "\"pad_token_id\": \"x\"}",
         "\"pad_token_id\" must be an integer"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tsr_model *m;
        assert_int_equal(build(cases[i][0], TSR_TASK_AUTO, &m), TSR_ERR_FORMAT);
        assert_null(m);
        if (!strstr(tsr_error_text(), cases[i][1])) fail_msg("%s\nin: %s", cases[i][1], tsr_error_text());
    }
}

static void names_of_tasks_go_both_ways(void **state)
{
    (void)state;
    for (int i = TSR_TASK_AUTO; i <= TSR_TASK_TOKEN_CLASSIFICATION; i++) {
        tsr_task task;
        assert_int_equal(tsr_task_from_name(tsr_task_name((tsr_task)i), &task), TSR_OK);
        assert_int_equal(task, i);
    }
    tsr_task task = TSR_TASK_AUTO;
    assert_int_equal(tsr_task_from_name("fill-mask", &task), TSR_ERR_USAGE);
    assert_non_null(strstr(tsr_error_text(), "\"fill-mask\""));
}

static void scores_follow_the_problem(void **state)
{
    (void)state;
    static const struct {
        const char *more;
        tsr_score_rule rule;
        float scores[2];
    } cases[] = {
        {"", TSR_SCORE_SOFTMAX, {0.8807971f, 0.1192029f}},
        {", \"problem_type\": \"single_label_classification\"", TSR_SCORE_SOFTMAX, {0.8807971f, 0.1192029f}},
        {", \"problem_type\": \"multi_label_classification\"", TSR_SCORE_SIGMOID, {0.9525741f, 0.7310586f}},
        {", \"problem_type\": \"regression\"", TSR_SCORE_NONE, {3, 1}},
        {", \"num_labels\": 1", TSR_SCORE_SIGMOID, {0.9525741f, 0}},
        {", \"num_labels\": 1, \"problem_type\": \"regression\"", TSR_SCORE_NONE, {3, 0}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        float scores[2] = {0};
        tsr_model *m = llama("LlamaForSequenceClassification", cases[i].more, TSR_TASK_AUTO);
        assert_int_equal(m->classifier.rule, cases[i].rule);
        tsr_classifier_scores(&m->classifier, (const float[]){3, 1}, scores);
        for (int k = 0; k < 2; k++) assert_true(fabsf(scores[k] - cases[i].scores[k]) < 1e-6f);
        tsr_model_destroy(&m);
    }
    tsr_model *m = llama("LlamaForTokenClassification", ", \"problem_type\": \"regression\"", TSR_TASK_AUTO);
    assert_int_equal(m->classifier.rule, TSR_SCORE_SOFTMAX); /* tokens have one label each */
    tsr_model_destroy(&m);
}

static void texts_end_before_their_padding(void **state)
{
    (void)state;
    static const struct {
        const char *more;
        int64_t length;
    } cases[] = {{"", 5},
                 {", \"pad_token_id\": null", 5},
                 {", \"pad_token_id\": 0", 3},
                 {", \"pad_token_id\": 8", 5},
                 {", \"pad_token_id\": -1", 5}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tsr_model *m = llama("LlamaForSequenceClassification", cases[i].more, TSR_TASK_AUTO);
        assert_int_equal(tsr_classifier_length(&m->classifier, (const int32_t[]){0, 4, 3, 0, 0}, 5),
                         cases[i].length);
        tsr_model_destroy(&m);
    }
    tsr_classifier c = {.pad_id = 2};
    assert_int_equal(tsr_classifier_length(&c, (const int32_t[]){2, 2, 2}, 3), 1);
}

/* The padding of a class stands where the config says nothing, and not where it says null. */
static void classes_have_their_own_padding(void **state)
{
    (void)state;
    static const struct {
        const char *config;
        int64_t pad;
    } cases[] = {
        {"{\"model_type\": \"opt\", \"num_hidden_layers\": 1, \"architectures\": "
         "[\"OPTForSequenceClassification\"]}",
         1},
        {"{\"model_type\": \"opt\", \"num_hidden_layers\": 1, \"pad_token_id\": null, \"architectures\": "
         "[\"OPTForSequenceClassification\"]}",
         -1},
        {"{\"model_type\": \"glm4\", \"num_hidden_layers\": 1, \"architectures\": "
         "[\"Glm4ForSequenceClassification\"]}",
         151329},
        {"{\"model_type\": \"gpt2\", \"n_layer\": 1, \"architectures\": [\"GPT2ForSequenceClassification\"]}",
         -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tsr_model *m;
        assert_int_equal(build(cases[i].config, TSR_TASK_AUTO, &m), TSR_OK);
        assert_int_equal(m->classifier.pad_id, cases[i].pad);
        tsr_model_destroy(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(architectures_choose_the_head),
        cmocka_unit_test(labels_have_names),
        cmocka_unit_test(refusals_say_why),
        cmocka_unit_test(names_of_tasks_go_both_ways),
        cmocka_unit_test(scores_follow_the_problem),
        cmocka_unit_test(texts_end_before_their_padding),
        cmocka_unit_test(classes_have_their_own_padding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
