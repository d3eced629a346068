"""Rewrite the configuration of a model that Keras 2 saved so that Keras 3 builds the same layers from it.

Only data is rewritten: no class and no function is looked up by a name from the file. What differs, by
https://github.com/keras-team/keras/issues/19151 and by files that Keras 2.15 to 2.20 wrote:

- depthwise and separable convolutions have the members of their base class, such as `groups`;
- layers of augmentation have the member `rng_type`, and SpatialDropout2D the member `noise_shape`;
- layers of mixed precision have a policy; they are read as float32, as other networks are;
- the activation `hard_sigmoid` has another slope, which Keras 3 has no name for;
- names of layers may contain a slash;
- before TensorFlow 2.2, a Sequential had no input layer, but its first layer the shape of the input, and before that
  it was a list of layers;
- operators between tensors and numbers are layers of the class TFOpLambda;
- the calls of a model within a model are counted from 1, since building it counted as a call.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Config = dict[str, Any]

SURPLUS: Mapping[str, Sequence[str]] = {
    "DepthwiseConv2D": ("groups", "kernel_initializer", "kernel_regularizer", "kernel_constraint"),
    "SeparableConv2D": ("groups", "kernel_initializer", "kernel_regularizer", "kernel_constraint"),
    "SpatialDropout2D": ("noise_shape",),
}
"""Members of a layer's configuration that Keras 3 does not accept, by the class of the layer."""
NEW_FORMAT = ("module", "registered_name", "build_config")
"""Members that would have Keras read a description by its newest rules, of which Keras 2 wrote only some."""
MODELS = ("Functional", "Model", "Sequential")
OPERATORS: Mapping[str, str] = {
    "__operators__.add": "add",
    "math.add": "add",
    "math.subtract": "subtract",
    "__operators__.subtract": "subtract",
    "math.multiply": "multiply",
    "math.truediv": "divide",
    "math.divide": "divide",
}
MERGING = {"add": "Add", "subtract": "Subtract", "multiply": "Multiply"}
"""Layers that do the same with two tensors."""
FUNCTIONS: Mapping[str, tuple[str, Config]] = {
    "nn.relu": ("ReLU", {}),
    "nn.relu6": ("ReLU", {"max_value": 6.0}),
    "nn.sigmoid": ("Activation", {"activation": "sigmoid"}),
    "math.sigmoid": ("Activation", {"activation": "sigmoid"}),
    "nn.softmax": ("Activation", {"activation": "softmax"}),
    "nn.silu": ("Activation", {"activation": "silu"}),
}
CONSTANT = "_CONSTANT_VALUE"
"""Stands for the name of a layer where the first operand is a number."""


def convert_config(config: Config) -> Config:
    """Return the configuration of the same model for Keras 3.

    Args:
        config: The attribute `model_config` of an HDF5 file; it is not modified.

    Raises:
        ValueError: The model uses a function that no layer of Keras stands for, or that Keras 3 computes otherwise.
    """
    converted = copy.deepcopy(config)
    if isinstance(converted["config"], list):
        converted["config"] = {"name": "sequential", "layers": converted["config"]}
    for description in list(_descriptions(converted)):
        if description["class_name"] == "Sequential":
            _add_input(description["config"])
        _convert_layer(description)
    slashed = {description["config"]["name"] for description in _descriptions(converted)}
    names = {name: name.replace("/", "_") for name in slashed if "/" in name}
    renamed: Config = _rename(converted, names)
    for description in _descriptions(renamed):
        if description["class_name"] in MODELS:
            _count_calls_from_zero(description["config"])
            _unwrap_single_ends(description["config"])
    return renamed


def _descriptions(value: Any) -> Iterator[Config]:
    """Yield the description of every layer at any depth."""
    if isinstance(value, dict):
        if isinstance(value.get("config"), dict) and "class_name" in value and "name" in value["config"]:
            yield value
        yield from _descriptions(list(value.values()))
    elif isinstance(value, list):
        for member in value:
            yield from _descriptions(member)


def _add_input(sequential: Config) -> None:
    """Give a sequential model an input layer of the shape that its first layer states, and take it from the layers."""
    layers: list[Config] = sequential["layers"]
    others = [layer["config"] for layer in layers if layer["class_name"] != "InputLayer"]
    shapes = [config.pop("batch_input_shape", None) for config in others]
    if len(others) == len(layers) and shapes and shapes[0]:
        member = {"name": f"{others[0]['name']}_input", "batch_input_shape": shapes[0]}
        layers.insert(0, {"class_name": "InputLayer", "config": member})


def _convert_layer(description: Config) -> None:
    config, kind = description["config"], description["class_name"]
    for member in SURPLUS.get(kind, ()):
        config.pop(member, None)
    if kind == "BatchNormalization" and isinstance(config.get("axis"), list) and len(config["axis"]) == 1:
        (config["axis"],) = config["axis"]
    config.pop("rng_type", None)
    if isinstance(config.get("dtype"), dict):
        config["dtype"] = "float32"
    if config.get("activation") == "hard_sigmoid":
        raise ValueError(
            f"the activation hard_sigmoid in the layer {config['name']} is another function in Keras 3; save the model"
            " as a SavedModel with the Keras that trained it, and import that"
        )
    if kind == "TFOpLambda":
        _replace_operator(description)


def _replace_operator(description: Config) -> None:
    """Replace a function by the layer that does the same."""
    function, name = description["config"]["function"], description["config"]["name"]
    (call,) = description["inbound_nodes"]
    first, options = call[:3], {key: value for key, value in call[3].items() if key != "name"}
    second = options.pop("y", None)
    if options or (second is None and function not in FUNCTIONS) or (second is not None and function not in OPERATORS):
        raise ValueError(f"the function tf.{function} in the layer {name} is not supported")
    if second is None:
        kind, members = FUNCTIONS[function]
        sources = [first]
    else:
        kind, members, sources = _binary_layer(OPERATORS[function], first, second, name)
    description["class_name"] = kind
    description["config"] = {"name": name, **members}
    description["inbound_nodes"] = [[[*source, {}] for source in sources]]


def _binary_layer(operator: str, first: list[Any], second: Any, name: str) -> tuple[str, Config, list[list[Any]]]:
    """Return class, members and inputs of the layer that computes `first operator second`."""
    if isinstance(second, list) and first[0] == CONSTANT and operator in {"add", "multiply"}:
        first, second = second, first[2]  # the operands commute
    if first[0] == CONSTANT or (isinstance(second, list) and operator not in MERGING):
        raise ValueError(f"the operator {operator} of a number and a tensor in the layer {name} is not supported")
    if isinstance(second, list):
        return MERGING[operator], {}, [first, second[:3]]
    members = {
        "add": {"scale": 1.0, "offset": second},
        "subtract": {"scale": 1.0, "offset": -second},
        "multiply": {"scale": second, "offset": 0.0},
        "divide": {"scale": 1 / second, "offset": 0.0},
    }
    return "Rescaling", members[operator], [first]


def _rename(value: Any, names: Mapping[str, str]) -> Any:
    """Return a copy with other names of layers, without the members `NEW_FORMAT` of descriptions."""
    if isinstance(value, dict):
        drop = NEW_FORMAT if "class_name" in value else ()
        return {key: _rename(member, names) for key, member in value.items() if key not in drop}
    if isinstance(value, list):
        return [_rename(member, names) for member in value]
    return names.get(value, value) if isinstance(value, str) else value


def _count_calls_from_zero(model: Config) -> None:
    """Count the calls of models within a model from zero."""
    if not isinstance(model.get("layers"), list):
        return
    inner = {layer["config"]["name"] for layer in model["layers"] if layer["class_name"] in MODELS}
    nodes = [layer.get("inbound_nodes") for layer in model["layers"]]
    references = list(_references([*nodes, model.get("output_layers")], inner))
    for name in inner:
        own = [reference for reference in references if reference[0] == name]
        lowest = min((reference[1] for reference in own), default=0)
        for reference in own:
            reference[1] -= lowest


def _unwrap_single_ends(model: Config) -> None:
    """Have a model take and return one tensor instead of a list of one."""
    for member in ("input_layers", "output_layers"):
        if len(model.get(member, ())) == 1 and isinstance(model[member][0], list):
            (model[member],) = model[member]


def _references(value: Any, names: set[str]) -> Iterator[list[Any]]:
    """Yield each `[name, call, output, ...]` of one of the layers, at any depth."""
    if isinstance(value, dict):
        yield from _references(list(value.values()), names)
    elif isinstance(value, list):
        if len(value) > 2 and isinstance(value[0], str) and isinstance(value[1], int):  # noqa: PLR2004
            if value[0] in names:
                yield value
            value = value[3:]
        for member in value:
            yield from _references(member, names)
