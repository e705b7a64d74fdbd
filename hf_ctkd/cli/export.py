"""`hf-ctkd export`: a student as an ONNX file."""

from pathlib import Path

from hf_ctkd.cli.arguments import ExportArguments, ParsedCommand, whole_bytes
from hf_ctkd.cli.outputs import check_new_file
from hf_ctkd.evaluation import export_onnx
from hf_ctkd.teachers import LoadOptions


def run(parsed: ParsedCommand[ExportArguments]) -> None:
    """Export, compare, and only then write."""
    arguments = parsed.arguments
    check_new_file(arguments.output, "--output", overwrite=arguments.overwrite)
    export = export_onnx(
        parsed.positionals["student"],
        Path(arguments.output),
        options=LoadOptions(
            allow_pickle=arguments.allow_pickle,
            trust_remote_code=arguments.trust_remote_code,
            max_bytes=whole_bytes(arguments.max_bytes),
            timeout=arguments.timeout,
            token=arguments.token,
        ),
    )
    print(f"Student saved in {export.path}: inputs {', '.join(export.inputs)}, output logits.")
    print(
        f"Logits differ by {export.difference:.1e} at most. One row takes {export.milliseconds:.3f} ms with "
        f"onnxruntime, {export.milliseconds_before:.3f} ms with PyTorch."
    )
