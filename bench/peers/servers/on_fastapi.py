"""A plain FastAPI handler, one text at a time, in Starlette's thread pool: no batching."""

import threading

import uvicorn
from fastapi import FastAPI
from model import PORT, WORKERS, load
from pydantic import BaseModel


class Question(BaseModel):
    """The body."""

    inputs: str


app = FastAPI()
model = load() if __name__ == "on_fastapi" else None
one_at_a_time = threading.Lock()  # forwards that share the cores only get in each other's way


@app.post("/predict")
def predict(question: Question) -> dict[str, float]:
    """Answer one text."""
    assert model is not None
    with one_at_a_time:
        return {"score": model([question.inputs])[0]}


if __name__ == "__main__":
    uvicorn.run("on_fastapi:app", port=PORT, workers=WORKERS, log_level="warning", access_log=False)
