"""A tritonclient that runs one scenario against the Open Inference Protocol and prints its observations as JSON.

    python triton_client.py <host:port> metadata|infer|binary|refused|concurrent|named|aio <rows as JSON>
"""

import asyncio
import json
import sys

import numpy as np
import tritonclient.http as http
import tritonclient.http.aio as http_aio
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

MODEL = "credit-default"


def tensors(library, metadata: dict, rows: list, binary: bool = False) -> list:
    """Inputs as the model's own metadata describes them."""
    inputs = []
    for described in metadata["inputs"]:
        column = [row[described["name"]] for row in rows]
        array = np.array(column, dtype=triton_to_np_dtype(described["datatype"]))
        tensor = library.InferInput(described["name"], list(array.shape), described["datatype"])
        tensor.set_data_from_numpy(array, binary_data=binary)
        inputs.append(tensor)
    return inputs


def answer(result) -> dict:
    response = result.get_response()
    return {
        "id": response.get("id"),
        "version": response["model_version"],
        "score": result.as_numpy("score").tolist(),
        "label": result.as_numpy("label").tolist(),
    }


def metadata(client, _rows: list) -> dict:
    return {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model_ready": client.is_model_ready(MODEL),
        "version_ready": client.is_model_ready(MODEL, "1"),
        "other_ready": client.is_model_ready(MODEL, "99"),
        "server": client.get_server_metadata()["name"],
        "model": client.get_model_metadata(MODEL),
    }


def infer(client, rows: list) -> dict:
    inputs = tensors(http, client.get_model_metadata(MODEL), rows)
    outputs = [http.InferRequestedOutput(name, binary_data=False) for name in ("score", "label")]
    return answer(client.infer(MODEL, inputs, model_version="1", outputs=outputs, request_id="7"))


def binary(client, rows: list) -> dict:
    """Binary inputs are refused; an answer that should be binary by default comes as JSON, which the client reads."""
    described = client.get_model_metadata(MODEL)
    seen = {"default_outputs": answer(client.infer(MODEL, tensors(http, described, rows)))}
    try:
        client.infer(MODEL, tensors(http, described, rows, binary=True))
    except InferenceServerException as error:
        seen["refused"] = [error.status(), error.message()]
    return seen


def refused(client, rows: list) -> dict:
    bad = [*rows, {**rows[0], "AGE": 3}]
    try:
        client.infer(MODEL, tensors(http, client.get_model_metadata(MODEL), bad))
    except InferenceServerException as error:
        return {"status": error.status(), "message": error.message()}
    return {}


def concurrent(client, rows: list) -> dict:
    described = client.get_model_metadata(MODEL)
    under_way = [client.async_infer(MODEL, tensors(http, described, rows), request_id=str(n)) for n in range(20)]
    answers = [answer(each.get_result()) for each in under_way]
    return {"ids": [each["id"] for each in answers], "scores": [each["score"] for each in answers]}


def named(client, requests: list) -> dict:
    """Every output that the metadata of a model lists, as numpy has it; each request is a model and its rows."""
    seen = {}
    for model, rows in requests:
        described = client.get_model_metadata(model)
        wanted = [http.InferRequestedOutput(output["name"], binary_data=False) for output in described["outputs"]]
        result = client.infer(model, tensors(http, described, rows), outputs=wanted)
        seen[model] = {output["name"]: result.as_numpy(output["name"]).tolist() for output in described["outputs"]}
    return seen


async def aio(address: str, rows: list) -> dict:
    async with http_aio.InferenceServerClient(address) as client:
        described = await client.get_model_metadata(MODEL)
        calls = [client.infer(MODEL, tensors(http_aio, described, rows), request_id=str(n)) for n in range(20)]
        answers = [answer(each) for each in await asyncio.gather(*calls)]
    return {"ids": [each["id"] for each in answers], "scores": [each["score"] for each in answers]}


def main(address: str, scenario: str, rows: list) -> None:
    if scenario == "aio":
        print(json.dumps(asyncio.run(aio(address, rows))))
        return
    scenarios = {f.__name__: f for f in (metadata, infer, binary, refused, concurrent, named)}
    with http.InferenceServerClient(address, concurrency=4) as client:
        print(json.dumps(scenarios[scenario](client, rows)))


main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
