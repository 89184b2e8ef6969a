#!/usr/bin/env python3
"""check_config.py: where values of options come from, in which order, what is refused, and the documents made of the
table."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import unittest

import support
from support import ORACLE, ROOT, SHAKESPEARE, Case, TempFolder, main, needs_ranks, run

LLAMA = ORACLE / "llama_gqa"
LMI = pathlib.Path(__file__).parent / "lmi" / "deepspeed.properties"
MANUAL = pathlib.Path(sys.argv[1]).resolve().parent / "tessera_manual"
USAGE, FILE = 2, 3

# Variables that a machine may have set are out of the way.
CLEAN = {name: "" for name in os.environ if name.startswith(("OPTION_", "HF_", "SERVING_"))}

# A line of a serving.properties or a variable; what the error says behind the place.
REFUSED_LINES = [
    ("option.modle=x", r':1: unknown option "option\.modle"; did you mean option\.model\?'),
    ("model_id=x", r':1: unknown option "model_id"; did you mean option\.model_id\?'),
    ("option.tensor_paralel_degree=2", r"did you mean option\.tensor_parallel_degree\?"),
    ("option.something_else_entirely=2", r"unknown option .*tessera config"),
    ("\n\noption.top_p=2", r":3: option --top-p must lie in 1e-06\.\.1, found 2"),
    ("option.tp=0", r":1: option --tp must lie in 1\.\.4096, found 0"),
    ("option.tp=all", r':1: option --tp must be an integer or max, found "all"'),
    ("option.dtype=fp17", r':1: option --dtype must be auto, float32, bfloat16 or float16, found "fp17"'),
    ("option.dtype=int8", r"option --dtype int8: this is not there yet"),
    ("option.quantize=smoothquant", r"option --quantize smoothquant: this is not there yet"),
    ("option.quantize=dynamic_int8", r"option --quantize dynamic_int8: this is not there yet"),
    ("option.quantize=awq", r'option --quantize must be none, found "awq"'),
    ("option.smoothquant_alpha=1.5", r"option --smoothquant-alpha must lie in 0\.\.1, found 1.5"),
    ("option.smoothquant_alpha=0.6", r"--smoothquant-alpha 0.6 \(.*properties:1\): needs --quantize smoothquant"),
    ("option.triangular_masking=false", r"--triangular-masking false \(.*properties:1\): every decoder"),
    ("option.return_tuple=maybe", r'option --return-tuple must be true or false, found "maybe"'),
    ("option.enable_cuda_graph=2", r'option --no-cuda-graph must be true or false, found "2"'),
    ("option.rolling_batch=vllm", r'--rolling-batch must be auto, deepspeed or disable, found "vllm"'),
    ("option.output_formatter=xml", r"--output-formatter must be json, jsonlines, sse, json_chat, jsonlines_chat or none"),
    ("option.prompt=x", r'"prompt" is for the command line alone'),
    ("option.help=true", r'"help" is for the command line alone'),
    ("option.config=x", r'"config" is for the command line alone'),
    ("option.tp=2\noption.tensor_parallel_degree=2", r':2: .*is the option that .*properties:1 states too'),
    ("option.tp=2\noption.tp=2", r"line 2: key \"option\.tp\" stands in line 1 already"),
    ("option.entryPoint=model.py", r'"option\.entryPoint" cannot be "model\.py": .*none is executed'),
    ("option.model_id=s3://bucket/model", r"s3://bucket/model: nothing is downloaded"),
    ("minWorkers=12", r'"minWorkers" cannot be "12": .*one copy'), ("engine=MP", r'cannot be "MP"'),
    ("option.enable_venv=true", r"no Python is run"), ("engine=TensorRT", r'"engine" cannot be "TensorRT"'),
    ("option.parallel_loading=maybe", r'"option\.parallel_loading" must be true or false, found "maybe"'),
    ("max_idle_time=soon", r'"max_idle_time" must be a number, found "soon"'),
    ("gpu.maxWorkers=2", r'"gpu\.maxWorkers" cannot be "2": .*one copy'), ("gpu.dtype=fp16", r'unknown option "gpu\.dtype"'),
    ("allow_multi_status=true", r"503 until the model is loaded"),
    ("option.env=A=B", r'"option\.env" cannot be "A=B": set environment variables'),
    ("option.deepspeed_config_path=ds.json", r"write what the file says as options"),
]

REFUSED_VARIABLES = [
    ({"OPTION_MODLE": "x"}, r'OPTION_MODLE: unknown option "modle"; did you mean OPTION_MODEL\?'),
    ({"OPTION_TOP_P": "2"}, r"OPTION_TOP_P: option --top-p must lie in"),
    ({"OPTION_TP": "2", "OPTION_TENSOR_PARALLEL_DEGREE": "2"}, r"is the option that OPTION_T\w+ states too"),
    ({"HF_MODEL_QUANTIZE": "smoothquant"}, r"HF_MODEL_QUANTIZE: option --quantize smoothquant"),
    ({"OPTION_ENTRYPOINT": "mine.py"}, r'OPTION_ENTRYPOINT: "entrypoint" cannot be "mine\.py"'),
    ({"SERVING_JOB_QUEUE_SIZE": "0"}, r"SERVING_JOB_QUEUE_SIZE: option --job-queue-size must lie in 1\.\."),
    ({"SERVING_LOAD_MODELS": "a=/x,b=/y"}, r"SERVING_LOAD_MODELS: a program serves one model"),
    ({"SERVING_LOAD_MODELS": "a::TensorRT=/x"}, r'SERVING_LOAD_MODELS: "engine" cannot be "TensorRT"'),
    ({"HF_MODEL_ID": "s3://bucket/x"}, r"HF_MODEL_ID: s3://bucket/x: nothing is downloaded: copy it .*aws s3 sync"),
    ({"OPTION_PROMPT": "x"}, r'OPTION_PROMPT: "prompt" is for the command line alone'),
]


class Config(Case):
    @classmethod
    def setUpClass(cls):
        cls.folder = TempFolder(cls).path

    def config(self, *args, env=None, **how):
        (told,) = self.good("config", "--json", *args, env={**CLEAN, **(env or {})}, **how).lines()
        return told

    def write(self, text, name="serving.properties"):
        path = self.folder / name
        path.write_text(text)
        return path

    def stated(self, told):
        return {name: row["value"] for name, row in told.items() if row["origin"] != "default"}

    def test_each_source_yields_to_the_one_before(self):
        path = self.write("option.top_k=1\noption.top_p=0.5\noption.seed=7\noption.top=9\n")
        env = {"OPTION_TOP_K": "2", "OPTION_TOP_P": "0.6", "OPTION_SEED": ""}
        told = self.config("--config", path, "--top-k", 3, env=env)
        self.assertEqual(told["top-k"], {"value": 3, "origin": "command line", "place": "--top-k"})
        self.assertEqual(told["top-p"], {"value": 0.6, "origin": "environment", "place": "OPTION_TOP_P"})
        self.assertEqual(told["seed"], {"value": 7, "origin": "file", "place": f"{path}:3"})
        self.assertEqual(told["min-p"], {"value": 0, "origin": "default", "place": None})
        self.assertEqual(told["top"]["value"], 9)

    def test_plain_output(self):
        text = self.good("config", "--top-k", 3, env={**CLEAN, "OPTION_TOP_P": "0.5"}).out.decode()
        self.assertRegex(text, r"(?m)^top-k +3 +--top-k$")
        self.assertRegex(text, r"(?m)^top-p +0\.5 +OPTION_TOP_P$")
        self.assertRegex(text, r"(?m)^min-p +0 +default$")
        self.assertRegex(text, r"(?m)^model +- +default$")
        self.assertNotRegex(text, r"(?m)^(help|prompt|stop) ")

    def test_a_file_of_lmi(self):
        told = self.config("--config", LMI)
        stated = self.stated(told)
        self.assertTrue(os.path.samefile(stated.pop("model"), LLAMA))
        self.assertEqual(stated, {
            "config": str(LMI), "tp": "max", "dtype": "float16", "context": 64, "max-sequences": 8,
            "no-cuda-graph": True, "deadline": 120, "task": "text-generation", "rolling-batch": "auto",
            "batch-size": 1, "low-cpu-mem-usage": True, "triangular-masking": True, "return-tuple": True,
            "trust-remote-code": True, "output-formatter": "json", "job-queue-size": 500, "max-batch-delay": 50,
            "model-loading-timeout": 600, "json": True})

    def test_it_runs_by_that_file(self):
        ours = self.good("generate", "--model", LLAMA, "--dtype", "float16", "--ids", "5,17", "--max-new-tokens", 4,
                         "--json", "--quiet", env=CLEAN)
        theirs = self.good("generate", "--config", LMI, "--ids", "5,17", "--max-new-tokens", 4, "--json", "--quiet",
                           env=CLEAN)
        self.assertEqual(ours.out, theirs.out)
        self.refused(run("generate", "--config", LMI, "--ids", "5,17", "--max-new-tokens", 63, "--quiet", env=CLEAN),
                     USAGE, r"= 65.* 64 tokens")

    def test_variables_of_lmi(self):
        told = self.config(env={"HF_MODEL_ID": str(LLAMA), "TENSOR_PARALLEL_DEGREE": "1", "SM_NUM_GPUS": "8",
                                "MAX_BATCH_SIZE": "9", "MAX_BATCH_PREFILL_TOKENS": "300", "OPTION_ENGINE": "MPI",
                                "MAX_CONCURRENT_REQUESTS": "11", "HF_MODEL_TRUST_REMOTE_CODE": "yes",
                                "OPTION_ENABLE_CUDA_GRAPH": "off", "HF_TASK": "text-generation",
                                "PREDICT_TIMEOUT": "30", "MODEL_LOADING_TIMEOUT": "99"})
        self.assertEqual(self.stated(told), {
            "model": str(LLAMA), "tp": 1, "max-sequences": 9, "step-tokens": 300, "job-queue-size": 11,
            "trust-remote-code": True, "no-cuda-graph": True, "task": "text-generation", "deadline": 30,
            "model-loading-timeout": 99, "json": True})
        told = self.config(env={"TENSOR_PARALLEL_DEGREE": "8", "OPTION_TENSOR_PARALLEL_DEGREE": "max"})
        self.assertEqual((told["tp"]["value"], told["tp"]["place"]), ("max", "OPTION_TENSOR_PARALLEL_DEGREE"))

    def test_the_model_of_a_server(self):
        for value, stated in ((f"test::MPI:*={LLAMA}", {"served-model-name": "test"}), (f":::=file://{LLAMA}", {}),
                              (str(LLAMA), {})):
            told = self.config(env={"SERVING_LOAD_MODELS": value})
            self.assertEqual(self.stated(told), {"model": str(LLAMA), "json": True, **stated})
        told = self.config(env={"SERVING_LOAD_MODELS": "ALL", "HF_MODEL_ID": str(ORACLE)})
        self.assertEqual(told["model"]["place"], "HF_MODEL_ID")

    def test_a_folder_that_names_its_model(self):
        folder = self.folder / "opt"
        shutil.copytree(LLAMA, folder / "weights")
        path = folder / "serving.properties"
        for named in (str(folder / "weights"), "weights", "./weights"):
            path.write_text(f"option.dtype=fp32\noption.model_id={named}\n")
            for args, env in (("--model", folder), {}), ((), {"HF_MODEL_ID": str(folder)}), ((), {"OPTION_MODEL": str(folder)}):
                told = self.config(*args, env=env)
                self.assertEqual(told["model"], {"value": str(folder / "weights"), "origin": "file", "place": f"{path}:2"})
                self.assertEqual(told["dtype"]["value"], "float32")
        self.assertEqual(self.generate(folder, "--ids", "5,17", "--max-new-tokens", 3, env=CLEAN)[0]["ids"],
                         self.generate(LLAMA, "--dtype", "fp32", "--ids", "5,17", "--max-new-tokens", 3, env=CLEAN)[0]["ids"])
        # A folder with a model is that model, whatever its file says; and a file that names none leaves the folder.
        shutil.copy(LLAMA / "config.json", folder)
        self.assertEqual(self.config("--model", folder)["model"]["value"], str(folder))
        (folder / "config.json").unlink()
        for text, code, pattern in (("option.model_id=s3://b/x", USAGE, r"properties:1: s3://b/x: nothing is downloaded"),
                                    ("option.model_id=org/absent", FILE, r"properties:1: org/absent: .*hf download"),
                                    ("option.dtype=fp32", FILE, r"opt/config\.json: cannot be opened")):
            path.write_text(text)
            self.refused(run("generate", "--model", folder, "--ids", 1, "--quiet", env=CLEAN), code, pattern)

    def test_further_names_on_the_command_line(self):
        told = self.config("--model-id", LLAMA, "--max-rolling-batch-size=5", "--enable-cuda-graph", "true",
                           "--quantize", "NONE", "--dtype", "BF16")
        self.assertEqual(self.stated(told), {"model": str(LLAMA), "max-sequences": 5, "no-cuda-graph": False,
                                             "quantize": "none", "dtype": "bfloat16", "json": True})
        self.refused(run("config", "--enable-cuda-graph"), USAGE, r"--enable-cuda-graph needs a value: .*true\|false")
        self.refused(run("config", "--model_id", "x"), USAGE, r"unknown option --model_id; did you mean --model-id\?")

    def test_the_file_beside_the_model(self):
        model = TempFolder(type(self)).copy(LLAMA, "model")
        (model / "serving.properties").write_text("option.max_new_tokens=3\noption.dtype=float32\n")
        ids = ["--ids", "5,17", "--quiet"]
        out = self.good("generate", "--model", model, *ids, env=CLEAN).out.split()
        self.assertEqual(len(out), 3)
        for how in (["--config", model / "serving.properties"], []):
            env = {**CLEAN, "HF_MODEL_ID": "" if how else str(model)}
            self.assertEqual(self.good("generate", *how, *ids, env=env).out.split(), out)
        self.assertEqual(len(self.good("generate", "--model", model, "--max-new-tokens", 2, *ids, env=CLEAN).out.split()), 2)
        other = self.write("option.max_new_tokens=4")
        self.assertEqual(len(self.good("generate", "--model", model, "--config", other, *ids, env=CLEAN).out.split()), 4)
        (model / "serving.properties").write_text("option.max_new_tokens=three\n")
        self.refused(run("generate", "--model", model, *ids, env=CLEAN), USAGE, r"model/serving\.properties:1: option --max")

    def test_refused_lines(self):
        for text, pattern in REFUSED_LINES:
            with self.subTest(text):
                code = FILE if "stands in line" in pattern else USAGE
                self.refused(run("config", "--config", self.write(text), env=CLEAN), code, pattern)
        self.refused(run("config", "--config", self.folder / "nowhere", env=CLEAN), FILE, "nowhere: cannot be opened")

    def test_refused_variables(self):
        for env, pattern in REFUSED_VARIABLES:
            with self.subTest(str(env)):
                self.refused(run("config", env={**CLEAN, **env}), USAGE, pattern)

    def test_what_is_not_there_yet_is_no_matter_to_others(self):
        path = self.write("option.quantize=dynamic_int8\noption.tensor_parallel_degree=4\n")
        self.good("tokenize", "--model", SHAKESPEARE, "--config", path, "--text", "x", env=CLEAN)
        self.refused(run("generate", "--model", LLAMA, "--config", path, "--ids", 1, env=CLEAN), USAGE, "dynamic_int8")

    def test_rolling_batch_disable_runs_batch_size_at_once(self):
        args = ["generate", "--model", LLAMA, "--ids", "5,17", "--ids", "9", "--max-new-tokens", 4, "--quiet"]
        together = self.good(*args, env=CLEAN).out
        self.assertEqual(self.good(*args, "--rolling-batch", "disable", env=CLEAN).out, together)
        self.assertEqual(self.good(*args, "--rolling-batch", "disable", "--batch-size", 2, env=CLEAN).out, together)
        self.assertEqual(self.good(*args, "--batch-size", 2, env=CLEAN).out, together)

    def test_revisions_of_a_cache(self):
        hub = self.folder / "hub"
        commit, other = "a" * 40, "b" * 40
        for name in (commit, other):
            shutil.copytree(LLAMA, hub / "models--org--tiny" / "snapshots" / name)
        refs = hub / "models--org--tiny" / "refs"
        refs.mkdir()
        (refs / "main").write_text(commit)
        (refs / "v2").write_text(other)
        (refs / "bad").write_text("../../../../etc")
        env = {"HF_HUB_CACHE": str(hub)}
        for model, revision, chosen in [("org/tiny", "main", commit), ("org/tiny", "v2", other),
                                        ("org/tiny", other, other), (hub / "models--org--tiny", "v2", other)]:
            told = self.config("--model", model, "--revision", revision, env=env)
            self.assertTrue(told["model"]["value"].endswith(f"/models--org--tiny/snapshots/{chosen}"), told["model"])
        self.assertTrue(self.config(env={**env, "HF_MODEL_ID": "org/tiny"})["model"]["value"].endswith(commit))
        for revision in ("bad", "../refs", "none", "/etc", ""):
            self.refused(run("config", "--model", "org/tiny", f"--revision={revision}", env={**CLEAN, **env}), USAGE,
                         r"there is no revision")
        self.refused(run("config", "--model", LLAMA, "--revision", "main", env=CLEAN), USAGE, r"is one model")
        self.refused(run("generate", "--model", "org/absent", "--ids", 1, "--quiet", env={**CLEAN, **env}), FILE,
                     r"org/absent: there is no such folder, nor such a model in the Hugging Face cache")

    @needs_ranks
    def test_rank_0_tells_the_others(self):
        path = self.write("option.max_new_tokens=3\noption.tensor_parallel_degree=2\n")
        args = ["generate", "--model", LLAMA, "--config", path, "--ids", "5,17", "--quiet"]
        self.assertEqual(len(self.good(*args, ranks=2, env=CLEAN).out.split()), 3)
        # Only the first rank is given the file and the variable.
        script = self.write('#!/bin/sh\nif [ "$OMPI_COMM_WORLD_RANK" != 0 ]; then cd /; unset OPTION_DTYPE; fi\n'
                            'exec "$@"\n', "rank.sh")
        script.chmod(0o755)
        relative = ["generate", "--model", LLAMA, "--config", path.name, "--ids", "5,17", "--quiet"]
        launch = [support.MPIRUN, "-n", "2", script, support.PROGRAM]
        env = {**support.ENVIRONMENT, **CLEAN, "OPTION_DTYPE": "float32", "ASAN_OPTIONS": "detect_leaks=0"}
        told = subprocess.run([*launch, *relative], cwd=self.folder, env=env, capture_output=True, timeout=120)
        self.assertEqual(told.returncode, 0, told.stderr)
        self.assertEqual(len(told.stdout.split()), 3)
        # A relative model_id is rank 0's to find.
        shutil.copytree(LLAMA, self.folder / "near")
        for text, name in (("option.model_id=near", "serving.properties"), ("", "near/serving.properties")):
            path.write_text(""), (self.folder / name).write_text(text)
            told = subprocess.run([*launch, "generate", "--config", name, "--ids", "5", "--quiet", "--max-new-tokens", "2"],
                                  cwd=self.folder, env=env, capture_output=True, timeout=120)
            self.assertEqual((told.returncode, len(told.stdout.split())), (0, 2), told.stderr)
        path.write_text("option.max_new_tokens=3\noption.tensor_parallel_degree=2\n")
        self.assertEqual(self.good(*args, "--tp", "max", ranks=2, env=CLEAN).code, 0)
        refused = run(*args, "--tp", 3, ranks=2, env=CLEAN)
        self.assertEqual(refused.code, USAGE)
        self.assertIn("this job has 2 ranks; start it with mpirun -n 3", refused.errors()[0])


class Manual(Case):
    def made(self, what):
        return subprocess.run([MANUAL, what], check=True, capture_output=True, timeout=60).stdout.decode()

    def test_the_document_is_current(self):
        checked_in = (ROOT / "docs" / "configuration.md").read_text()
        self.assertEqual(self.made("document"), checked_in,
                         "make it anew: tessera_manual document > docs/configuration.md")

    def test_examples_use_what_there_is(self):
        there = self.good("serve", "--help", env=CLEAN).out.decode()
        document = (ROOT / "docs" / "configuration.md").read_text()
        used = set()
        for path in sorted((ROOT / "examples" / "serve").iterdir()):
            text = path.read_text().replace("\\\n", " ")
            for line in re.findall(r"tessera serve (.*)", text):
                used.update(re.findall(r"--[a-z][a-z-]+", line))
            for name in re.findall(r"\bOPTION_([A-Z_]+)", text):
                word = name.lower()
                self.assertTrue(f"`--{word.replace('_', '-')} " in document or f"`option.{word}`" in document, (path, name))
        self.assertGreater(len(used), 4)
        for name in used:
            self.assertRegex(there, rf"(?m)^  {name} ")

    def test_the_page_has_every_option_and_command(self):
        page = self.made("page").replace("\\-", "-")
        for name in self.good("config", "--json", env=CLEAN).lines()[0]:
            self.assertRegex(page, rf"(?m)^\.B --{name}( |$)")
        for name in ("prompt", "stop", "help"):
            self.assertRegex(page, rf"(?m)^\.B --{name}( |$)")
        for command in ("generate", "config"):
            self.assertRegex(page, rf"(?m)^\.B {command}$")
        for line in page.splitlines():
            self.assertRegex(line, r"^(\.(TH|SH|TP|B|RI|I|br)\b|[^.'])")


if __name__ == "__main__":
    main()
