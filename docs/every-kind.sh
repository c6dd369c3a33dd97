#!/bin/sh
# One request for each kind of model that is shipped: sh docs/every-kind.sh [address]
set -eu
address=${1:-http://127.0.0.1:8000}
cd "$(dirname "$0")/.."

ask() { # what it is, then curl's words
  printf '\n# %s\n' "$1"
  shift
  curl -sS --fail-with-body "$@"
  echo
}
json='Content-Type: application/json'

ask 'a text, the three likeliest labels' "$address/predict" -H "$json" -d '{
  "inputs": "book me a flight to Seattle on Friday", "parameters": {"top_k": 3}}'
ask 'a text to another model' "$address/models/nsmc-sentiment/predict" -H "$json" -d '{"inputs": "정말 재미있는 영화예요"}'
ask 'a picture, as a form' "$address/models/mnist-digits/predict" -F image=@models/mnist-digits/sample.png
ask 'a picture, as it is' "$address/models/mnist-digits/predict" \
  -H 'Content-Type: image/png' --data-binary @models/mnist-digits/sample.png
ask 'a row of a table' "$address/models/iris-svm/predict" -H "$json" -d '{"inputs": [5.1, 3.5, 1.4, 0.2]}'
ask 'two rows, one of them by name, all scores' "$address/models/iris-svm/predict" -H "$json" -d '{
  "inputs": [[6.7, 3.0, 5.2, 2.3], {"sepal length (cm)": 5.7, "sepal width (cm)": 2.8,
             "petal length (cm)": 4.1, "petal width (cm)": 1.3}],
  "parameters": {"top_k": 3}}'
ask 'a job of a picture' "$address/models/mnist-digits/jobs" -F image=@models/mnist-digits/sample.png
ask 'the label alone, of the default model' "$address/predict/label" -H "$json" -d '{"inputs": "play some jazz"}'
ask 'the sample of each' "$address/models/iris-svm/test"
