"""A real HTTP server that speaks the chat protocol, judges by rule, and errs as it is told."""

import gzip
import json
import re
import socket
import struct
import threading
import time
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LINES = {
    "en": "{} {}\nAssistant 2 says less.",
    "zh": "助理1：{}分，助理2：{}分。\n第二个回答较短。",
}


def rule(content):
    """Scores of both answers: their lengths in words or characters, within 1..10."""
    found = re.findall(r"\[(?:Assistant|助手) [12]\]\n(.*?)\n\n\[End", content, re.DOTALL)
    return [min(10, max(1, len(text.split()) if " " in text else len(text))) for text in found]


class Judge(ThreadingHTTPServer):
    """`faults` maps a word of a question to what goes wrong, one entry for each try of it.

    Attributes:
      requests: bodies received; headers: their headers; busy: most requests in flight at once.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, lang="en"):
        super().__init__(("127.0.0.1", 0), Handler)
        self.lang, self.faults, self.lock = lang, defaultdict(list), threading.Lock()
        self.requests, self.headers, self.busy, self.now = [], [], 0, 0
        self.pause = 0.0
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def handle_error(self, request, client_address):
        pass  # a client that gave up is part of the plan

    def fault(self, content):
        with self.lock:
            for word, plan in self.faults.items():
                if word in content and plan:
                    return plan.pop(0) if isinstance(plan, list) else plan
        return None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_POST(self):  # noqa: N802
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with server.lock:
            server.requests.append(body)
            server.headers.append(dict(self.headers))
            server.now += 1
            server.busy = max(server.busy, server.now)
        try:
            time.sleep(server.pause)
            content = body["messages"][-1]["content"]
            self.answer(server.fault(content), content)
        finally:
            with server.lock:
                server.now -= 1

    def answer(self, fault, content):
        text = LINES[self.server.lang].format(*rule(content))
        if isinstance(fault, int):
            error = f"told to by {self.headers.get('Authorization')} \x1b]0;title\x07"
            return self.send(fault, json.dumps({"error": error}, ensure_ascii=False).encode())
        if isinstance(fault, tuple):  # (status, Retry-After)
            return self.send(fault[0], b"{}", {"Retry-After": fault[1]})
        if fault == "reset":
            off = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, off)
            self.connection.close()
            self.close_connection = True
            return None
        if fault == "hang":
            time.sleep(2.5)
        if fault and fault.startswith("say:"):
            text = fault[4:]
        data = self.completion(text)
        if fault == "html":
            data = b"<html>Bad gateway</html>"
        if fault == "endless":
            data = self.completion("9 8 " * (1 << 20))
        if fault == "compressed":
            return self.send(200, gzip.compress(data), {"Content-Encoding": "gzip"})
        if fault == "deep":
            data = b"[" * 200_000
        if fault == "surrogate":
            data = data.replace(b'"content": "', b'"content": "\\ud800')
        if fault == "no choice":
            data = b'{"choices": []}'
        if fault == "empty":
            data = self.completion("  ")
        if fault == "cut":
            self.send(200, data[: len(data) // 2], length=len(data))
            self.close_connection = True
            return None
        if fault == "drip":
            self.send(200, b"", length=len(data))
            for byte in data[:60]:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                time.sleep(0.05)
            self.close_connection = True
            return None
        return self.send(200, data)

    def completion(self, text):
        choice = {"index": 0, "message": {"role": "assistant", "content": text}}
        return json.dumps(
            {
                "model": "rule-1",
                "choices": [choice | {"finish_reason": "stop"}],
                "usage": {"prompt_tokens": 7, "completion_tokens": 3},
            }
        ).encode()

    def send(self, status, data, headers=None, length=None):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data) if length is None else length))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


QUESTIONS = {
    "en": ("What colour", "Describe it in", "Why does it"),
    "zh": ("是什么颜色", "请描述", "为什么"),
}
WORDS = {
    "en": "a red ball lies on the green grass in front of a tree".split(),
    "zh": list("绿色的草地上有一个红色的球在树前面"),
}


def write_bench(folder, lang):
    """Six questions about two images, in the published layout; returns the answers' file."""
    suffix = "_zh" if lang == "zh" else ""
    join = " ".join if lang == "en" else "".join
    questions, references, answers = [], [], []
    for number in range(6):
        image, category = f"00000000000{number // 3}.jpg", ("conv", "detail", "complex")[number % 3]
        text = f"{QUESTIONS[lang][number % 3]} #{number}?"
        questions.append(
            {"question_id": number, "image": image, "text": text, "category": category}
        )
        references.append({"question_id": number, "text": join(WORDS[lang][: 8 + number % 2])})
        answers.append({"question_id": number, "text": join(WORDS[lang][: 3 + number])})
    contexts = [
        {
            "image": f"00000000000{n}.jpg",
            "captions": [join(WORDS[lang][:4])] * 5,
            "instances": [{"category": "ball", "bbox": [0.1, 0.2, 0.3, 0.4]}],
        }
        for n in range(2)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (
        (f"qa90_questions{suffix}", questions),
        (f"qa90_gpt4_answer{suffix}", references),
        (f"caps_boxes_coco2014_val_80{suffix}", contexts),
        ("answers", answers[::-1]),  # joined by id, so the order of lines must not matter
    ):
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    return folder / "answers.jsonl"
