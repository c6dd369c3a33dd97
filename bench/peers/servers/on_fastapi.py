"""A plain FastAPI handler, one text at a time, in Starlette's thread pool: no batching."""

import uvicorn
from fastapi import FastAPI
from model import PORT, WORKERS, load
from pydantic import BaseModel


class Question(BaseModel):
    """The body."""

    inputs: str


app = FastAPI()
model = None if __name__ == "__main__" else load()


@app.post("/predict")
def predict(question: Question) -> dict[str, float]:
    """Answer one text."""
    assert model is not None
    return {"score": model([question.inputs])[0]}


if __name__ == "__main__":
    uvicorn.run("on_fastapi:app", port=PORT, workers=WORKERS, log_level="warning", access_log=False)
