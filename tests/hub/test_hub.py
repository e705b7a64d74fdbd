def test_no_heavy_library_is_loaded(run_against_hub):
    script = """
import sys
import hf_ctkd.hub
print(sorted({"torch", "transformers", "datasets", "pandas", "matplotlib"} & set(sys.modules)))
"""
    result = run_against_hub(script)
    assert result.stdout == "[]\n", result.stderr
