"""Packages with compiled parts, from a virtual environment: each is imported by its first request and computes something."""

import json

from cases import Cases, text

application = cases = Cases()


@cases.case
def numpy(environ, start_response):
    import numpy

    matrix = numpy.arange(9.0).reshape(3, 3) + numpy.eye(3)
    return text(start_response, f"{numpy.linalg.det(matrix):.1f}".encode())


@cases.case
def cryptography(environ, start_response):
    from cryptography.fernet import Fernet

    key = Fernet.generate_key()
    return text(start_response, Fernet(key).decrypt(Fernet(key).encrypt(b"a secret")))


@cases.case
def pydantic(environ, start_response):
    from pydantic import BaseModel, ValidationError

    class Item(BaseModel):
        name: str
        price: float

    try:
        Item(name="x", price="much")
    except ValidationError as error:
        return text(start_response, f"{Item(name='x', price='1.5').price} {error.error_count()}".encode())


@cases.case
def lxml(environ, start_response):
    from lxml import etree

    return text(start_response, etree.fromstring("<a><b>text</b></a>").find("b").text.encode())


@cases.case
def orjson(environ, start_response):
    import orjson

    return text(start_response, orjson.dumps(orjson.loads(b'{"a": [1, 2.5, null]}')))


@cases.case
def psycopg(environ, start_response):
    import psycopg

    try:
        psycopg.connect("host=127.0.0.1 port=1 connect_timeout=1")
    except psycopg.OperationalError:
        return text(start_response, psycopg.sql.SQL("select {}").format(psycopg.sql.Literal(1)).as_string(None).encode())


@cases.case
def where(environ, start_response):
    import sys

    return text(start_response, json.dumps([sys.prefix, sys.base_prefix, sys.executable, sys.argv]).encode())
