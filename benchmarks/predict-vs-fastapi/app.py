"""Answers predictions of credit-default with FastAPI and ONNX Runtime. Settings are environment variables: see
benchmark.ts."""

import json
import os
from typing import Annotated
from uuid import uuid4

import numpy
import onnxruntime
import orjson
from fastapi import FastAPI, Response
from pydantic import Field, create_model


def read_json(name):
    with open(os.environ[name], encoding="utf-8") as file:
        return json.load(file)


card = read_json("MODEL_CARD")
output_name, decision = card["output"]["name"], card["output"]["decision"]
input_tensor, output_tensor = card["runtime"]["input_tensor"], [card["runtime"]["output_tensor"]]

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])

# With the fields and limits of the contract.
Event = create_model(
    "Event",
    **{
        field["name"]: Annotated[
            float if field["type"] == "double" else int, Field(ge=field["minimum"], le=field["maximum"])
        ]
        for field in read_json("EVENT_SCHEMA")["fields"]
    },
)
names = list(Event.model_fields)


app = FastAPI()


# The model takes microseconds, so it runs on the event loop: a thread for each request would take longer. A response of
# bytes takes less than a response model, which pydantic checks and writes.
@app.post("/predict")
async def predict(event: Event) -> Response:
    row = numpy.array([[getattr(event, name) for name in names]], numpy.float32)
    score = session.run(output_tensor, {input_tensor: row})[0].item()
    answer = {
        "event_id": str(uuid4()),
        "model": card["name"],
        "model_version": card["version"],
        "score": score,
        "label": decision["at_or_above" if score >= decision["threshold"] else "below"],
        "outputs": {output_name: score},
    }
    return Response(orjson.dumps(answer), media_type="application/json")
