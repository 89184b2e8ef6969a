#!/usr/bin/env python3
"""check_page.py: the page at / in a headless Chromium: a prompt is typed and its answer watched. Run by hand where there are
the package selenium and a Chromium with its driver:

    tests/program/check_page.py build/tessera
"""
import shutil
import unittest

from server import Server
from support import SHAKESPEARE, Case, main

try:
    from selenium import webdriver
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait
except ImportError:
    webdriver = None


@unittest.skipUnless(webdriver and shutil.which("chromedriver"), "there is no selenium, or no chromedriver")
class Page(Case):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(SHAKESPEARE, env={"OPTION_API_KEY": "sesame"})
        cls.addClassCleanup(cls.server.end)
        options = webdriver.ChromeOptions()
        for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
        cls.browser = webdriver.Chrome(options=options, service=service)
        cls.addClassCleanup(cls.browser.quit)

    def at(self, name):
        return self.browser.find_element(By.ID, name)

    def until(self, condition):
        WebDriverWait(self.browser, 30).until(lambda _: condition())

    def fill(self, **values):
        for name, value in values.items():
            self.at(name).clear()
            self.at(name).send_keys(value)

    def test_page(self):
        self.browser.get(f"http://127.0.0.1:{self.server.port}/")
        self.fill(prompt="ROMEO:", tokens="40", temperature="0")
        self.at("send").click()
        self.until(lambda: "key" in self.at("answer").text)  # it is missing
        self.fill(key="sesame")
        self.at("send").click()
        self.until(lambda: "a second" in self.at("told").text)
        status, told = self.server.post("/v1/completions", {"prompt": "ROMEO:", "max_tokens": 40, "temperature": 0},
                                        {"Authorization": "Bearer sesame"})
        self.assertEqual(status, 200)
        shown = self.at("answer").get_attribute("textContent")
        self.assertEqual(shown, "ROMEO:" + told["choices"][0]["text"])
        self.assertRegex(self.at("told").text, r"^40 tokens, [0-9.]+ a second, the first after \d+ ms$")
        self.assertEqual(self.at("model").text, "Tessera: shakespeare")
        self.fill(tokens="1000", temperature="1")
        self.at("send").click()
        self.until(lambda: len(self.at("answer").text) > 40)
        self.at("send").click()  # it says Stop now
        self.until(lambda: self.at("send").text == "Send")
        told = [line["message"] for line in self.browser.get_log("browser") if "401" not in line["message"]]
        self.assertEqual([line for line in told if "favicon" not in line], [])


if __name__ == "__main__":
    main()
