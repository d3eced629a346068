"""The process that `model_server.runtime.tflite.isolated` starts."""

from model_server.runtime.tflite.isolated import main

main()
