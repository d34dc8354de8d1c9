"""A Flask application as people write them: templates, sessions, uploads, streaming, files with ranges."""

import atexit
import hashlib
import os
import tempfile
import threading

from flask import Flask, Response, redirect, render_template, request, send_file, session, stream_with_context, url_for

app = Flask(__name__, root_path=os.path.join(os.path.dirname(__file__), "site_flask"))
app.secret_key = "only for the tests"
application = app

FILE = os.path.join(tempfile.gettempdir(), f"neat-flask-{os.getpid()}.bin")
with open(FILE, "wb") as file:
    file.write(b"".join(b"%07d\n" % number for number in range(20000)))

atexit.register(os.unlink, FILE)


@app.get("/")
def index():
    return render_template("index.html", name=request.args.get("name", "nobody"), script_root=request.script_root)


@app.post("/login")
def login():
    session["user"] = request.form["user"]
    return redirect(url_for("who"))


@app.get("/who")
def who():
    return {"user": session.get("user"), "url": request.url, "addr": request.remote_addr}


@app.post("/upload")
def upload():
    digest, size = hashlib.sha256(), 0
    while block := request.files["file"].stream.read(65536):
        digest.update(block)
        size += len(block)
    return {"name": request.files["file"].filename, "size": size, "sha256": digest.hexdigest(), "note": request.form["note"]}


@app.post("/raw")
def raw():
    return {"size": len(request.get_data())}


@app.get("/stream")
def stream():
    def blocks():
        for number in range(int(request.args["count"])):
            yield f"{number}\n"

    return Response(stream_with_context(blocks()), mimetype="text/plain")


@app.get("/file")
def file_with_ranges():
    return send_file(FILE, conditional=True)


@app.get("/attachment")
def attachment():
    return send_file(FILE, as_attachment=True, download_name="numbers \u00e9.bin")


@app.get("/abort")
def fail():
    raise RuntimeError("a bug in a view")


@app.get("/thread")
def thread():
    result = []
    worker = threading.Thread(target=lambda: result.append(sum(range(1000))))
    worker.start()
    worker.join()
    return {"sum": result[0]}
