"""`hf-ctkd export`: a student as an ONNX file."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from hf_ctkd.cli.arguments import ExportArguments, ParsedCommand
from hf_ctkd.cli.loading import load_options
from hf_ctkd.cli.outputs import check_new_file
from hf_ctkd.evaluation import export_onnx


def run(parsed: ParsedCommand[ExportArguments]) -> dict[str, Any]:
    """Export, compare, and only then write."""
    arguments = parsed.arguments
    check_new_file(arguments.output, "--output", overwrite=arguments.overwrite)
    export = export_onnx(
        parsed.positionals["student"],
        Path(arguments.output),
        options=load_options(arguments, token=arguments.token),
    )
    print(f"Student saved in {export.path}: inputs {', '.join(export.inputs)}, output logits.")
    print(
        f"Logits differ by {export.difference:.1e} at most. One row takes {export.milliseconds:.3f} ms with "
        f"onnxruntime, {export.milliseconds_before:.3f} ms with PyTorch."
    )
    return {**asdict(export), "path": str(export.path)}
