"""The environment variables that workers see: those that can change what is measured or where files lie, and never secrets.

A model under test, and every library that it loads, can read the environment of its process. What is not on the list below is
not there, whatever it is. `MODBENCH_PASS_ENV=NAME,NAME` lets more through, also names that look like those of secrets.
`MODBENCH_MASK`, the texts that are to be masked, is passed on, since workers mask their own records. This protects from
accidents and from careless code; it is no sandbox: a model runs as its user, and can read what the user can.
"""

from __future__ import annotations

from collections.abc import Mapping

from modbench.harness.core.masking import is_secret

MORE = "MODBENCH_PASS_ENV"
# Whole names.
NAMES = {
    *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP", "VIRTUAL_ENV"),
    # Compilers, which torch.compile starts, and what is loaded into every process.
    *("CC", "CXX", "CFLAGS", "CXXFLAGS", "LDFLAGS", "CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "LIBRARY_PATH"),
    *("LD_LIBRARY_PATH", "LD_PRELOAD", "GLIBC_TUNABLES", "INCLUDE", "LIB", "LIBPATH"),
    # Without these no process starts on Windows.
    *("SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC", "PATHEXT", "USERPROFILE", "USERNAME", "HOMEDRIVE", "HOMEPATH"),
    *("APPDATA", "LOCALAPPDATA", "PROGRAMDATA", "PROGRAMFILES", "PROGRAMFILES(X86)", "NUMBER_OF_PROCESSORS"),
}
# Beginnings of names.
PREFIXES = (
    *("LC_", "XDG_", "PYTHON", "CONDA_", "DYLD_", "MALLOC_", "MODBENCH_", "SLURM_", "PMI_", "PMIX_", "PROCESSOR_"),
    # Threads and mathematics on a CPU.
    *("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "BLIS_", "GOTO_", "VECLIB_", "ACCELERATE_", "NUMEXPR_", "NUMBA_"),
    *("DNNL_", "ONEDNN_", "ATEN_", "C10_", "NPY_", "NUMPY_", "TBB_"),
    # torch and what it uses.
    *("TORCH", "PYTORCH", "TRITON_", "INDUCTOR_", "AOT_", "KINETO_", "HF_", "TRANSFORMERS_", "TOKENIZERS_"),
    # Loggers of training runs; a key of theirs only with MODBENCH_PASS_ENV.
    *("WANDB_", "TRACKIO_"),
    # Accelerators and the network between them.
    *("CUDA_", "CUDNN_", "CUBLAS", "CUTLASS_", "NVIDIA_", "NVTE_", "NCCL_", "GLOO_", "UCX_", "FI_", "IB_"),
    *("HIP_", "HSA_", "ROCM_", "ROCR_", "ROCBLAS_", "HIPBLASLT_", "MIOPEN_", "AMD_", "GPU_", "RCCL_"),
)


def worker_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The part of an environment that workers see."""
    named = {name.strip() for name in environment.get(MORE, "").split(",")}
    return {name: value for name, value in environment.items() if name in named or _known(name.upper())}


def _known(name: str) -> bool:
    if name == MORE:
        return True
    # In an option `tokens` is a number of them, in a variable more than one.
    one = name.lower().replace("tokens", "token")
    return (name in NAMES or name.startswith(PREFIXES)) and not is_secret(one)
