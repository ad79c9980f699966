"""Scores credit-default events with Quix Streams and ONNX Runtime, exactly once, and writes the same predictions as
Millrace. Settings are environment variables: see bench-scorers.ts."""

import json
import os
from datetime import datetime, timezone
from hashlib import sha1
from io import BytesIO
from time import time
from uuid import UUID

import numpy
import onnxruntime
import orjson
from fastavro import parse_schema, schemaless_reader, schemaless_writer
from quixstreams import Application, message_context

ID_NAMESPACE = UUID("6c234070-236f-4a53-8625-b11280d55c63").bytes
WIRE_HEADER = 5
env = os.environ


def read_json(name):
    with open(env[name], encoding="utf-8") as file:
        return json.load(file)


event_schema = parse_schema(read_json("EVENT_SCHEMA"))
prediction_schema = parse_schema(read_json("PREDICTION_SCHEMA"))
event_header = b"\0" + int(env["EVENT_SCHEMA_ID"]).to_bytes(4, "big")
prediction_header = b"\0" + int(env["PREDICTION_SCHEMA_ID"]).to_bytes(4, "big")
card = read_json("MODEL_CARD")
output_name, decision = card["output"]["name"], card["output"]["decision"]
input_tensor, output_tensor = card["runtime"]["input_tensor"], [card["runtime"]["output_tensor"]]
digest = env["MODEL_DIGEST"]
hash_begun = sha1(ID_NAMESPACE + digest.encode() + b":")

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(env["MODEL"], options, providers=["CPUExecutionProvider"])


def score(value, _key, timestamp, headers):
    if value[:WIRE_HEADER] != event_header:
        raise ValueError("The value does not have the schema of events.")
    event = schemaless_reader(BytesIO(value[WIRE_HEADER:]), event_schema, None)
    row = numpy.array([list(event.values())], numpy.float32)
    probability = float(session.run(output_tensor, {input_tensor: row})[0].item())
    now = int(time() * 1000)
    attributes = dict(headers)
    event_id = attributes["ce_id"].decode()
    at = message_context()
    prediction = {
        "prediction_id": prediction_id(event_id),
        "event_id": event_id,
        "pipeline": "credit-default",
        "model": card["name"],
        "model_version": card["version"],
        "model_digest": digest,
        "event_time": timestamp,
        "predicted_at": now,
        "score": probability,
        "label": decision["at_or_above" if probability >= decision["threshold"] else "below"],
        "features": orjson.dumps({name: plain(number) for name, number in event.items()}).decode(),
        "source": attributes["ce_source"].decode(),
        "topic": at.topic,
        "partition": at.partition,
        "offset": at.offset,
        "schema_id": int.from_bytes(value[1:WIRE_HEADER], "big"),
        "latency_ms": float(max(0, now - timestamp)),
        "role": "champion",
        "model_event": -1,
        "model_event_at": None,
        "outputs": orjson.dumps({output_name: probability}).decode(),
    }
    out = BytesIO()
    out.write(prediction_header)
    schemaless_writer(out, prediction_schema, prediction)
    return prediction["prediction_id"], now, out.getvalue()


def plain(number):
    """A number as JavaScript writes it: whole ones without a fraction."""
    return int(number) if number == int(number) else number


def prediction_id(event_id):
    hashed = hash_begun.copy()
    hashed.update(event_id.encode())
    return str(UUID(bytes=hashed.digest()[:16], version=5))


def prediction_headers(scored, _key, _timestamp, _headers):
    made_id, now, _ = scored
    at = datetime.fromtimestamp(now / 1000, timezone.utc).isoformat(timespec="milliseconds")
    return [
        ("ce_specversion", b"1.0"),
        ("ce_id", made_id.encode()),
        ("ce_source", b"millrace/credit-default"),
        ("ce_type", b"millrace.prediction"),
        ("ce_time", at.encode()),
    ]


app = Application(
    broker_address=env["BROKERS"],
    consumer_group=env["GROUP"],
    auto_offset_reset="earliest",
    processing_guarantee="exactly-once",
    commit_interval=float(env["COMMIT_INTERVAL_S"]),
    auto_create_topics=False,
    state_dir=env["STATE"],
    loglevel="WARNING",
)
events = app.topic(env["EVENTS"], key_deserializer="bytes", value_deserializer="bytes")
predictions = app.topic(env["PREDICTIONS"], key_serializer="bytes", value_serializer="bytes")
scored = app.dataframe(events).apply(score, metadata=True).set_headers(prediction_headers)
scored.apply(lambda each: each[2]).to_topic(predictions)
app.run()
